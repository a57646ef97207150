"""Waking a process that sleeps in a selector: one FIFO for each sleeper.

A FIFO can be waited for together with sockets, is found by its name by processes that are no
relatives, and costs the one who wakes 0.4 µs. Each sleeper owns one of `SLOTS` files, called by a
common prefix and the number of its slot. It owns it by a flock on the FIFO itself, so the kernel
gives the slot back when its owner dies. The files stay where they are and are used again.

The one who wakes never waits: a dead, frozen or slow sleeper costs one failing system call.

The first slots are reserved for the roles of the stack, so that other readers, however many, cannot
take them. A sleeper that finds no free slot becomes a `Poller`: a timer wakes it. It is waited for
in the same way, so the loop that sleeps on it need not know, and costs the one who wakes nothing.
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

SLOTS: Final = 64
"""How many can be woken; further ones poll."""
RESERVED_SLOTS: Final = 16
"""The first ones, for roles. Only those that wait for ticks need one: the strategies."""
FOR_ROLES: Final = range(SLOTS)
"""The slots that a role may take, in the order of trying: the reserved ones, then any other."""
FOR_ALL: Final = range(RESERVED_SLOTS, SLOTS)
"""The slots that any other process may take."""

MAX_SLEEP_S: Final = 0.1
"""No sleep may be longer: a wake-up can be lost (see lib/shared_memory_utils.py), and then this is
what it costs."""

POLL_S: Final = 0.01
"""How often a sleeper without a slot wakes. A compromise: a tick may be so much late, and 100 such
sleepers wake 10,000 times a second, which takes a tenth of a processor or more."""
CLAIM_AGAIN_S: Final = 5.0
"""How often a sleeper without a slot looks for one: that takes half a millisecond."""

_CLOCK_MONOTONIC: Final = 1
_TIMER_BYTES: Final = 8
"""What a timer gives to read: how often its time has come."""
_CLAIM_ATTEMPTS: Final = 10
"""How often a FIFO may be removed while we claim it, before we try the next slot."""
_DRAIN_BYTES: Final = 4096


class Sleeper:
    """A slot that this process owns, and the FIFO that wakes it. For one thread."""

    def __init__(self, slot: int, fd: int) -> None:
        self.slot = slot
        self._fd = fd

    @classmethod
    def claim(cls, prefix: str, slots: range) -> Sleeper | None:
        """Take the first free one of `slots`; None if there is none.

        A file that is no FIFO of ours, whoever put it there, costs a slot and nothing else.
        """
        for slot in slots:
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


class Poller:
    """A sleeper that has found no slot: it wakes every `POLL_S`, until it gets a slot after all.

    What is waited for is an epoll object, so that the descriptor stays the same when the FIFO of a
    slot takes the place of the timer behind it. For one thread.
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
        """Return what becomes readable to wake us. It stays the same."""
        return self._epoll.fileno()

    def drain(self) -> None:
        """Take the wake-ups that have come, so that it is not readable any more."""
        if self._sleeper is not None:
            self._sleeper.drain()
            return
        with suppress(BlockingIOError):
            os.read(self._timer, _TIMER_BYTES)

    def close(self) -> None:
        """Close it all, and give the slot back if there is one. May be called again."""
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
