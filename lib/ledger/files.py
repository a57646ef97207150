"""The files of a ledger: where they are, and that they are ours alone.

SQLite keeps the WAL and its index beside the file that a symbolic link leads to. So all of them are
named after that file, and the link is followed here and nowhere else.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from lib.process.own_files import OWN_FILE_MODE, check_own, check_owner, open_own

_OF_OTHERS: Final = 0o077
MAX_READERS_NAMED: Final = 3
"""How many of the processes that read a ledger are named."""
_FIRST_READ_LOCK: Final = 123
_LAST_READ_LOCK: Final = 127
"""The bytes of the WAL's index that a reader locks (https://sqlite.org/walformat.html#locks)."""


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


def make_own(path: Path) -> None:
    """Let the file of the ledger at `path` exist, and no other user read or write it.

    Raises NotOurFileError if that cannot be trusted, and OSError.
    """
    files = files_of(path)
    with suppress(FileNotFoundError):
        check_owner(path, path.lstat())  # who made a link says where it leads
    # Never opens a ledger that exists: to close it would release the locks that SQLite has on it.
    with suppress(FileExistsError):
        os.close(open_own(files.main, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    for file in files:
        with suppress(FileNotFoundError):  # SQLite gives what it makes the mode of the main file
            status = file.lstat()
            check_own(file, status)
            if status.st_mode & _OF_OTHERS:  # as versions before this one made it
                file.chmod(OWN_FILE_MODE)


def readers_of(files: LedgerFiles) -> list[str]:
    """Return which other processes have a read of this ledger open, as far as the kernel says."""
    index = files.shm.stat()
    device = f"{os.major(index.st_dev):02x}:{os.minor(index.st_dev):02x}:{index.st_ino}"
    pids = set()
    for line in Path("/proc/locks").read_text().splitlines():
        # 1: POSIX  ADVISORY  READ 4711 fd:01:123456 124 124
        fields = line.split()
        is_read = len(fields) == 8 and fields[3] == "READ" and fields[5] == device
        if is_read and _FIRST_READ_LOCK <= int(fields[6]) <= _LAST_READ_LOCK:
            pids.add(int(fields[4]))
    return [_process_name(pid) for pid in sorted(pids - {os.getpid()})]


def _process_name(pid: int) -> str:
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:  # it has just ended, or is in another container
        return f"process {pid}"
