"""Files that only we can have written: nothing that another user planted is opened.

/dev/shm is everybody's, and a directory may have been. So a file that is trusted is opened without
following a link and without waiting for a FIFO's other end, and must be a regular file that belongs
to this process's user and that no other user may write to.

Only the standard library is imported here: the price book's clean-up process must stay small.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

OWN_FILE_MODE: Final = 0o600
OWN_UMASK: Final = 0o077
"""What a program of the stack takes away from the mode of all that it makes."""
MAX_READ_BYTES: Final = 1024 * 1024
"""The most that is read of a file at once."""
_OWN_DIRECTORY_MODE: Final = 0o700
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_KINDS: Final = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotOurFileError(OSError):
    """A file cannot be trusted. `strerror` says why and what to do, `filename` is its path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(path))


def open_own(path: Path, flags: int) -> int:
    """Open a regular file that is ours alone, or make it if `flags` say so; return its descriptor.

    Raises NotOurFileError if what is there cannot be trusted, and OSError if it cannot be opened.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, OWN_FILE_MODE)
    except OSError:
        # The kernel refuses a link, a directory, a FIFO without a reader, and another user's file.
        with suppress(FileNotFoundError):  # what cannot be made is not there
            check_own(path, path.lstat())
        raise
    try:
        check_own(path, os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def read_own(path: Path) -> bytes:
    """Return what is in a regular file that is ours alone, up to MAX_READ_BYTES.

    Raises as `open_own` does.
    """
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        return file.read(MAX_READ_BYTES)


def check_own(path: Path, status: os.stat_result, kind: int = stat.S_IFREG) -> None:
    """Raise NotOurFileError unless `path`, of this status, is of this kind and ours alone."""
    found = stat.S_IFMT(status.st_mode)
    if found != kind:
        whose = "" if status.st_uid == os.geteuid() else f" of {user_name(status.st_uid)}"
        raise NotOurFileError(
            path,
            f"it is {_KINDS.get(found, 'something else')}{whose}, not {_KINDS[kind]}: remove it",
        )
    check_owner(path, status)
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise NotOurFileError(
            path,
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}): remove it, or, "
            "if you trust what is in it, chmod go-w",
        )


def adopt(path: Path, kind: int = stat.S_IFREG) -> None:
    """Take from others the right to write to what is ours, where its content needs no trust.

    For directories and logs. Raises NotOurFileError if `path` is not of this kind or not ours, or
    if it is a directory like /tmp, which root must not take away from the others; and OSError if it
    cannot be looked at.
    """
    status = path.lstat()
    is_ours = stat.S_IFMT(status.st_mode) == kind and status.st_uid == os.geteuid()
    if is_ours and status.st_mode & _WRITABLE_BY_OTHERS:
        if kind == stat.S_IFDIR and status.st_mode & stat.S_ISVTX:
            raise NotOurFileError(path, "it is a directory that users share: choose one in it")
        path.chmod(stat.S_IMODE(status.st_mode) & ~_WRITABLE_BY_OTHERS)
        status = path.lstat()
    check_own(path, status, kind)


def make_own_directory(path: Path) -> None:
    """Make a directory for us alone, or adopt ours; a link of ours may lead to it.

    Raises NotOurFileError if it cannot be trusted, and OSError if it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=_OWN_DIRECTORY_MODE, parents=True)
    adopt(follow_own_link(path), stat.S_IFDIR)


def follow_own_link(path: Path) -> Path:
    """Return where a link of ours leads, and a path that is none as it is.

    Raises NotOurFileError if the link is not ours: its maker says where it leads. Raises OSError,
    such as FileNotFoundError, if there is nothing.
    """
    status = path.lstat()
    if not stat.S_ISLNK(status.st_mode):
        return path
    check_owner(path, status)
    return Path(os.path.realpath(path, strict=True))


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Make a new file, written in the block, that takes the place of `path` after the block.

    A reader finds the old or the new file, complete. What is at `path` is not opened, whatever it
    is. Raises OSError, and then leaves `path` as it was.
    """
    if path.is_dir() and not path.is_symlink():
        check_own(path, path.lstat())
    temporary = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        temporary.unlink()  # left by a killed writer, or planted
    with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        try:
            yield file
            file.flush()
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def is_at(path: Path, status: os.stat_result) -> bool:
    """Return whether the file of this status is the one that `path` names."""
    try:
        return os.path.samestat(path.lstat(), status)
    except OSError:
        return False


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise NotOurFileError unless `path`, of this status, belongs to us."""
    if status.st_uid != os.geteuid():
        raise NotOurFileError(
            path,
            f"it belongs to {user_name(status.st_uid)}, and we are {user_name(os.geteuid())}: "
            "have it removed or given to us (chown), or choose another name",
        )


def user_name(uid: int) -> str:
    """Return a user's name and number, for the text of an error."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"
