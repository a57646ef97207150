"""The client's side of order entry, without a socket.

Bytes go in; the messages of the order manager come out. An order stays in `unanswered` until its
execution report has come, through any number of connections: after each logon, all unanswered
orders are sent again, unchanged. The order manager recognises an order by its identity, so sending
it twice cannot book it twice.

An error is not final: the order is sent again. One kind of error would come back for ever: another
client of the same client_id has booked another order under the same order_id. On the wire that
looks like a ledger that cannot be written, but then the ledger's last order_id (in the logon_ack)
is at least the order's. Such an order may be given up when it can no longer be filled, which is
certain if order_ttl was over before this connection began: if it had been booked, its report would
have come; if not, it could only be rejected as expired. See `OrderClient.refused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.wire.framing import FrameBuffer, split
from lib.wire.order_messages import (
    ErrorMessage,
    ExecutionReport,
    Logon,
    LogonAck,
    Order,
    decode_from_server,
    encode,
)

MAX_UNANSWERED: Final = 1000
"""The most orders under way: then the client sends no more until answers come."""
ANSWER_LIMIT_NS: Final = 2500 * MILLISECOND_NS
"""How long an order manager that owes an answer may be silent before the connection is dropped."""
RETRY_NS: Final = 1 * SECOND_NS
"""How long after an error the unanswered orders are sent again."""

Event = LogonAck | ExecutionReport | ErrorMessage


class OrderClient:
    """The protocol's state over all connections of one client. Not shared between threads."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.unanswered: dict[int, Order] = {}
        """The orders under way, by order_id, in the order of sending."""
        self.logged_on = False
        self.connected_ns = 0
        """When the logon of this connection was sent, before any order."""
        self._last_order_id = 0
        """The last order_id in the ledger, from this connection's logon_ack."""
        self._refused: set[int] = set()
        """The unanswered orders that were answered with an error over this connection."""
        self._buffer = FrameBuffer()
        self._heard_ns: int | None = None
        self._retry_ns: int | None = None

    @property
    def capacity(self) -> int:
        """How many further orders may be submitted for now."""
        return MAX_UNANSWERED - len(self.unanswered)

    @property
    def full(self) -> bool:
        """Whether no further order may be submitted for now."""
        return len(self.unanswered) >= MAX_UNANSWERED

    def symbols_under_way(self) -> set[str]:
        """Return the symbols of the unanswered orders."""
        return {order.symbol for order in self.unanswered.values()}

    def connected(self, now_ns: int) -> bytes:
        """A new connection is open. Returns what to send first."""
        self.disconnected()
        self._heard_ns = self.connected_ns = now_ns
        return encode(Logon(self.client_id))

    def disconnected(self) -> None:
        """The connection is closed."""
        self.logged_on = False
        self._refused.clear()
        self._buffer = FrameBuffer()
        self._heard_ns = None
        self._retry_ns = None

    def submit(self, order: Order, now_ns: int) -> bytes:
        """Take a new order. Returns what to send now; b"" while logged off, as it is sent later."""
        if self.logged_on and not self.unanswered:
            self._heard_ns = now_ns  # until now there was nothing to answer
        self.unanswered[order.order_id] = order
        return encode(order) if self.logged_on else b""

    def receive(self, data: bytes, now_ns: int) -> Iterator[Event]:
        """Take received bytes. Handle each event before the next; after a LogonAck, `resend`.

        Raises MessageError or MessageTooLongError: close the connection.
        """
        buffer = self._buffer
        for frame in split(buffer.feed(data)):
            if self._buffer is not buffer:
                return  # the caller has closed the connection over an event
            message = decode_from_server(frame)
            self._heard_ns = now_ns
            if isinstance(message, LogonAck):
                self.logged_on = True
                self._last_order_id = message.last_order_id
            elif isinstance(message, ExecutionReport):
                if self.unanswered.pop(message.order_id, None) is None:
                    continue  # the answer to a repeated order
                self._refused.discard(message.order_id)
            elif self.logged_on:
                # An order sent without a logon would be booked as another client's.
                if message.order_id in self.unanswered:
                    self._refused.add(message.order_id)
                if self._retry_ns is None:
                    self._retry_ns = now_ns + RETRY_NS
            yield message

    def resend(self) -> bytes:
        """Return all unanswered orders, encoded, unchanged and in order."""
        self._retry_ns = None
        return b"".join(map(encode, self.unanswered.values()))

    def refused(self, sent_before_ns: int) -> list[Order]:
        """Return the orders, first sent before that time, that may conflict with booked ones.

        They were answered with an error over this connection, and the ledger's last order_id has
        reached theirs. Those first sent more than order_ttl before `connected_ns` can no longer be
        filled. Monotonic ns.
        """
        orders = (self.unanswered[order_id] for order_id in sorted(self._refused))
        return [
            order
            for order in orders
            if order.order_id <= self._last_order_id
            and order.sent_ns is not None
            and order.sent_ns < sent_before_ns
        ]

    def give_up(self, order: Order) -> None:
        """Forget an unanswered order: it is not sent again."""
        del self.unanswered[order.order_id]
        self._refused.discard(order.order_id)

    def retry_due(self, now_ns: int) -> bool:
        """Whether it is time to send the orders again that were answered with an error."""
        return self._retry_ns is not None and self._retry_ns <= now_ns

    def is_dead(self, now_ns: int) -> bool:
        """Whether an answer is overdue, so that the connection must be dropped."""
        return (
            self._heard_ns is not None
            and bool(self.unanswered or not self.logged_on)
            and now_ns - self._heard_ns > ANSWER_LIMIT_NS
        )

    def next_deadline_ns(self) -> int | None:
        """When `retry_due` or `is_dead` may become true."""
        if self._heard_ns is None:
            return None
        deadlines = [] if self._retry_ns is None else [self._retry_ns]
        if self.unanswered or not self.logged_on:
            deadlines.append(self._heard_ns + ANSWER_LIMIT_NS + 1)
        return min(deadlines, default=None)
