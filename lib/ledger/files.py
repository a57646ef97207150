"""The files of a ledger: where they are, and that they are ours alone.

SQLite keeps the WAL and its index beside the file that a symbolic link leads to. So all of them are
named after that file, and the link is followed here and nowhere else.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from lib.process.own_files import OWN_FILE_MODE, check_own, open_own

_OF_OTHERS: Final = 0o077


class LedgerFiles(NamedTuple):
    """The files of one ledger, side by side."""

    main: Path
    wal: Path
    shm: Path
    """The WAL's index, which readers and the writer share."""
    lock: Path
    """What excludes a second order manager."""


def files_of(path: Path) -> LedgerFiles:
    """Return the files of the ledger at `path`, which may be a symbolic link."""
    main = Path(os.path.realpath(path))
    return LedgerFiles(
        main, *(main.with_name(f"{main.name}{e}") for e in ("-wal", "-shm", ".lock"))
    )


def size_of(path: Path) -> int:
    """Return the size of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def make_own(files: LedgerFiles) -> None:
    """Let the ledger's file exist, and nobody else read or write what is there.

    Raises NotOurFileError if that cannot be trusted, and OSError.
    """
    # Never opens a ledger that exists: to close it would release the locks that SQLite has on it.
    with suppress(FileExistsError):
        os.close(open_own(files.main, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    for file in files:
        with suppress(FileNotFoundError):  # SQLite gives what it makes the mode of the main file
            status = file.lstat()
            check_own(file, status)
            if status.st_mode & _OF_OTHERS:  # as versions before this one made it
                file.chmod(OWN_FILE_MODE)
