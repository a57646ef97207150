"""The file of a Unix socket: room is made for it, and its loss is noticed."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

from lib.clock import SECOND_NS
from lib.errors import CannotStartError
from lib.process.own_files import check_own

LOOK_NS: Final = 1 * SECOND_NS
"""How often to look whether the file is still there."""


def make_room_for_socket(path: Path, setting: str) -> None:
    """Remove the socket that a process which has ended left at this path.

    Raises CannotStartError, naming `setting`, if a server listens there, or if it is anything else
    than a socket of ours.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotStartError(f"{setting}: {path}: {error.strerror}") from None
    try:
        check_own(path, status, stat.S_IFSOCK)
        if _is_served(path):
            raise CannotStartError(
                f"{setting}: another program listens at {path} "
                "(another stack? stop it or choose another var_dir)"
            )
        path.unlink()
    except OSError as error:
        raise CannotStartError(f"{setting}: {path}: {error.strerror}") from None


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


class SocketFileWatch:
    """Ends a role whose socket file was removed or replaced: its successor makes it anew.

    Clients that are connected would not notice, and new ones could not connect, for ever. Is a
    `Timed` for the event loop; used from there only.
    """

    def __init__(self, path: Path) -> None:
        """Remember the file that was just made."""
        self._path = path
        self._made = path.lstat()
        self._look_ns = 0

    def next_deadline_ns(self) -> int:
        """When to look."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Look. Raises CannotStartError if another file is there, or none."""
        self._look_ns = now_ns + LOOK_NS
        try:
            is_there = os.path.samestat(self._path.lstat(), self._made)
        except OSError:
            is_there = False
        if not is_there:
            raise CannotStartError(
                f"{self._path} was removed or replaced: started again, it is back"
            )
