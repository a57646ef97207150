"""Clients that are no roles: those that look closely, and those that are a burden to a server.

Each takes a step whenever time goes on in the world, and adds to `World.misjudged` what a server
owed it and did not do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.prices import PRICE_SCALE
from lib.process.client_table import SWEEP_NS
from lib.settings import Settings
from lib.wire.order_messages import Logon, encode, make_order
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


def _order(world: World, order_id: int) -> bytes:
    symbol = world.symbols[0]
    price = world.latest(symbol) or 100 * PRICE_SCALE
    return encode(make_order(order_id=order_id, symbol=symbol, side="BUY", quantity=1, price=price))
