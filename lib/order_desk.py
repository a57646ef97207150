"""What the order manager decides, without a socket, a clock or a disk.

Frames of any number of sessions go in; `commit` makes what they asked for final, all at once, and
gives out what is to be said: answers, confirmations to print, events to log. Nothing is said of an
order before it is committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Raw

from lib.framing import MAX_MESSAGE_BYTES, MESSAGE_DELIMITER, FrameBuffer, split
from lib.ledger import Ledger
from lib.order_messages import (
    ANONYMOUS,
    MAX_INTEGER,
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    Logon,
    LogonAck,
    MessageError,
    Order,
    decode_from_client,
    describe,
    encode,
)
from lib.prices import json_price, to_float

_CONTENT: Final = ("symbol", "side", "quantity", "price")
"""What must be the same for an order to be the same order."""


class Session:
    """One client's connection."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.buffer = FrameBuffer()
        self.client_id: str | None = None
        """Known from its logon, or given at its first order."""
        self.has_logged_on = False

    @property
    def silent(self) -> bool:
        """Whether it has neither logged on nor sent an order."""
        return self.client_id is None


@dataclass
class Outcome:
    """What is to be said after a commit, each in order."""

    answers: list[tuple[Session, bytes]] = field(default_factory=list)
    replaced: list[tuple[Session, bytes]] = field(default_factory=list)
    """Sessions that a newer logon has taken over: say this last, then close."""
    confirmations: list[str] = field(default_factory=list)
    """A line for people for each fill."""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """For the log: the event and its keys."""
    malformed: list[tuple[Session, str]] = field(default_factory=list)
    """Frames that were no message, and why."""


class OrderDesk:
    """Judges, books and answers orders. Pure but for the ledger; used from one thread."""

    def __init__(self, symbols: tuple[str, ...], ledger: Ledger) -> None:
        self._symbols = frozenset(symbols)
        self._ledger = ledger
        self._sessions: dict[str, Session] = {}  # by client_id
        self._anonymous = 0
        self._outcome = Outcome()

    def receive(self, session: Session, data: bytes) -> None:
        """Take what a client sent. Raises MessageTooLongError: close the connection."""
        for frame in split(session.buffer.feed(data)):
            if self._is_replaced(session):
                return
            try:
                message = decode_from_client(frame)
                if isinstance(message, Logon):
                    self._log_on(session, message)
                else:
                    self._take_order(session, message)
            except MessageError as error:
                self._outcome.malformed.append((session, str(error)))
                self._answer(session, ErrorMessage(order_id=error.order_id, reason=str(error)))

    def closed(self, session: Session) -> None:
        """The connection is gone."""
        client_id = session.client_id
        if client_id and self._sessions.get(client_id) is session:
            del self._sessions[client_id]
            if not session.has_logged_on:
                self._ledger.forget(client_id)

    def commit(self) -> Outcome:
        """Make final what was taken since the last commit, and tell what to say about it."""
        self._ledger.commit()
        outcome, self._outcome = self._outcome, Outcome()
        return outcome

    def _is_replaced(self, session: Session) -> bool:
        return not session.silent and self._sessions.get(session.client_id or "") is not session

    def _log_on(self, session: Session, logon: Logon) -> None:
        client_id = logon.client_id
        if client_id.startswith(ANONYMOUS):
            raise MessageError(f"a client_id must not begin with {ANONYMOUS}")
        if session.client_id not in (None, client_id):
            raise MessageError(f"this connection is {session.client_id} already")
        ledger = self._ledger
        ack = LogonAck(client_id, ledger.last_order_id(client_id), ledger.positions(client_id))
        ack_bytes = len(encode(ack)) - len(MESSAGE_DELIMITER)
        if ack_bytes > MAX_MESSAGE_BYTES:
            raise MessageError(
                f"{client_id} holds positions in {len(ack.positions)} symbols; to name them takes "
                f"{ack_bytes} bytes, and a message has at most {MAX_MESSAGE_BYTES}"
            )
        earlier = self._sessions.get(client_id)
        if earlier is not None and earlier is not session:
            self._outcome.replaced.append((earlier, encode(ErrorMessage(reason=REPLACED))))
        self._sessions[client_id] = session
        session.client_id = client_id
        session.has_logged_on = True
        self._answer(session, ack)
        self._outcome.events.append(
            (
                "client_logged_on",
                {
                    "client_id": client_id,
                    "peer": session.peer,
                    "last_order_id": ack.last_order_id,
                    "positions": ack.positions,
                },
            )
        )

    def _take_order(self, session: Session, order: Order) -> None:
        client_id = self._client_id_for(session, order)
        booked = self._ledger.find(client_id, order.order_id)
        if booked is not None:
            different = [n for n in _CONTENT if getattr(order, n) != getattr(booked, n)]
            if different:
                raise MessageError(
                    f"{', '.join(different)} differ: booked is {describe(booked)}, "
                    f"sent was {describe(order)}",
                    order.order_id,
                )
            self._answer(session, booked)
            return
        if self._ledger.is_forgotten(client_id, order.order_id):
            raise MessageError(
                f"order_id {order.order_id} is older than what is remembered of {client_id}",
                order.order_id,
            )
        report = self._judge(client_id, order)
        self._ledger.record(report)
        self._answer(session, report)
        self._tell(report)

    def _client_id_for(self, session: Session, order: Order) -> str:
        """Who sends the order. A client without logon gets a name that was never used."""
        if session.client_id is None:
            if order.client_id is not None:
                raise MessageError("an order with a client_id needs a logon first", order.order_id)
            self._anonymous += 1
            session.client_id = f"{ANONYMOUS}{self._anonymous}"
            self._sessions[session.client_id] = session
        elif order.client_id not in (None, session.client_id):
            raise MessageError(
                f"client_id {order.client_id} is not this connection's, {session.client_id}",
                order.order_id,
            )
        return session.client_id

    def _judge(self, client_id: str, order: Order) -> ExecutionReport:
        """Fill the order, or refuse it with a reason."""
        position = self._ledger.position(client_id, order.symbol)
        reason = self._refusal(order, position)
        filled = reason is None
        return ExecutionReport(
            client_id=client_id,
            order_id=order.order_id,
            status="FILLED" if filled else "REJECTED",
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            # Not the client's own text, which would keep the whole frame in memory.
            raw_price=Raw(json_price(order.price)),
            trade_id=self._ledger.next_trade_id() if filled else None,
            position=position + order.signed_quantity if filled else position,
            reason=reason,
        )

    def _refusal(self, order: Order, position: int) -> str | None:
        """Why an order cannot be filled, None if it can."""
        if order.symbol not in self._symbols:
            return f"unknown symbol {order.symbol}"
        if order.position is not None and order.position != position:
            return f"the position is {position}, and the order assumes {order.position}"
        if abs(position + order.signed_quantity) > MAX_INTEGER:
            return f"the position would pass {MAX_INTEGER}"
        return None

    def _answer(self, session: Session, message: LogonAck | ExecutionReport | ErrorMessage) -> None:
        self._outcome.answers.append((session, encode(message)))

    def _tell(self, report: ExecutionReport) -> None:
        facts = {
            "client_id": report.client_id,
            "order_id": report.order_id,
            "symbol": report.symbol,
            "side": report.side,
            "quantity": report.quantity,
            "price": to_float(report.price),
            "position": report.position,
        }
        if report.status == "FILLED":
            self._outcome.confirmations.append(f"Received {describe(report)}\n")
            facts["trade_id"] = report.trade_id
            self._outcome.events.append(("order_filled", facts))
        else:
            facts["reason"] = report.reason
            self._outcome.events.append(("order_rejected", facts))
