"""How a role connects to the brokers: as which user, and whether by TLS."""

from __future__ import annotations

import re
from typing import Any, Final

from lib.errors import CannotStartError
from lib.process.secret_files import read_secret
from lib.settings import ClusterSettings

SETTING: Final = "cluster.credentials"
MAX_FILE_BYTES: Final = 1024

_CREDENTIALS: Final = re.compile(r"([A-Za-z0-9_-]{1,64}):([!-~]{1,256})")


def connect_options(cluster: ClusterSettings) -> dict[str, Any]:
    """Return what nats-py's `connect` is given. Raises CannotStartError."""
    options: dict[str, Any] = {"servers": list(cluster.servers)}
    if any(server.startswith("tls://") for server in cluster.servers):
        # Otherwise a broker that offers no TLS, or an impostor, is given the password without it.
        options["tls_handshake_first"] = True
    if cluster.credentials is None:
        return options
    make = 'echo "USER:PASSWORD"'
    content = read_secret(cluster.credentials, SETTING, "password", make, MAX_FILE_BYTES)
    found = _CREDENTIALS.fullmatch(content.decode(errors="replace").strip())
    if found is None or len(content) == MAX_FILE_BYTES:
        raise CannotStartError(
            f"{SETTING}: {cluster.credentials} must hold USER:PASSWORD on one line and nothing "
            "else, in printable ASCII, with A-Za-z0-9_- for the user"
        )
    user, password = found.groups()
    # Answers come to subjects of its own, so that no other user can listen to them.
    return {**options, "user": user, "password": password, "inbox_prefix": f"_INBOX.{user}"}
