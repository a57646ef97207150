"""A network that exists only in memory: TCP as its users see it, at its worst.

A connection is two lanes of bytes. What is sent arrives later, in any pieces, and in order; or not
at all from some byte on, which each end learns now, later or never. A lane holds a bounded number
of bytes, so that a receiver that is slow backs up into its sender. What the kernel keeps of a
process that stands still (its connections, its backlog, what has arrived) is kept here.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
from collections import deque
from collections.abc import Iterable
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from lib.clock import MILLISECOND_NS

if TYPE_CHECKING:
    from tests.simulation.host import SimulatedHost

MOST_PRICE_BYTES = 1000
"""Of one piece: some 80 ticks, so that a reader of the book after each write misses none."""
MOST_BYTES = 65_536
"""Of one piece on any other lane."""
MOST_DRIBBLED_BYTES = 3
SPLIT = 0.3
"""How likely it is that a piece ends anywhere."""
FEWEST_WINDOW_BYTES, MOST_WINDOW_BYTES = 4_000, 40_000
"""Bytes that are sent and not received, at most."""

_DESCRIPTORS = count(1 << 20)
"""Above all that the kernel gives."""


class Lane:
    """The bytes on their way in one direction."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._flying: deque[tuple[int, bytes]] = deque()
        self._arrived = bytearray()
        self.due_ns = 0
        """When the last byte arrives."""
        self._held = 0
        """Bytes that are sent and not received."""
        self.swallows = False
        self.gone = False
        """Whether its receiver has closed its end."""
        self.ends_ns: int | None = None
        """When the receiver learns that no more will come."""
        self.is_reset = False
        """Whether that is an error."""

    @property
    def room(self) -> int:
        return self._window - self._held

    def send(self, data: bytes, due_ns: int) -> None:
        if self.gone:
            return
        self._held += len(data)
        if not self.swallows and self.ends_ns is None:
            self.due_ns = max(self.due_ns, due_ns)  # later bytes never overtake earlier ones
            self._flying.append((self.due_ns, data))

    def end(self, due_ns: int, *, reset: bool = False) -> None:
        """Let the receiver learn, behind what was sent, that no more will come."""
        if self.swallows:
            return
        if self.ends_ns is None:
            self.ends_ns = max(self.due_ns, due_ns)
        self.is_reset |= reset

    def cut(self, random: Random) -> None:
        """Lose what is under way, from a random byte on."""
        data = b"".join(piece for _, piece in self._flying)
        kept = random.randint(0, len(data))
        self._flying.clear()
        if kept:
            self._flying.append((self.due_ns, data[:kept]))

    def close(self) -> None:
        """Let the receiver be gone, with what it has not received."""
        self.gone = True
        self._flying.clear()
        self._arrived.clear()

    def is_readable(self, now_ns: int) -> bool:
        """Whether bytes can be received, or the end. Asked far more often than it is so."""
        if self._flying and self._flying[0][0] <= now_ns:
            self.arrived(now_ns)
        return bool(self._arrived) or (self.ends_ns is not None and self.ends_ns <= now_ns)

    def arrived(self, now_ns: int) -> int:
        """Return how many bytes can be received."""
        flying = self._flying
        while flying and flying[0][0] <= now_ns:
            self._arrived += flying.popleft()[1]
        return len(self._arrived)

    def peek(self, size: int) -> bytes:
        return bytes(self._arrived[:size])

    def receive(self, size: int) -> bytes:
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        self._held -= len(data)
        return data

    def is_over(self, now_ns: int) -> bool:
        """Whether the receiver knows that no more will come."""
        return self.ends_ns is not None and self.ends_ns <= now_ns


class SimulatedSocket:
    """One end of a connection: what a role uses of `socket.socket`."""

    family = socket.AF_INET

    def __init__(
        self,
        network: Network,
        place: str,
        names: tuple[tuple[str, int], tuple[str, int]],
        lanes: tuple[Lane, Lane],
        established_ns: int,
    ) -> None:
        self.place = place
        self.established_ns = established_ns
        """When it is connected, or learns that it is refused."""
        self.refused = False
        self.open = True
        self.owner: SimulatedHost
        self._network = network
        self._name, self._peer = names
        self.sends, self.receives = lanes
        self._is_shut = False
        self._fd = next(_DESCRIPTORS)

    def adopt(self, owner: SimulatedHost) -> None:
        """Give it to a process."""
        self.owner = owner
        owner.sockets[self._fd] = self

    def ready(self, events: int) -> int:
        """Return the epoll events of those selector `events` that it is ready for."""
        now_ns = self._network.now_ns
        if now_ns < self.established_ns:
            return 0
        ready = 0
        if events & selectors.EVENT_READ and self.receives.is_readable(now_ns):
            ready = select.EPOLLIN
        if events & selectors.EVENT_WRITE and (self.sends.room > 0 or self._is_broken()):
            ready |= select.EPOLLOUT
        return ready

    def _is_broken(self) -> bool:
        receives = self.receives
        return self.refused or (receives.is_reset and receives.is_over(self._network.now_ns))

    # What a role calls.

    def fileno(self) -> int:
        return self._fd if self.open else -1

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.owner.crash_point()
        network, receives = self._network, self.receives
        arrived = receives.arrived(network.now_ns)
        if flags and arrived:  # socket.MSG_PEEK
            return receives.peek(size)
        if arrived:
            return receives.receive(min(size, network.piece(self.place, arrived)))
        if self._is_broken():
            raise _error(errno.ECONNRESET)
        if receives.is_over(network.now_ns):
            return b""
        raise BlockingIOError

    def sendmsg(self, pieces: Iterable[bytes | memoryview]) -> int:
        self.owner.crash_point()
        if self._is_broken() or self._is_shut:
            raise _error(errno.EPIPE)
        room = self.sends.room
        if room <= 0:
            raise BlockingIOError
        data = b"".join(pieces)[:room]
        arrival_ns = self._network.arrival_ns(self.place)
        self.sends.send(data, arrival_ns)
        if self.sends.gone and not self.sends.swallows:
            self.receives.end(arrival_ns, reset=True)
        self.owner.crash_point()
        return len(data)

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_WR
        if self._is_broken():
            raise _error(errno.ENOTCONN)
        self._is_shut = True
        self.sends.end(self._network.arrival_ns(self.place))

    def close(self, *, killed: bool = False) -> None:
        """Close it; of a process that is `killed`, perhaps not all arrives that it has sent.

        With unread input, or killed, the connection is reset, which may overtake what was sent.
        """
        if not self.open:
            return
        self.open = False
        self.owner.sockets.pop(self._fd, None)
        random = self._network.random
        lossy = bool(self.receives.arrived(self._network.now_ns)) or (
            killed and random.random() < 0.5
        )
        if lossy and random.random() < 0.8:
            self.sends.cut(random)
        self.sends.end(self._network.arrival_ns(self.place), reset=lossy)
        self.receives.close()

    def getsockname(self) -> tuple[str, int]:
        return self._name

    def getpeername(self) -> tuple[str, int]:
        if self._is_broken():
            raise _error(errno.ENOTCONN)
        return self._peer

    def setblocking(self, _flag: bool) -> None:
        pass

    def setsockopt(self, *_: int) -> None:
        pass


class SimulatedListener:
    """A listening socket, with the connections that wait to be accepted."""

    def __init__(self, network: Network, port: int) -> None:
        self._network = network
        self._port = port
        self._fd = next(_DESCRIPTORS)
        self.backlog: list[SimulatedSocket] = []
        self.owner: SimulatedHost

    def adopt(self, owner: SimulatedHost) -> None:
        self.owner = owner
        owner.sockets[self._fd] = self

    def ready(self, events: int) -> int:
        if not self.backlog:
            return 0
        now_ns = self._network.now_ns
        arrived = any(sock.established_ns <= now_ns for sock in self.backlog)
        return select.EPOLLIN if events & selectors.EVENT_READ and arrived else 0

    def fileno(self) -> int:
        return self._fd

    def accept(self) -> tuple[SimulatedSocket, tuple[str, int]]:
        self.owner.crash_point()
        now_ns = self._network.now_ns
        for sock in self.backlog:
            if sock.established_ns <= now_ns:
                self.backlog.remove(sock)
                sock.adopt(self.owner)
                return sock, sock._peer
        raise BlockingIOError

    def close(self, *, killed: bool = False) -> None:
        del self._network.listening[self._port]
        self.owner.sockets.pop(self._fd, None)
        for sock in self.backlog:
            sock.adopt(self.owner)
            sock.close(killed=killed)


class Network:
    """Who listens where, and how bad things are. A place is the name of a server's port."""

    def __init__(self, random: Random, now_ns: int, places: dict[int, str]) -> None:
        self.random = random
        self.now_ns = now_ns
        """The time, monotonic. The world moves it on."""
        self.places = places
        self.listening: dict[int, SimulatedListener] = {}
        """By port."""
        self.connections: list[tuple[SimulatedSocket, SimulatedSocket]] = []
        """The client's end and the server's."""
        self.slow: dict[str, tuple[int, int]] = {}
        """By place: until when, and by how much everything is late."""
        self.held: dict[str, int] = {}
        """By place: until when nothing arrives; then everything does."""
        self.dribbling: dict[str, int] = {}
        """By place: until when everything arrives byte by byte."""
        self.stillborn: set[str] = set()
        """Places to which the next connection leads nowhere."""
        self._client_ports = count(20_000)

    def listen(self, port: int) -> SimulatedListener:
        if port in self.listening:
            raise _error(errno.EADDRINUSE)
        listener = self.listening[port] = SimulatedListener(self, port)
        return listener

    def connect(self, port: int, window: int | None = None) -> SimulatedSocket:
        """Return the client's end of a connection that is being established, or refused.

        With `window`, the client's kernel holds so many bytes that it has not received.
        """
        place = self.places[port]
        names = (("10.0.0.1", next(self._client_ports)), ("10.0.0.2", port))
        usual = self.random.randint(FEWEST_WINDOW_BYTES, MOST_WINDOW_BYTES)
        up, down = Lane(usual), Lane(window or usual)
        established_ns = self.arrival_ns(place)
        client = SimulatedSocket(self, place, names, (up, down), established_ns)
        listener = self.listening.get(port)
        if listener is None:
            client.refused = True
            return client
        server = SimulatedSocket(self, place, names[::-1], (down, up), established_ns)
        listener.backlog.append(server)
        self.connections = [c for c in self.connections if c[0].open or c[1].open]
        self.connections.append((client, server))
        if place in self.stillborn:
            self.stillborn.remove(place)
            self.blackhole(self.connections[-1])
        return client

    def arrival_ns(self, place: str) -> int:
        """Return when what is sent now arrives."""
        now_ns = max(self.now_ns, self.held.get(place, 0))
        until_ns, late_ns = self.slow.get(place, (0, 0))
        return now_ns + self.random.randrange(MILLISECOND_NS) + (now_ns < until_ns) * late_ns

    def piece(self, place: str, arrived: int) -> int:
        """Return how many of the bytes that have arrived are received at once."""
        if self.now_ns < self.dribbling.get(place, 0):
            return self.random.randint(1, MOST_DRIBBLED_BYTES)
        most = min(arrived, MOST_PRICE_BYTES if place == "price" else MOST_BYTES)
        return self.random.randint(1, most) if self.random.random() < SPLIT else most

    def reset(self, connection: tuple[SimulatedSocket, SimulatedSocket]) -> None:
        """Cut it at any byte in either direction; both ends learn it, each at a time of its own."""
        for end in connection:
            end.receives.cut(self.random)
            end.receives.end(self.now_ns + self.random.randrange(100 * MILLISECOND_NS), reset=True)

    def blackhole(self, connection: tuple[SimulatedSocket, SimulatedSocket]) -> None:
        """Let nothing pass any more, from any byte on; neither end notices."""
        for end in connection:
            end.receives.cut(self.random)
            end.receives.swallows = True


def _error(number: int) -> OSError:
    """Return the error of this number; Python chooses its class."""
    return OSError(number, os.strerror(number))
