"""A network that exists only in memory: TCP as its users see it, at its worst.

A connection is two lanes of bytes. What is sent arrives later, in any pieces, and in order; or not
at all from some byte on, which each end learns now, later or never. Processes call `deliver` for
their end when they run: one that is frozen takes nothing, and its connections stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from random import Random

from lib.clock import MILLISECOND_NS, Clock
from lib.net.backoff import Backoff

MOST_PIECES = 4
"""Into which what has arrived is split at random. While a lane dribbles, each byte is a piece."""
MOST_BYTES = 1000
"""Of one piece: some 80 ticks, so that who reads the book after each write misses none."""
MOST_DRIBBLED_BYTES = 400
"""Of one delivery; the rest comes whole."""


class Lane:
    """The bytes on their way in one direction."""

    def __init__(self) -> None:
        self.flying: deque[tuple[int, bytes]] = deque()
        self.due_ns = 0
        self.swallows = False
        self.ends_ns: int | None = None
        """When the receiver learns that no more will come."""

    def send(self, data: bytes, due_ns: int) -> None:
        if data and not self.swallows and self.ends_ns is None:
            self.due_ns = max(self.due_ns, due_ns)  # later bytes never overtake earlier ones
            self.flying.append((self.due_ns, data))

    def cut(self, random: Random) -> None:
        """Lose what is under way, from a random byte on."""
        data = b"".join(piece for _, piece in self.flying)
        kept = random.randint(0, len(data))
        self.flying.clear()
        if kept:
            self.flying.append((self.due_ns, data[:kept]))

    def take(self, now_ns: int) -> bytes:
        pieces = []
        while self.flying and self.flying[0][0] <= now_ns:
            pieces.append(self.flying.popleft()[1])
        return b"".join(pieces)

    def ended(self, now_ns: int) -> bool:
        return self.ends_ns is not None and self.ends_ns <= now_ns and not self.flying


class End:
    """One end of a connection, in the hands of a process."""

    def __init__(self, network: Network, peer: str, sends: Lane, receives: Lane) -> None:
        self.network = network
        self.peer = peer
        self.sends = sends
        self.receives = receives
        self.open = True
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.on_closed: Callable[[str], None] = lambda _: None

    def send(self, data: bytes) -> None:
        if self.open:
            self.sends.send(data, self.network.arrival_ns(self.peer))

    def close(self, reason: str) -> None:
        """Close it here; the other end learns it after what was sent before."""
        if self.open:
            self.vanish()
            self.on_closed(reason)

    def vanish(self) -> None:
        """Close it without a word to its owner, who is dead."""
        self.open = False
        self.receives.flying.clear()
        self.receives.swallows = True
        if not self.sends.swallows and self.sends.ends_ns is None:
            self.sends.ends_ns = self.network.arrival_ns(self.peer)

    def deliver(self) -> None:
        """Take what has arrived, in pieces."""
        now_ns = self.network.clock()
        data = self.receives.take(now_ns)
        for piece in self.network.pieces(self.peer, data) if data else ():
            if not self.open:
                return
            self.on_data(piece)
        if self.open and self.receives.ended(now_ns):
            self.close("closed by peer")


class Network:
    """Who listens where, and how bad things are. A place is the name of a server's port."""

    def __init__(self, random: Random, clock: Clock) -> None:
        self.random = random
        self.clock = clock
        self.listening: dict[str, list[End]] = {}
        """By place: the ends of connections that its server has yet to accept."""
        self.connections: list[tuple[str, End, End]] = []
        """Place, the client's end and the server's."""
        self.slow: dict[str, tuple[int, int]] = {}
        """By place: until when, and by how much everything is late."""
        self.dribbling: dict[str, int] = {}
        """By place: until when everything arrives byte by byte."""
        self.stillborn: set[str] = set()
        """Places to which the next connection leads nowhere."""

    def connect(self, place: str) -> End | None:
        """Return the client's end of a new connection, None if no server listens."""
        if place not in self.listening:
            return None
        up, down = Lane(), Lane()
        client, server = End(self, place, up, down), End(self, place, down, up)
        self.listening[place].append(server)
        self.connections = [c for c in self.connections if c[1].open or c[2].open]
        self.connections.append((place, client, server))
        if place in self.stillborn:
            self.stillborn.remove(place)
            self.blackhole(self.connections[-1])
        return client

    def arrival_ns(self, place: str) -> int:
        now_ns = self.clock()
        until_ns, late_ns = self.slow.get(place, (0, 0))
        return now_ns + self.random.randrange(MILLISECOND_NS) + (now_ns < until_ns) * late_ns

    def pieces(self, place: str, data: bytes) -> list[bytes]:
        """Split what has arrived."""
        if self.clock() < self.dribbling.get(place, 0):
            cuts = [*range(1, min(len(data), MOST_DRIBBLED_BYTES))]
        else:
            cuts = [self.random.randrange(len(data) + 1) for _ in range(MOST_PIECES - 1)]
        cuts = sorted({0, *cuts, *range(0, len(data), MOST_BYTES), len(data)})
        return [data[a:b] for a, b in pairwise(cuts)]

    def reset(self, connection: tuple[str, End, End]) -> None:
        """Cut it at any byte in either direction; both ends learn it, each at a time of its own."""
        for end in connection[1:]:
            end.receives.cut(self.random)
            if end.receives.ends_ns is None:
                end.receives.ends_ns = self.clock() + self.random.randrange(100 * MILLISECOND_NS)

    def blackhole(self, connection: tuple[str, End, End]) -> None:
        """Let nothing pass any more, from any byte on; neither end notices."""
        for end in connection[1:]:
            end.receives.cut(self.random)
            end.receives.swallows = True


class SimulatedLink:
    """What `lib.net.reconnect.ReconnectingConnection` is to its owner, over a simulated network."""

    def __init__(
        self,
        network: Network,
        place: str,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._network = network
        self._on_open = on_open
        self._on_data = on_data
        self._on_lost = on_lost
        self._backoff = Backoff(network.random)
        self._next_try_ns = 0
        self.peer = place
        self.end: End | None = None

    def send(self, *pieces: bytes) -> None:
        if self.end:
            self.end.send(b"".join(pieces))

    def proved(self) -> None:
        self._backoff.succeeded()

    def drop(self, reason: str, wait_ns: int = 0) -> None:
        if self.end:
            self.end.close(reason)
            if wait_ns:
                self.hold_back(wait_ns)

    def hold_back(self, wait_ns: int) -> None:
        self._next_try_ns = max(self._next_try_ns, self._network.clock() + wait_ns)

    def step(self) -> None:
        """Take what has arrived, or try to connect if it is time to."""
        if self.end:
            self.end.deliver()
            return
        now_ns = self._network.clock()
        if now_ns < self._next_try_ns:
            return
        self.end = self._network.connect(self.peer)
        if self.end is None:
            self._next_try_ns = now_ns + self._backoff.next_wait_ns(now_ns)
            return
        self.end.on_data = self._on_data
        self.end.on_closed = self._closed
        self._on_open()

    def _closed(self, reason: str) -> None:
        now_ns = self._network.clock()
        self.end = None
        self._next_try_ns = now_ns + self._backoff.next_wait_ns(now_ns)
        self._on_lost(reason)


class Connector:
    """Makes one link, as `lib.net.reconnect.Connect` asks for, and keeps it for who drives it."""

    def __init__(self, network: Network, place: str) -> None:
        self._network = network
        self._place = place

    def __call__(
        self,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> SimulatedLink:
        self.link = SimulatedLink(
            self._network, self._place, on_open=on_open, on_data=on_data, on_lost=on_lost
        )
        return self.link
