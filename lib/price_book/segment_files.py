"""The files of a price book in /dev/shm: their names, how they are created and removed.

    NAME             the segment itself
    NAME.lock        the writer's lock; holds the process number of the writer
    NAME.keeper      the lock of the clean-up process, which removes all this when the run ends
    NAME.reader-II   the wake-up FIFO of the reader in slot II
    NAME.new-PID-X   a segment that process PID is still building; X cannot be guessed

A name has no dot in it, so no two price books share a file. Only the standard library is imported
here: the clean-up process needs no more than this module and must stay small.

/dev/shm is every user's. What is opened under these names must be ours alone
(`lib.process.own_files`), and what another user has put there is neither used nor removed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from errno import ENOSPC
from pathlib import Path
from typing import Final

from lib.price_book.wake_up import wake_all
from lib.process.file_lock import LockHeldError, lock_file
from lib.process.own_files import check_own, check_owner, open_own

SHM_DIR: Final = Path("/dev/shm")
"""Where the C library's shm_open, and so `SharedMemory`, keeps its segments on Linux."""

MAGIC: Final = b"TWPRICES"
RETIRED_OFFSET: Final = 16
"""Bytes from a segment's start to the word that is not 0 once it is retired. This offset and the
magic at the start are the same in every version, so that any version can retire any other."""

MAX_NAME_CHARACTERS: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_building = threading.Lock()
"""Held while this process builds its one NAME.new-PID-X: any other of its number is a leftover."""


class PriceBookError(Exception):
    """A price book cannot be used. Its text is one human-readable line."""


class PriceBookMismatch(PriceBookError):  # noqa: N818 - the name says what is wrong
    """The segment is no price book, is damaged, or does not have the layout asked for."""


class PriceBookInUse(PriceBookError):  # noqa: N818
    """Another live process is the writer of the price book, or another live run owns it.

    Attributes:
        pid: the holder's process number, None if it is not written yet.

    """

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


def check_name(name: str) -> None:
    """Raise ValueError unless `name` can be the name of a price book."""
    if len(name) > MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise ValueError(
            f"a price book's name is 1 to {MAX_NAME_CHARACTERS} letters, digits, - and _, "
            f"not {name[: MAX_NAME_CHARACTERS + 1]!r}"
        )


def explain(error: OSError) -> str:
    """Return the reason of an error, for the end of a human-readable line."""
    if isinstance(error, PermissionError):
        return f"{error.strerror}; it may be another user's"
    return error.strerror or str(error)


def cannot_use(path: Path, error: OSError) -> PriceBookError:
    """Return the error for a file that cannot be opened, or must not be used."""
    return PriceBookError(f"[price_book] name: cannot use {path}: {explain(error)}")


def check_trusted(name: str) -> None:
    """Raise PriceBookError if a file of the price book is there and must not be used."""
    for path in (segment_path(name), lock_path(name), keeper_path(name)):
        try:
            check_own(path, path.lstat())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise cannot_use(path, error) from error


def segment_path(name: str) -> Path:
    """Return the segment's file, which may not exist. `name` must be valid."""
    return SHM_DIR / name


def lock_path(name: str) -> Path:
    """Return the writer's lock file. `name` must be valid."""
    return SHM_DIR / f"{name}.lock"


def keeper_path(name: str) -> Path:
    """Return the lock file of the price book's clean-up process. `name` must be valid."""
    return SHM_DIR / f"{name}.keeper"


def fifo_prefix(name: str) -> str:
    """Return the prefix of the paths of all wake-up FIFOs (see lib/price_book/wake_up.py)."""
    return str(SHM_DIR / f"{name}.reader-")


def lock_writer(name: str, *, shared: bool = False) -> int:
    """Take the writer's lock of a price book, as `lock_file` does.

    Raises PriceBookInUse, which names the process that holds it, and PriceBookError if the lock
    file cannot be opened.
    """
    path = lock_path(name)
    try:
        return lock_file(path, str(os.getpid()), shared=shared)
    except OSError as error:
        raise cannot_use(path, error) from error
    except LockHeldError as held:
        pid = int(held.note) if held.note.isdecimal() else None
        raise PriceBookInUse(
            f"price book {name} has a writer already: process {held.note or '(not known)'}; "
            "a price book has one writer at a time",
            pid,
        ) from None


def create_segment(name: str, beginning: bytes, total_bytes: int, *, replace: bool) -> None:
    """Create a segment: `beginning`, then zeros up to `total_bytes`. Mode 0600.

    It is built under another name and renamed, so a reader that attaches finds a complete segment
    or none, wherever this process is killed. An old one is retired before it is replaced, and its
    readers are woken. Replace only while you hold the writer's lock.

    Raises FileExistsError if there is a segment and `replace` is false, FileNotFoundError if it
    was removed while it was being built, and PriceBookError if there is no room for it.
    """
    path = segment_path(name)
    with _building:
        _remove_leftovers(name)
        new = SHM_DIR / f"{name}.new-{os.getpid()}-{os.urandom(8).hex()}"
        try:
            _write_segment(new, beginning, total_bytes)
            if replace:
                retire(name)
                new.rename(path)
                wake_all(fifo_prefix(name))
            else:
                os.link(new, path)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError as error:
            reason = _no_room() if error.errno == ENOSPC else explain(error)
            raise PriceBookError(
                f"cannot create the price book {path} of {total_bytes:,} bytes: {reason}"
            ) from error
        finally:
            new.unlink(missing_ok=True)


def _no_room() -> str:
    status = os.statvfs(SHM_DIR)
    return (
        f"{SHM_DIR} has {status.f_bavail * status.f_frsize:,} bytes free; set "
        f"price_book.ring_capacity lower, or make {SHM_DIR} larger"
    )


def _write_segment(path: Path, beginning: bytes, total_bytes: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Memory that is not allocated here could be a SIGBUS later, in the middle of a tick.
        os.posix_fallocate(fd, 0, total_bytes)
        os.pwrite(fd, beginning, 0)
    finally:
        os.close(fd)


def _remove_leftovers(name: str) -> None:
    """Remove the unfinished segments of creators that were killed."""
    for path in SHM_DIR.glob(f"{name}.new-*"):
        pid = path.name.rpartition(".new-")[2].partition("-")[0]
        if pid == str(os.getpid()) or not Path("/proc", pid).exists():
            _unlink([path])  # another user's stays, and is in no one's way


def retire(name: str) -> None:
    """Mark the segment retired, if there is one and it is a price book of any version.

    The caller wakes the readers, which then see the mark.
    """
    try:
        fd = open_own(segment_path(name), os.O_RDWR)
    except OSError:  # absent, or a file that no reader could have attached to
        return
    try:
        # Writing through the descriptor never makes a segment longer than it is, nor a SIGBUS.
        has_header = os.fstat(fd).st_size >= RETIRED_OFFSET + 8
        if has_header and os.pread(fd, len(MAGIC), 0) == MAGIC:
            os.pwrite(fd, (1).to_bytes(8, "little"), RETIRED_OFFSET)
    finally:
        os.close(fd)


def remove_segments(name: str) -> None:
    """Remove the price book `name` and every file that belongs to it; readers are woken first.

    The lock of a running clean-up process stays, as that process removes it. So do the files of
    other users. Any process may call this. Raises OSError if a file could not be removed, after
    trying all.
    """
    check_name(name)
    retire(name)
    errors = _unlink([segment_path(name)])
    wake_all(fifo_prefix(name))
    keeper = keeper_path(name)
    errors += _unlink(path for path in SHM_DIR.glob(f"{name}.*") if path != keeper)
    if os.path.lexists(keeper):
        try:
            fd = lock_file(keeper, "")
        except LockHeldError:
            pass
        except OSError as error:
            errors.append(error)
        else:
            errors += _unlink([keeper])
            os.close(fd)
    if errors:
        raise errors[0]


def _unlink(paths: Iterable[Path]) -> list[OSError]:
    errors = []
    for path in paths:
        try:
            check_owner(path, path.lstat())
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            errors.append(error)
    return errors
