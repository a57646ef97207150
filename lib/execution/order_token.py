"""The token that a client gives with its logon, from a file that only its owner can read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from lib.errors import CannotStartError
from lib.process.own_files import open_own
from lib.wire.order_fields import MAX_TOKEN_CHARACTERS

SETTING: Final = "order_manager.token_file"

_TOKEN: Final = re.compile(rb"[ -)+-~]{1,%d}" % MAX_TOKEN_CHARACTERS)
"""Printable ASCII without the delimiter: at one that was not escaped, a frame would end, and the
rest of the token would be quoted in an error."""
_MAX_FILE_BYTES: Final = 2 * MAX_TOKEN_CHARACTERS
_READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH


def read_token(path: Path) -> str:
    """Return the token. Raises CannotStartError, whose text never shows any of it."""
    try:
        fd = open_own(path, os.O_RDONLY)
        with os.fdopen(fd, "rb") as file:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            content = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise CannotStartError(
            f"{SETTING}: {path} is not there: make it, with "
            f"(umask 077; openssl rand -base64 24 > {path})"
        ) from None
    except OSError as error:
        raise CannotStartError(f"{SETTING}: {path}: {error.strerror}") from None
    if mode & _READABLE_BY_OTHERS:
        raise CannotStartError(
            f"{SETTING}: {path}: others may read it (mode {mode:04o}): put another token into it, "
            "and chmod 600"
        )
    token = content.strip()
    if len(content) == _MAX_FILE_BYTES or not _TOKEN.fullmatch(token):
        raise CannotStartError(
            f"{SETTING}: {path} must hold the token and nothing else: 1 to {MAX_TOKEN_CHARACTERS} "
            "printable ASCII characters on one line, without `*`"
        )
    return token.decode()
