"""A client of orders on a strategy host: sends them to its relay, and notes what it is told."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.trading.order_client import OrderClient
from lib.wire.order_messages import ExecutionReport, LogonAck, MessageError, make_order
from tests.simulation.network import MOST_BYTES
from tests.simulation.peer import Peer

if TYPE_CHECKING:
    from tests.simulation.cluster_host import ClusterHost

LONGEST_PAUSE_NS = 600 * MILLISECOND_NS
"""Between two orders."""
RECONNECT_NS = SECOND_NS // 4
CONNECT_LIMIT_NS = 6 * SECOND_NS
"""How long a logon may stay unanswered: the relay gives it up before."""
MOST_UNANSWERED = 20


class OrderSender:
    """Sends orders, and each again until it is answered, by the shipped client's protocol."""

    def __init__(self, host: ClusterHost, first_order_id: int) -> None:
        """Its order_ids are no other's, so that no line is printed twice."""
        self.client = OrderClient(f"client-of-{host.name}")
        self._host = host
        self._world = host.world
        self._order_ids = count(first_order_id)
        self._peer: Peer | None = None
        self._connect_ns = 0
        self._next_ns = 0
        self.sends = True

    def step(self) -> None:
        """Take what has come, and send what is due."""
        now_ns = self._world.now_ns
        if self._peer is None:
            if now_ns >= self._connect_ns:
                self._peer = Peer(self._world, self._host.ports["orders"])
                self._peer.send(self.client.connected(now_ns))
        else:
            self._use(self._peer, now_ns)
        if self.sends and now_ns >= self._next_ns and len(self.client.unanswered) < MOST_UNANSWERED:
            self._next_ns = now_ns + self._world.random.randrange(LONGEST_PAUSE_NS)
            self._send_new(now_ns)

    def _use(self, peer: Peer, now_ns: int) -> None:
        try:
            for event in self.client.receive(peer.receive(MOST_BYTES), now_ns):
                if isinstance(event, LogonAck):
                    peer.send(self.client.resend())
                elif isinstance(event, ExecutionReport):
                    self._world.records.told.append(event)
        except MessageError as error:
            self._world.misjudged.append(f"{self.client.client_id} got {error}")
        if not self.client.logged_on:
            is_dead = now_ns - self.client.connected_ns > CONNECT_LIMIT_NS
        else:
            is_dead = self.client.is_dead(now_ns)
        if is_dead or not peer.is_open or peer.is_cut_off:
            peer.close()
            self._peer = None
            self.client.disconnected()
            self._connect_ns = now_ns + RECONNECT_NS
        elif self.client.retry_due(now_ns):
            peer.send(self.client.resend())

    def _send_new(self, now_ns: int) -> None:
        random = self._world.random
        order = make_order(
            order_id=next(self._order_ids),
            symbol=random.choice(self._world.symbols),
            side=random.choice(["BUY", "SELL"]),
            quantity=random.randint(1, 9),
            price=100 * 10**8,
            sent_ns=now_ns + self._host.clock_ahead_ns,
        )
        data = self.client.submit(order, now_ns)
        if self._peer:
            self._peer.send(data)
