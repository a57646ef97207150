"""The file of a Unix socket: room is made for it, and it is put back when it is lost."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lib.errors import CannotStartError
from lib.process.own_files import check_own


def make_room_for_socket(path: Path, setting: str) -> None:
    """Remove the socket that a process which has ended left at this path.

    Raises CannotStartError, naming `setting`, if a server listens there, or if it is anything else
    than a socket of ours.
    """
    try:
        _make_room(path)
    except OSError as error:
        raise CannotStartError(f"{setting}: {path}: {error.strerror}") from None


def _make_room(path: Path) -> None:
    """Remove the socket of a process that has ended. Raises OSError if something else is there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    check_own(path, status, stat.S_IFSOCK)
    if _is_served(path):
        reason = "another program listens there (another stack? stop it or choose another var_dir)"
        raise OSError(errno.EADDRINUSE, reason, str(path))
    path.unlink()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # so many clients wait that a further one would have to
    return True


class SocketFile:
    """The file of a Unix socket that this process serves. A `KeptFile`.

    Connected clients do not notice that it is lost, and new ones could not connect, for ever.
    """

    def __init__(self, path: Path, listen_anew: Callable[[], None]) -> None:
        """Remember the file that was just made. `listen_anew` makes another; it raises OSError."""
        self.path = path
        self._listen_anew = listen_anew
        self._made = path.lstat()

    def is_in_place(self) -> bool:
        """Return whether the path leads to the socket that is served."""
        # While a socket is open, the kernel gives the number of its file to no other one.
        with suppress(OSError):
            return os.path.samestat(self.path.lstat(), self._made)
        return False

    def put_back(self) -> None:
        """Serve a new socket at the path. Raises OSError if something else is there."""
        _make_room(self.path)
        self._listen_anew()
        self._made = self.path.lstat()
