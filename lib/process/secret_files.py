"""A secret in a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from lib.errors import CannotStartError
from lib.process.own_files import open_own

_READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH


def read_secret(path: Path, setting: str, what: str, make: str, most_bytes: int) -> bytes:
    """Return at most `most_bytes` of the file that a setting names.

    `what` is in it, and `make` is a shell command that prints a new one. Raises CannotStartError,
    whose text shows nothing of the file.
    """
    try:
        fd = open_own(path, os.O_RDONLY)
        with os.fdopen(fd, "rb") as file:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            content = file.read(most_bytes)
    except FileNotFoundError:
        raise CannotStartError(
            f"{setting}: {path} is not there: make it, with (umask 077; {make} > {path})"
        ) from None
    except OSError as error:
        raise CannotStartError(f"{setting}: {path}: {error.strerror}") from None
    if mode & _READABLE_BY_OTHERS:
        raise CannotStartError(
            f"{setting}: {path}: others may read it (mode {mode:04o}): put another {what} into it, "
            "and chmod 600"
        )
    return content
