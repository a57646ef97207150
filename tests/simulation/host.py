"""The machine of a simulated process, and its event loop: the shipped one, but for its wait."""

from __future__ import annotations

import select
import selectors
import socket
from collections.abc import Callable
from random import Random
from typing import Any, cast

from lib.net.event_loop import EventCallback, EventLoop
from tests.simulation.network import Network, SimulatedListener, SimulatedSocket

EVENTS = selectors.EVENT_READ | selectors.EVENT_WRITE


class SimulatedHost:
    """What `lib.net.host` promises, given by a world. One a process."""

    def __init__(
        self,
        network: Network,
        *,
        monotonic_ns: Callable[[], int],
        wall_ns: Callable[[], int],
        crash_point: Callable[[], None] = lambda: None,
    ) -> None:
        self.random: Random = network.random
        self.monotonic_ns = monotonic_ns
        self.wall_ns = wall_ns
        self.crash_point = crash_point
        self.sockets: dict[int, SimulatedSocket | SimulatedListener] = {}
        """By descriptor, those that are open."""
        self._network = network

    def addresses(self, host: str) -> list[str]:
        return [host]

    def listen(self, _address: str, port: int) -> socket.socket:
        self.crash_point()
        listener = self._network.listen(port)
        listener.adopt(self)
        return cast("socket.socket", listener)

    def connect(self, _address: str, port: int) -> socket.socket:
        self.crash_point()
        sock = self._network.connect(port)
        sock.adopt(self)
        return cast("socket.socket", sock)

    def kill(self) -> None:
        """Let the kernel take back the sockets of a process that was killed."""
        for sock in list(self.sockets.values()):
            sock.close(killed=True)


class SimulatedLoop(EventLoop):
    """The event loop of a role in a world. It never waits: its owner is called again in a while.

    Other files than simulated sockets, such as the wake-up of the price book, are never ready:
    a role looks for ticks in each pass, woken or not.
    """

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host)
        self._sockets = host.sockets
        self._shuffle = host.random.shuffle
        self._epoll.close()
        self._epoll = cast("select.epoll", _NoEpoll())

    @property
    def has_work(self) -> bool:
        """Whether a socket is ready."""
        sockets = self._sockets
        for fd, (_, events) in self._callbacks.items():
            if fd in sockets and sockets[fd].ready(events):
                return True
        return False

    def wakes_ns(self, now_ns: int) -> int:
        """Return until when it would sleep now, if no socket becomes ready."""
        deadlines = [timed.next_deadline_ns() for timed in self._timed]
        longest_ns = now_ns + self._longest_sleep_ns
        return min((one for one in deadlines if one is not None), default=longest_ns)

    def _wait(self, _sleep_ns: int) -> list[tuple[int, tuple[EventCallback, int] | None, int]]:
        sockets = self._sockets
        ready: list[tuple[int, tuple[EventCallback, int] | None, int]] = []
        for fd, waiting in self._callbacks.items():
            sock = sockets.get(fd)
            if sock is not None and (events := sock.ready(waiting[1])):
                ready.append((fd, waiting, events))
        if len(ready) > 1:
            self._shuffle(ready)
        return ready


class _NoEpoll:
    """Takes what an event loop tells epoll."""

    def register(self, *_: Any) -> None:
        pass

    modify = unregister = register
