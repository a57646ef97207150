"""Waking a process that sleeps in a selector: one FIFO for each sleeper.

A FIFO can be waited for together with sockets, is found by its name by processes that are no
relatives, and costs the one who wakes 0.4 µs. Each sleeper owns one of `SLOTS` files, called by a
common prefix and the number of its slot. It owns it by a flock on the FIFO itself, so the kernel
gives the slot back when its owner dies. The files stay where they are and are used again.

The one who wakes never waits: a dead, frozen or slow sleeper costs one failing system call.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

SLOTS: Final = 64
"""How many can sleep at a time."""

MAX_SLEEP_S: Final = 0.1
"""No sleep may be longer: a wake-up can be lost (see lib/shared_memory_utils.py), and then this is
what it costs."""

_CLAIM_ATTEMPTS: Final = 10
"""How often a FIFO may be removed while we claim it, before we try the next slot."""
_DRAIN_BYTES: Final = 4096


class Sleeper:
    """A slot that this process owns, and the FIFO that wakes it. For one thread."""

    def __init__(self, slot: int, fd: int) -> None:
        self.slot = slot
        self._fd = fd

    @classmethod
    def claim(cls, prefix: str) -> Sleeper | None:
        """Take a free slot; None if there is none.

        A file that is no FIFO of ours, whoever put it there, costs a slot and nothing else.
        """
        for slot in range(SLOTS):
            for _ in range(_CLAIM_ATTEMPTS):
                try:
                    fd = _claim_fifo(_path(prefix, slot))
                except FileNotFoundError:  # removed since we made it
                    continue
                except OSError:  # owned by another sleeper, or not ours to open
                    break
                sleeper = cls(slot, fd)
                sleeper.drain()  # what was meant for the owner before us
                return sleeper
        return None

    def fileno(self) -> int:
        """Return what becomes readable to wake us."""
        return self._fd

    def drain(self) -> None:
        """Take the wake-ups that have come, so that the FIFO is not readable any more."""
        try:  # noqa: SIM105 - `suppress` takes longer than the call
            # Two at most are in it, whatever the one who wakes does; see `Waker.wake`.
            os.read(self._fd, _DRAIN_BYTES)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give the slot back. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _claim_fifo(path: str) -> int:
    """Raises FileNotFoundError if the FIFO was removed meanwhile, OSError if it cannot be ours."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    # Open for both directions: that never blocks, and without a writer it is no end of file.
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no FIFO")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(fd), Path(path).lstat()):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


class Waker:
    """The other end of all slots. For one thread; keeps one descriptor for each slot it has woken.

    Python ignores SIGPIPE, which makes a write to a dead sleeper an error instead of our end.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._fds: dict[int, int] = {}

    def wake(self, slot: int) -> None:
        """Wake whoever owns the slot, if anybody does. Never blocks."""
        # The second try is for a FIFO that was removed and made again since we opened it.
        for _ in range(2):
            fd = self._fds.get(slot)
            if fd is None:
                try:
                    fd = _open_to_wake(_path(self._prefix, slot))
                except OSError:  # ENXIO, ENOENT: nobody has it open
                    return
                self._fds[slot] = fd
            try:
                os.write(fd, b"\0")
            except BlockingIOError:  # full: it is woken more than enough
                return
            except OSError:  # EPIPE: its owner is dead
                os.close(self._fds.pop(slot))
            else:
                return

    def close(self) -> None:
        """Close all descriptors. May be called again."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def wake_all(prefix: str) -> None:
    """Wake everyone who sleeps. Never blocks."""
    waker = Waker(prefix)
    try:
        for slot in range(SLOTS):
            waker.wake(slot)
    finally:
        waker.close()


def _open_to_wake(path: str) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no FIFO")
    return fd


def _path(prefix: str, slot: int) -> str:
    return f"{prefix}{slot:02d}"
