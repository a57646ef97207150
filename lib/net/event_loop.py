"""The loop of a daemon: wait for sockets and for the next deadline, then call what is due.

Two refinements over a bare selector:

- epoll counts in milliseconds and rounds up, which would send a tick up to a millisecond after
  its time. An epoll object can itself be waited for, and `select` counts in microseconds. That
  is one more system call, so it is made for short waits only.
- SIGTERM and SIGINT end the loop through a wake-up descriptor, so that a signal that arrives
  between the look at `running` and the wait is not slept through.

A loop can beat for the watchdog (`beat_into`): it stores the time before each wait and after the
callbacks. So the gap between two beats is one wait with its callbacks, or what the owner of the
loop does between two passes.
"""

from __future__ import annotations

import select
import selectors
import signal
import socket
from collections.abc import Callable
from typing import Final, Protocol

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.net.host import SYSTEM, Host

EventCallback = Callable[[int], None]
"""Called with the selectors.EVENT_* mask that is ready."""

LONGEST_SLEEP_NS: Final = 1 * SECOND_NS
"""No wait is longer, so that a missed event of any kind costs a bounded delay."""
MAX_EVENTS_A_PASS: Final = 256
"""Further ready files are called back in the next pass."""
PRECISE_BELOW_NS: Final = 20 * MILLISECOND_NS
"""Waits longer than this may end a millisecond late."""


class Timed(Protocol):
    """Something that wants to be called at a time of its own."""

    def next_deadline_ns(self) -> int | None:
        """When to call `on_time` (monotonic ns), None for never.

        Called in each pass before the wait, and again when the deadline has passed.
        """

    def on_time(self, now_ns: int) -> None:
        """The deadline has passed."""


class EventLoop:
    """One a process, used from its main thread.

    Attributes:
        host: the machine. Whatever runs on this loop takes its sockets from there.
        clock: the time of that machine, monotonic ns.

    """

    def __init__(self, host: Host = SYSTEM) -> None:
        self.running = True
        self.host = host
        self.clock = host.monotonic_ns
        # Not selectors.EpollSelector, which takes 2 µs more to say what is ready.
        self._epoll = select.epoll()
        self._callbacks: dict[int, tuple[EventCallback, int]] = {}
        """By descriptor, with the events that are waited for."""
        self._timed: list[Timed] = []
        self._beat: memoryview[int] | list[int] = [0]
        self._longest_sleep_ns = LONGEST_SLEEP_NS

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT set `running` to False and end the current wait."""
        self._waker, self._wakened = socket.socketpair()
        self._waker.setblocking(False)
        self._wakened.setblocking(False)
        self.register(self._wakened, selectors.EVENT_READ, self._drain_waker)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())

    def stop(self) -> None:
        """End the loop after this pass."""
        self.running = False

    def register(self, file: int | socket.socket, events: int, callback: EventCallback) -> None:
        """Call back whenever `file` is ready for one of `events`."""
        self._epoll.register(file, _to_epoll(events))
        self._callbacks[_descriptor(file)] = callback, events

    def modify(self, file: int | socket.socket, events: int, callback: EventCallback) -> None:
        """Change the events that a registered file is waited for."""
        self._epoll.modify(file, _to_epoll(events))
        self._callbacks[_descriptor(file)] = callback, events

    def unregister(self, file: int | socket.socket) -> None:
        """Wait for `file` no longer. Call before closing it."""
        del self._callbacks[_descriptor(file)]
        self._epoll.unregister(file)

    def add_timed(self, timed: Timed) -> None:
        """Ask `timed` for its deadline in each pass. For a handful of objects, not one a client."""
        self._timed.append(timed)

    def beat_into(self, word: memoryview[int], interval_ns: int) -> None:
        """Store the time (monotonic ns) into `word[0]` in each pass, and so every `interval_ns`."""
        self._beat = word
        self._longest_sleep_ns = min(interval_ns, LONGEST_SLEEP_NS)

    def poll(self, may_sleep: bool = True) -> None:
        """One pass: wait, call back the ready files, then every `Timed` that is due."""
        deadlines = [timed.next_deadline_ns() for timed in self._timed]
        self._beat[0] = now_ns = self.clock()
        wake_ns = now_ns + self._longest_sleep_ns
        for deadline_ns in deadlines:
            if deadline_ns is not None and deadline_ns < wake_ns:
                wake_ns = deadline_ns
        for fd, waiting, ready in self._wait(max(0, wake_ns - now_ns) if may_sleep else 0):
            # A callback earlier in this pass may have closed this file.
            if waiting and self._callbacks.get(fd) is waiting:
                callback, events = waiting
                callback(_from_epoll(ready) & events)
        self._beat[0] = now_ns = self.clock()
        if now_ns < wake_ns:  # no deadline has passed
            return
        for timed, deadline_ns in zip(self._timed, deadlines, strict=False):  # some may be new
            if deadline_ns is not None and deadline_ns <= now_ns:
                deadline_ns = timed.next_deadline_ns()  # a callback may have moved it
                if deadline_ns is not None and deadline_ns <= now_ns:
                    timed.on_time(now_ns)

    def _wait(self, sleep_ns: int) -> list[tuple[int, tuple[EventCallback, int] | None, int]]:
        """Return the ready files, with the callback and the epoll events of each."""
        if 0 < sleep_ns < PRECISE_BELOW_NS:
            if not select.select([self._epoll], [], [], sleep_ns / SECOND_NS)[0]:
                return []
            sleep_ns = 0
        return [
            (fd, self._callbacks.get(fd), ready)
            for fd, ready in self._epoll.poll(sleep_ns / SECOND_NS, MAX_EVENTS_A_PASS)
        ]

    def _drain_waker(self, _events: int) -> None:
        self._wakened.recv(4096)


def _descriptor(file: int | socket.socket) -> int:
    return file if isinstance(file, int) else file.fileno()


def _to_epoll(events: int) -> int:
    return (select.EPOLLIN if events & selectors.EVENT_READ else 0) | (
        select.EPOLLOUT if events & selectors.EVENT_WRITE else 0
    )


def _from_epoll(events: int) -> int:
    """Map an error or a hang-up to both reading and writing: the call will raise the reason."""
    if events == select.EPOLLIN:
        return selectors.EVENT_READ
    return (selectors.EVENT_READ if events & ~select.EPOLLOUT else 0) | (
        selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
    )
