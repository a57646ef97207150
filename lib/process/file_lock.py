"""Locks that the kernel releases when their holder dies, however it dies: flock on a file.

Only the standard library is imported here: the price book's clean-up process must stay small.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from lib.process.own_files import is_at, open_own

LOCK_ATTEMPTS: Final = 100
"""How often a lock file may be removed under us before we give up. Once is rare."""


class LockHeldError(Exception):
    """Another process holds the lock. `note` is what the holder wrote into the file."""

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


def lock_file(path: Path, note: str, *, shared: bool = False) -> int:
    """Take the lock that is the file `path`, and write `note` into it; never waits.

    Returns the descriptor that holds the lock: it is held until the descriptor and all its
    duplicates are closed, which includes the death of the holder. A shared lock excludes only
    exclusive ones. Raises LockHeldError if another process holds it, NotOurFileError if the file is
    not ours alone, and OSError if it cannot be opened or written.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for _ in range(LOCK_ATTEMPTS):
        fd = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockHeldError(os.pread(fd, 200, 0).decode("ascii", "replace")) from None
            # The file may have been removed between open and flock. Then no other process can find
            # the lock that we hold.
            if is_still_at(fd, path):
                os.ftruncate(fd, 0)
                os.pwrite(fd, note.encode("ascii"), 0)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise OSError(errno.EAGAIN, f"removed {LOCK_ATTEMPTS} times while it was being locked")


def is_still_at(fd: int, path: Path) -> bool:
    """Return whether the open file `fd` is the one that `path` names."""
    return is_at(path, os.fstat(fd))
