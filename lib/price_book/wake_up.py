"""Waking a process that sleeps in a selector: one FIFO for each sleeper.

A FIFO can be waited for together with sockets, unrelated processes find it by its name, and a
wake-up costs the waker 0.4 µs. Each sleeper owns one of `SLOTS` files, named by a common prefix and
the number of its slot. It owns it by a flock on the FIFO itself, so the kernel frees the slot when
its owner dies. The files stay and are used again.

The waker never waits: a dead, frozen or slow sleeper costs one failing system call.

The first slots are reserved for the roles of the stack, so that other readers, however many, cannot
take them. A sleeper that finds no free slot becomes a `Poller`, which a timer wakes. The loop that
sleeps on it sees no difference, and it costs the waker nothing.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from lib.process.file_lock import is_still_at
from lib.process.own_files import check_own

SLOTS: Final = 64
"""How many sleepers can be woken; further ones poll."""
RESERVED_SLOTS: Final = 16
"""How many of the first slots only roles may take. The strategies, which wait for ticks, need
one each."""
FOR_ROLES: Final = range(SLOTS)
"""The slots that a role may take, in the order of trying: the reserved ones, then any other."""
FOR_ALL: Final = range(RESERVED_SLOTS, SLOTS)
"""The slots that any other process may take."""

MAX_SLEEP_S: Final = 0.1
"""The longest sleep: a wake-up can be lost (see lib/price_book/book.py), and then this is the
delay."""

POLL_S: Final = 0.01
"""The period at which a sleeper without a slot wakes. A compromise: a tick may come late by it, and
100 such sleepers take a tenth of a processor or more."""
CLAIM_AGAIN_S: Final = 5.0
"""How often a sleeper without a slot looks for one: that takes half a millisecond."""

_CLOCK_MONOTONIC: Final = 1
_TIMER_BYTES: Final = 8
"""Size of what a timer gives to read: how often it has expired."""
_CLAIM_ATTEMPTS: Final = 10
"""How often a FIFO may be removed during a claim, before the next slot is tried."""
_DRAIN_BYTES: Final = 4096


class Sleeper:
    """A slot that this process owns, and the FIFO that wakes it. For one thread."""

    def __init__(self, slot: int, fd: int, path: str) -> None:
        self.slot = slot
        self._fd = fd
        self._path = Path(path)

    @classmethod
    def claim(cls, prefix: str, slots: range) -> Sleeper | None:
        """Take the first free one of `slots`; None if there is none.

        A file of the name that is no FIFO of ours costs a slot and nothing else; see `planted`.
        """
        for slot in slots:
            path = _path(prefix, slot)
            for _ in range(_CLAIM_ATTEMPTS):
                try:
                    fd = _claim_fifo(path)
                except FileNotFoundError:  # removed since it was made
                    continue
                except OSError:  # owned by another sleeper, or not permitted
                    break
                sleeper = cls(slot, fd, path)
                sleeper.drain()  # the wake-ups of the slot's last owner
                return sleeper
        return None

    def fileno(self) -> int:
        """Return the descriptor that a wake-up makes readable."""
        return self._fd

    def is_lost(self) -> bool:
        """Whether the FIFO was removed: then a waker that has not opened it yet cannot find it."""
        return not is_still_at(self._fd, self._path)

    def drain(self) -> None:
        """Take the wake-ups that have come, so that the FIFO is no longer readable."""
        try:  # noqa: SIM105 - `suppress` takes longer than the call
            # It holds two wake-ups at most; see `Waker.wake`.
            os.read(self._fd, _DRAIN_BYTES)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give the slot back. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _claim_fifo(path: str) -> int:
    """Raises FileNotFoundError if the FIFO was removed meanwhile, OSError if it is not free."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    # Open for both directions: that never blocks, and without a writer it is no end of file.
    fd = _open_fifo(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_still_at(fd, Path(path)):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


class Poller:
    """A sleeper that has found no slot: it wakes every `POLL_S`, until it gets a slot after all.

    Its descriptor is that of an epoll object, and stays the same when the FIFO of a slot replaces
    the timer behind it. For one thread.
    """

    def __init__(self) -> None:
        """Raises OSError if the process has no descriptor left."""
        self._sleeper: Sleeper | None = None
        self._timer = _periodic_timer(POLL_S)
        try:
            self._epoll = select.epoll()
        except OSError:
            os.close(self._timer)
            raise
        self._epoll.register(self._timer, select.EPOLLIN)
        self._next_claim_s = time.monotonic() + CLAIM_AGAIN_S

    @property
    def slot(self) -> int | None:
        """The slot, once there is one."""
        return self._sleeper.slot if self._sleeper else None

    def is_lost(self) -> bool:
        """Whether it has a slot, and the FIFO of it was removed."""
        return self._sleeper is not None and self._sleeper.is_lost()

    def claim_again(self, prefix: str, slots: range) -> None:
        """Look for a free slot, if there is none yet and the last look was `CLAIM_AGAIN_S` ago."""
        now_s = time.monotonic()
        if self._sleeper is not None or now_s < self._next_claim_s:
            return
        self._next_claim_s = now_s + CLAIM_AGAIN_S
        self._sleeper = Sleeper.claim(prefix, slots)
        if self._sleeper is not None:
            self._epoll.register(self._sleeper, select.EPOLLIN)
            self._close_timer()

    def fileno(self) -> int:
        """Return the descriptor that a wake-up makes readable. It never changes."""
        return self._epoll.fileno()

    def drain(self) -> None:
        """Take the wake-ups that have come, so that the descriptor is no longer readable."""
        if self._sleeper is not None:
            self._sleeper.drain()
            return
        with suppress(BlockingIOError):
            os.read(self._timer, _TIMER_BYTES)

    def close(self) -> None:
        """Close all descriptors, which frees the slot if it has one. May be called again."""
        self._epoll.close()
        self._close_timer()
        if self._sleeper is not None:
            self._sleeper.close()

    def _close_timer(self) -> None:
        timer, self._timer = self._timer, -1
        if timer >= 0:
            os.close(timer)


class _TimerSpec(ctypes.Structure):
    """The interval, then the first time, each in seconds and nanoseconds; see timerfd_create(2)."""

    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "s", "ns")]


def _periodic_timer(interval_s: float) -> int:
    """Return a descriptor that becomes readable every `interval_s`, below 1 s. Raises OSError.

    A timer that is not read costs nothing: the kernel sets it again when it has been read.
    (`os.timerfd_create` comes with Python 3.13.)
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"timerfd_create: {os.strerror(error)}")
    interval_ns = int(interval_s * 1e9)
    # This cannot fail: the descriptor is a timer's, and the times are valid.
    spec = _TimerSpec(0, interval_ns, 0, interval_ns)
    libc.timerfd_settime(fd, 0, ctypes.byref(spec), None)
    return fd


class Waker:
    """Wakes sleepers, by slot. For one thread; keeps one descriptor for each slot it has woken.

    Python ignores SIGPIPE, so a write to a dead sleeper is an error and does not end the process.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._fds: dict[int, int] = {}

    def wake(self, slot: int) -> None:
        """Wake the owner of the slot, if it has one. Never blocks."""
        # The second try is for a FIFO that was removed and made again since it was opened.
        for _ in range(2):
            fd = self._fds.get(slot)
            if fd is None:
                try:
                    fd = _open_fifo(_path(self._prefix, slot), os.O_WRONLY)
                except OSError:  # ENXIO, ENOENT: no sleeper has it open; or it is not ours
                    return
                self._fds[slot] = fd
            try:
                os.write(fd, b"\0")
            except BlockingIOError:  # full: enough wake-ups are in it
                return
            except OSError:  # EPIPE: its owner is dead
                os.close(self._fds.pop(slot))
            else:
                return

    def close(self) -> None:
        """Close all descriptors. May be called again."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def has_owner(prefix: str, slot: int) -> bool:
    """Return whether a live process owns the slot. Takes some 5 µs, and never blocks."""
    try:
        os.close(_open_fifo(_path(prefix, slot), os.O_WRONLY))
    except OSError:  # ENXIO, ENOENT: no sleeper has it open; or it is not ours
        return False
    return True


def wake_all(prefix: str) -> None:
    """Wake the sleepers of all slots. Never blocks."""
    waker = Waker(prefix)
    try:
        for slot in range(SLOTS):
            waker.wake(slot)
    finally:
        waker.close()


def _open_fifo(path: str, direction: int) -> int:
    """Open a FIFO that is ours alone. Raises OSError if it is not, or cannot be opened."""
    fd = os.open(path, direction | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_own(Path(path), os.fstat(fd), stat.S_IFIFO)
    except OSError:
        os.close(fd)
        raise
    return fd


def planted(prefix: str, slots: range) -> list[str]:
    """Return which files in the places of these slots' FIFOs are not ours, and why."""
    found = []
    for slot in slots:
        path = Path(_path(prefix, slot))
        try:
            check_own(path, path.lstat(), stat.S_IFIFO)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(f"{path}: {error.strerror}")
    return found


def _path(prefix: str, slot: int) -> str:
    return f"{prefix}{slot:02d}"
