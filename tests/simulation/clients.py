"""Clients that are no roles: those that look closely, and those that are a burden to a server.

Each takes a step whenever time goes on in the world, and adds to `World.misjudged` what a server
owed it and did not do.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.execution.foreign_clocks import DAY_NS
from lib.ledger.rows import BookedOrder
from lib.prices import PRICE_SCALE
from lib.process.client_table import SWEEP_NS
from lib.settings import Settings
from lib.wire.framing import FrameBuffer, split
from lib.wire.order_messages import (
    ErrorMessage,
    ExecutionReport,
    Logon,
    decode_from_server,
    encode,
    make_order,
)
from tests.simulation.network import MOST_BYTES
from tests.simulation.peer import Peer

if TYPE_CHECKING:
    from tests.simulation.world import World

GATEWAY = Settings().gateway
PORTS = {"price": GATEWAY.price_port, "news": GATEWAY.news_port}
ORDER_PORT = Settings().order_manager.port
SILENCE_NS = SECOND_NS
"""The longest silence that the protocol allows on a numbered stream …"""
STEPS_NS = 500 * MILLISECOND_NS
"""… and what the steps of the world and the gateway's own checks add to a time limit."""
RECONNECT_NS = 200 * MILLISECOND_NS
FROM_NOW_ON, FROM_THE_BEGINNING = 0, 1
STALLED_WINDOW = 500
"""Bytes that a client takes in its kernel which takes nothing itself."""
FIRING = "firing"
"""How the client_ids of a `FiringClient` begin."""
CONNECTIONS, ORDERS = 6, 20
"""At once, and over each of them."""
FIRST_ORDER_ID = 1_000_001
"""Above the strategy's, so that no line is printed twice."""
FOREIGN = "foreign"
"""The client_id of a `ForeignClient`."""
REFUSED = "order with another clock refused"
"""Counted among the world's events."""
ORDERS_AT_A_TIME = 1, 5
LEAST_AHEAD_NS = 60 * SECOND_NS
"""Further than anything in the world is ever late."""
CLOCK_UNITS_NS = (1, 10**3, 10**6, 10**9)


class NumberedReader:
    """A numbered client of a stream that checks each number, and reads at its own pace."""

    def __init__(
        self, world: World, stream: str, next_sequence: int, most_bytes: int = MOST_BYTES
    ) -> None:
        self.world = world
        self.stream = stream
        self.peer = Peer(world, PORTS[stream])
        self.peer.send(b"HELLO,1,%d*" % next_sequence)
        self.heard_ns: int | None = None
        """When something came after the answer to HELLO."""
        self._most_bytes = most_bytes
        self._unfinished = b""
        self._expected = 0
        self._frames_left = 0

    def step(self) -> None:
        """Take what has arrived."""
        *frames, self._unfinished = (self._unfinished + self.peer.receive(self._most_bytes)).split(
            b"*"
        )
        for frame in frames:
            self._take(frame)
        if frames and self._expected:
            self.heard_ns = self.world.now_ns

    def _take(self, frame: bytes) -> None:
        kind, *numbers = frame.split(b",")
        if not self._expected:  # plain frames may come before the answer
            if kind == b"HELLO":
                self._expected = int(numbers[-1])
        elif kind != b"BATCH":
            self._frames_left -= 1
            self._expected += 1
            if self._frames_left < 0:
                self._complain(f"a frame too many before {self._expected}: {frame!r}")
        elif self._frames_left or int(numbers[0]) != self._expected:
            self._complain(f"{frame!r} came, {self._frames_left} frames before {self._expected}")
        else:
            self._frames_left = int(numbers[1])

    def _complain(self, what: str) -> None:
        self.world.misjudged.append(f"on the {self.stream} stream, {what}")
        self.peer.close()


class Watcher:
    """Stays on a stream, and is owed a frame or a heartbeat at least once a second."""

    def __init__(self, world: World, stream: str) -> None:
        self._world = world
        self._stream = stream
        self._reader: NumberedReader | None = None
        self._connect_ns = 0

    def step(self) -> None:
        """Read, and look how long it has been silent."""
        now_ns = self._world.now_ns
        reader = self._reader
        if reader is None:
            if now_ns >= self._connect_ns:
                self._reader = NumberedReader(self._world, self._stream, FROM_NOW_ON)
                self._connect_ns = now_ns + RECONNECT_NS
            return
        reader.step()
        if not reader.peer.is_open or reader.peer.is_cut_off:
            self._leave(reader)
        elif reader.heard_ns is None:
            if now_ns - self._connect_ns > 2 * SILENCE_NS:
                self._leave(reader)
        else:
            sent_ns = reader.peer.last_arrival_ns
            since_ns = max(reader.heard_ns, sent_ns, self._world.gateway_was_late_ns)
            silent_ns = now_ns - since_ns
            if silent_ns > SILENCE_NS + STEPS_NS:
                self._world.misjudged.append(
                    f"no frame or heartbeat on the {self._stream} stream for "
                    f"{silent_ns / SECOND_NS:.1f} s"
                )
                self._leave(reader)

    def _leave(self, reader: NumberedReader) -> None:
        reader.peer.close()
        self._reader = None


class StalledClient:
    """Asks for every tick and takes none: it must be disconnected in time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._peer = Peer(world, PORTS["price"], STALLED_WINDOW)
        self._peer.send(b"HELLO,1,%d*" % FROM_THE_BEGINNING)
        self._full_ns: int | None = None

    def step(self) -> None:
        """Look whether it is still connected."""
        peer, now_ns = self._peer, self._world.now_ns
        peer.receive(0)
        if peer.is_cut_off:
            peer.close()
        if not peer.is_open:
            return
        if not peer.is_full:
            self._full_ns = None
        elif self._full_ns is None:
            self._full_ns = now_ns
        else:
            since_ns = max(self._full_ns, self._world.gateway_was_late_ns)
            if now_ns - since_ns > self._world.stall_limit_ns + SWEEP_NS + SILENCE_NS + STEPS_NS:
                self._world.misjudged.append(
                    f"a client that took nothing for {(now_ns - self._full_ns) / SECOND_NS:.1f} s "
                    "is still connected"
                )
                peer.close()


class FiringClient:
    """Many orders at once, over several connections."""

    def __init__(self, world: World) -> None:
        order_ids = world.firing_order_ids
        self._peers = []
        for number in range(CONNECTIONS):
            peer = Peer(world, ORDER_PORT)
            peer.send(encode(Logon(f"{FIRING}-{number}")))
            peer.send(b"".join(_order(world, next(order_ids)) for _ in range(ORDERS)))
            self._peers.append(peer)

    def step(self) -> None:
        """Take the answers."""
        for peer in self._peers:
            peer.receive(MOST_BYTES)


def _order(world: World, order_id: int, sent_ns: int | None = None) -> bytes:
    symbol = world.symbols[0]
    price = world.latest(symbol) or 100 * PRICE_SCALE
    return encode(
        make_order(
            order_id=order_id, symbol=symbol, side="BUY", quantity=1, price=price, sent_ns=sent_ns
        )
    )


class ForeignClient:
    """Takes the time of sending from the wrong clock: nothing that it sends may be booked.

    Sends a few orders at a time, each time over a new connection.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._order_ids = count(1)
        self._clocks: dict[int, str] = {}
        """By order_id: which clock its `sent_ns` is of."""
        self._owed = 0
        self._peer: Peer | None = None
        self._buffer = FrameBuffer()

    def send_some(self) -> None:
        """Send orders as soon as the order manager listens."""
        self._owed += self._world.random.randint(*ORDERS_AT_A_TIME)

    def step(self) -> None:
        """Take what has arrived, and send what is owed."""
        if self._owed:
            self._connect()
        if self._peer and (data := self._peer.receive(MOST_BYTES)):
            self._on_data(data)

    def booked(self, orders: Iterable[BookedOrder]) -> list[str]:
        """Say which of its orders the ledger has, if only as an anonymous client's."""
        return [
            f"order {order.order_id} of {order.client_id}: its sent_ns was "
            f"{self._clocks[order.order_id]}, and it was {order.status}"
            for order in orders
            if order.client_id != self._world.strategy_settings.client_id
            and not order.client_id.startswith(FIRING)
        ]

    def _connect(self) -> None:
        if ORDER_PORT not in self._world.network.listening:
            return
        if self._peer:
            self._peer.close()
        self._peer = Peer(self._world, ORDER_PORT)
        self._buffer = FrameBuffer()
        orders = [self._order() for _ in range(self._owed)]
        self._peer.send(b"".join([encode(Logon(FOREIGN)), *orders]))
        self._owed = 0

    def _order(self) -> bytes:
        world = self._world
        order_id = next(self._order_ids)
        clock, sent_ns = world.random.choice(self._times())
        self._clocks[order_id] = clock
        return _order(world, order_id, sent_ns)

    def _times(self) -> list[tuple[str, int]]:
        now_ns, wall_ns = self._world.now_ns, self._world.wall_ns()
        away_ns = self._world.random.randint(-30, 30) * DAY_NS
        ahead_ns = self._world.random.randint(LEAST_AHEAD_NS, 10 * DAY_NS)
        return [
            ("no time", 0),
            ("in the future", now_ns + ahead_ns),
            ("of a wall clock that is days away", wall_ns + away_ns),
            *((f"of the wall clock, {ns} ns a unit", wall_ns // ns) for ns in CLOCK_UNITS_NS),
            *((f"monotonic, {ns} ns a unit", now_ns // ns) for ns in CLOCK_UNITS_NS[1:]),
        ]

    def _on_data(self, data: bytes) -> None:
        for frame in split(self._buffer.feed(data)):
            message = decode_from_server(frame)
            if isinstance(message, ExecutionReport):
                self._world.misjudged.append(
                    f"order {message.order_id} of {FOREIGN}: its sent_ns was "
                    f"{self._clocks[message.order_id]}, and the answer is {message.status}"
                )
            elif isinstance(message, ErrorMessage) and "sent_ns" in message.reason:
                self._world.events[REFUSED] += 1
