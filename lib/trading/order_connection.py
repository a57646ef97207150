"""A client's order entry: an `OrderClient` on a connection that is re-established.

The order client has the protocol, and the trader makes its positions of the answers. This module
connects them: the logon, sending unanswered orders again, dropping a dead connection, and the log.
"""

from __future__ import annotations

import time
from typing import Final

import structlog

from lib.clock import SECOND_NS, Clock
from lib.net.reconnect import Connect
from lib.process.log_events import (
    Disconnected,
    FillReported,
    OrderError,
    OrderGivenUp,
    OrderIdsUsedUp,
    OrdersConnected,
    RejectionReported,
    ServerBrokeProtocol,
    log_event,
)
from lib.trading.order_client import OrderClient
from lib.trading.trader import Trader
from lib.wire.framing import MessageTooLongError
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    MessageError,
)

STREAM: Final = "orders"
"""What the log calls this connection."""
REPLACED_WAIT_NS: Final = 1 * SECOND_NS
"""How long to back off after being replaced by another logon of the same client_id."""


class OrderEntry:
    """The connection to the order manager; passes its answers to the trader.

    `order_ttl_ns` is the age up to which the order manager fills an order.
    Is a `Timed` for the event loop; used from there only.
    """

    def __init__(
        self,
        client: OrderClient,
        trader: Trader,
        connect: Connect,
        *,
        order_ttl_ns: int,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._log = structlog.get_logger()
        self._client = client
        self._trader = trader
        self._order_ttl_ns = order_ttl_ns
        self._logged_errors: dict[int | None, str] = {}
        """The last logged reason by order_id, of unanswered orders only; under None, of an error
        without order_id since the logon."""
        self._last_id_logged = False
        self.knows_positions = False
        """Whether a logon was ever acknowledged: before that nothing is traded."""
        self._clock = clock
        self._connection = connect(
            on_open=self._on_open, on_data=self._on_data, on_lost=self._on_lost
        )

    def send(self, frames: list[bytes]) -> None:
        """Send new orders, as the client encoded them."""
        self._connection.send(b"".join(frames))
        self._look_for_the_last_id()

    def next_deadline_ns(self) -> int | None:
        """When to send orders again, or to drop a dead connection."""
        return self._client.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Send orders again that were answered with an error, or drop a dead connection."""
        if self._client.is_dead(now_ns):
            self._connection.drop("no answer from the order manager")
        elif self._client.retry_due(now_ns):
            self._retry(now_ns)

    def _retry(self, now_ns: int) -> None:
        """Send orders again that were answered with an error; for how long says `order_client`.

        Before an expired order is given up, a new logon makes sure that it was sent again after its
        order_ttl was over; afterwards another logon fetches the positions without it.
        """
        client = self._client
        expired = client.refused(now_ns - self._order_ttl_ns)
        for order in client.refused(client.connected_ns - self._order_ttl_ns):
            client.give_up(order)
            given_up = OrderGivenUp(
                client_id=client.client_id,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=order.quantity,
                reason="older than order_ttl and still answered with an error: "
                f"{self._logged_errors.pop(order.order_id)}",
            )
            log_event(self._log, given_up)
        if expired:
            self._connection.drop("expired orders are answered with an error: logging on again")
        else:
            self._connection.send(client.resend())

    def _on_open(self) -> None:
        self._connection.send(self._client.connected(self._clock()))

    def _on_lost(self, reason: str) -> None:
        self._client.disconnected()
        disconnected = Disconnected(
            stream=STREAM,
            peer=self._connection.peer,
            reason=reason,
            unanswered=len(self._client.unanswered),
        )
        log_event(self._log, disconnected)

    def _on_data(self, data: bytes) -> None:
        try:
            for message in self._client.receive(data, self._clock()):
                if isinstance(message, ExecutionReport):
                    self._take_report(message)
                elif isinstance(message, LogonAck):
                    self._take_logon(message)
                else:
                    self._take_error(message)
        except (MessageError, MessageTooLongError) as error:
            broken = ServerBrokeProtocol(
                stream=STREAM, peer=self._connection.peer, reason=str(error)
            )
            log_event(self._log, broken)
            self._connection.drop(f"protocol error: {error}")

    def _take_logon(self, ack: LogonAck) -> None:
        self._connection.proved()
        self._trader.logged_on(ack, self._client.symbols_under_way())
        self.knows_positions = True
        self._logged_errors.pop(None, None)
        connected = OrdersConnected(
            stream=STREAM,
            peer=self._connection.peer,
            last_order_id=ack.last_order_id,
            positions=ack.positions,
            resent=len(self._client.unanswered),
        )
        log_event(self._log, connected)
        self._connection.send(self._client.resend())
        self._look_for_the_last_id()

    def _look_for_the_last_id(self) -> None:
        """Log once that nothing is ordered any more, and why."""
        if self._trader.has_no_order_ids and not self._last_id_logged:
            self._last_id_logged = True
            used_up = OrderIdsUsedUp(
                client_id=self._client.client_id,
                last_order_id=MAX_INTEGER,
                reason="no order can be sent: give the strategy another [strategy] client_id, or "
                "the order manager a fresh ledger",
            )
            log_event(self._log, used_up)

    def _take_report(self, report: ExecutionReport) -> None:
        self._trader.answered(report)
        self._logged_errors.pop(report.order_id, None)
        answered_ns = self._clock()
        if report.status == "FILLED":
            filled = FillReported(
                answered_ns=answered_ns,
                client_id=report.client_id,
                order_id=report.order_id,
                symbol=report.symbol,
                side=report.side,
                trade_id=report.trade_id,
                position=report.position,
            )
            log_event(self._log, filled)
        else:
            rejected = RejectionReported(
                answered_ns=answered_ns,
                client_id=report.client_id,
                order_id=report.order_id,
                symbol=report.symbol,
                side=report.side,
                reason=report.reason,
                position=report.position,
            )
            log_event(self._log, rejected)

    def _take_error(self, error: ErrorMessage) -> None:
        # The order is sent again and again, and gets the same error: log each reason once.
        if self._logged_errors.get(error.order_id) != error.reason:
            log_event(self._log, OrderError(order_id=error.order_id, reason=error.reason))
        if error.order_id is None or error.order_id in self._client.unanswered:
            self._logged_errors[error.order_id] = error.reason
        if error.reason == REPLACED:
            self._connection.drop(REPLACED, REPLACED_WAIT_NS)
