"""The token that a client gives with its logon, from a file that only its owner can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from lib.errors import CannotStartError
from lib.process.secret_files import read_secret
from lib.wire.order_fields import MAX_TOKEN_CHARACTERS

SETTING: Final = "order_manager.token_file"

_TOKEN: Final = re.compile(rb"[ -)+-~]{1,%d}" % MAX_TOKEN_CHARACTERS)
"""Printable ASCII without the delimiter: at one that was not escaped, a frame would end, and the
rest of the token would be quoted in an error."""
_MAX_FILE_BYTES: Final = 2 * MAX_TOKEN_CHARACTERS


def read_token(path: Path) -> str:
    """Return the token. Raises CannotStartError, whose text never shows any of it."""
    make = "openssl rand -base64 24"
    content = read_secret(path, SETTING, "token", make, _MAX_FILE_BYTES)
    token = content.strip()
    if len(content) == _MAX_FILE_BYTES or not _TOKEN.fullmatch(token):
        raise CannotStartError(
            f"{SETTING}: {path} must hold the token and nothing else: 1 to {MAX_TOKEN_CHARACTERS} "
            "printable ASCII characters on one line, without `*`"
        )
    return token.decode()
