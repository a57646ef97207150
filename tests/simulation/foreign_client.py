"""A client of the order manager that takes the time of sending from the wrong clock.

Nothing that it sends may be booked, whatever happens to the network, the wall clock and the order
manager meanwhile; and no other client may notice it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

from lib.clock import SECOND_NS
from lib.execution.foreign_clocks import DAY_NS
from lib.ledger.rows import BookedOrder
from lib.prices import PRICE_SCALE
from lib.wire.framing import FrameBuffer, split
from lib.wire.order_messages import (
    ErrorMessage,
    ExecutionReport,
    Logon,
    decode_from_server,
    encode,
    make_order,
)
from tests.simulation.clients import FIRING, ORDER_PORT
from tests.simulation.peer import Peer

if TYPE_CHECKING:
    from tests.simulation.world import World

CLIENT_ID = "foreign"
REFUSED = "order with another clock refused"
"""Counted among the world's events."""
FEWEST_ORDERS, MOST_ORDERS = 1, 5
"""Sent at a time."""
MOST_RECEIVED = 65_536
"""In one step."""
LEAST_AHEAD_NS = 60 * SECOND_NS
"""Further than anything in the world is ever late."""


class ForeignClient:
    """Sends a few orders at a time, each time over a new connection."""

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
        self._owed += self._world.random.randint(FEWEST_ORDERS, MOST_ORDERS)

    def step(self) -> None:
        """Take what has arrived, and send what is owed."""
        if self._owed:
            self._connect()
        if self._peer and (data := self._peer.receive(MOST_RECEIVED)):
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
        self._peer.send(b"".join([encode(Logon(CLIENT_ID)), *orders]))
        self._owed = 0

    def _order(self) -> bytes:
        world = self._world
        order_id = next(self._order_ids)
        clock, sent_ns = world.random.choice(self._times())
        self._clocks[order_id] = clock
        order = make_order(
            order_id=order_id,
            symbol=world.symbols[0],
            side="BUY",
            quantity=1,
            price=world.latest(world.symbols[0]) or 100 * PRICE_SCALE,
            sent_ns=sent_ns,
        )
        return encode(order)

    def _times(self) -> list[tuple[str, int]]:
        now_ns, wall_ns = self._world.now_ns, self._world.wall_ns()
        away_ns = self._world.random.randint(-30, 30) * DAY_NS
        ahead_ns = self._world.random.randint(LEAST_AHEAD_NS, 10 * DAY_NS)
        return [
            ("no time", 0),
            ("in the future", now_ns + ahead_ns),
            ("of a wall clock that is days away", wall_ns + away_ns),
            *((f"of the wall clock, {ns} ns a unit", wall_ns // ns) for ns in _UNITS_NS),
            *((f"monotonic, {ns} ns a unit", now_ns // ns) for ns in _UNITS_NS[1:]),
        ]

    def _on_data(self, data: bytes) -> None:
        for frame in split(self._buffer.feed(data)):
            message = decode_from_server(frame)
            if isinstance(message, ExecutionReport):
                self._world.misjudged.append(
                    f"order {message.order_id} of {CLIENT_ID}: its sent_ns was "
                    f"{self._clocks[message.order_id]}, and the answer is {message.status}"
                )
            elif isinstance(message, ErrorMessage) and "sent_ns" in message.reason:
                self._world.events[REFUSED] += 1


_UNITS_NS = (1, 10**3, 10**6, 10**9)
