"""What the order manager decides, without a socket, a clock or a disk.

Frames of any number of sessions go in; `commit` makes what they asked for final, all at once, and
gives out what is to be said: answers, confirmations to print, events to log. Nothing is said of an
order before it is committed. If the commit fails, every order of it is answered with an error, and
everything that was said about the client's orders and positions is said anew.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from msgspec import Raw

from lib.execution.logon_contests import LogonContests
from lib.execution.risk import Risk
from lib.ledger.schema import LedgerError
from lib.ledger.writer import Ledger
from lib.prices import json_price, to_float
from lib.text import shown
from lib.wire.framing import MAX_MESSAGE_BYTES, MESSAGE_DELIMITER, FrameBuffer, split
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    ANONYMOUS,
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
from lib.wire.order_mistakes import UNEXPLAINED, order_id_of
from lib.wire.undelimited import Undelimited, cannot_become_order, undelimited

MAX_ORDER_EVENTS: Final = 100
"""Of one commit. An event costs as much as booking an order, so of more orders there is one event
that counts them."""

CONTESTED: Final = "client_id_contested"
"""The event that says that two clients of one client_id replace each other."""
RESERVED_ORDER_IDS: Final = 10**12
"""Of the last ids that there are. A client may count into them and not jump there: one order with
the largest number would leave its client_id no further one, for ever."""
MAX_RESERVED_STEP: Final = 10_000
"""Numbers that a client may leave out there: more than it has under way."""

MAX_EXPLAINED: Final = 50
"""Malformed frames of one client in one commit that are answered with what is wrong. A reason costs
as much as some twenty orders, and the other clients wait for it."""

_UNEXPLAINED: Final = MessageError(UNEXPLAINED)

_CONTENT: Final = ("symbol", "side", "quantity", "price")
"""What must be the same for an order to be the same order."""


class Receipt(NamedTuple):
    """When and under which circumstances the order manager took what had arrived."""

    now_ns: int
    """Monotonic."""
    wall_ns: int
    """The wall clock, only to recognise it where a client has sent it. `utc` is human-readable."""
    utc: str
    halted: bool
    """Whether every order is to be rejected."""


class Session:
    """One client's connection."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.buffer = FrameBuffer()
        self.client_id: str | None = None
        """Known from its logon, or given at its first order."""
        self.has_ended = False
        self._undelimited_logged = False

    def undelimited(self, *, has_ended: bool = False) -> Undelimited | None:
        """What to log of a client that sends something else than messages: once, else None."""
        unfinished = self.buffer.unfinished
        if not unfinished or self._undelimited_logged:
            return None
        if not cannot_become_order(unfinished, has_ended=has_ended):
            return None
        self._undelimited_logged = True
        return undelimited(unfinished, "client")

    @property
    def silent(self) -> bool:
        """Whether it has neither logged on nor sent an order."""
        return self.client_id is None


@dataclass
class CommitResult:
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
    booked: int = 0
    """Orders that this commit has brought to disk."""
    failure: str | None = None
    """Why the ledger could not be used."""
    failed: list[tuple[Session, int]] = field(default_factory=list)
    """The orders that were answered with that failure, by order_id."""


class _Answer(NamedTuple):
    session: Session
    message: LogonAck | ExecutionReport | ErrorMessage
    is_new: bool = False
    """Whether it is the report of an order that waits for the commit."""


class OrderDesk:
    """Judges, books and answers orders. Pure but for the ledger; used from one thread."""

    def __init__(self, ledger: Ledger, risk: Risk) -> None:
        self._ledger = ledger
        self._risk = risk
        self._contests = LogonContests()
        self._sessions: dict[str, Session] = {}  # by client_id
        self._answers: list[_Answer] = []
        self._commit_result = CommitResult()
        self._malformed: dict[Session, int] = {}
        """How many frames were, since the last commit."""

    def receive(self, session: Session, data: bytes, receipt: Receipt) -> None:
        """Take what a client sent. Raises MessageTooLongError: close the connection."""
        for frame in split(session.buffer.feed(data)):
            if self._is_replaced(session):
                return
            order_id = None
            explain = self._may_explain(session)
            if not explain and not frame.strip():
                self._refuse(session, _UNEXPLAINED)
                continue
            try:
                message = decode_from_client(frame, explain=explain)
                if isinstance(message, Logon):
                    self._log_on(session, message, receipt)
                else:
                    order_id = message.order_id
                    self._take_order(session, message, receipt)
            except MessageError as error:
                self._refuse(session, error)
            except LedgerError as error:
                self._fail(session, order_id, error)

    def ended(self, session: Session) -> bool:
        """Take the end of what a client sends: its last message may lack the delimiter.

        Call it before the connection is closed. True, once, if the next commit has an answer to it.
        """
        unfinished = bytes(session.buffer.unfinished)
        if session.has_ended or not unfinished.strip() or self._is_replaced(session):
            return False
        session.has_ended = True
        reason = f"no `*` behind the message: {shown(unfinished)}"
        self._refuse(session, MessageError(reason, order_id_of(unfinished)))
        return True

    def _may_explain(self, session: Session) -> bool:
        return self._malformed.get(session, 0) < MAX_EXPLAINED

    def _refuse(self, session: Session, error: MessageError) -> None:
        """Answer and count a frame that is no message."""
        self._malformed[session] = self._malformed.get(session, 0) + 1
        reason = str(error)
        self._commit_result.malformed.append((session, reason))
        self._answer(session, ErrorMessage(order_id=error.order_id, reason=reason))

    def closed(self, session: Session, now_ns: int) -> None:
        """The connection is gone."""
        client_id = session.client_id
        if client_id and self._sessions.get(client_id) is session:
            del self._sessions[client_id]
        self._risk.forget_idle(now_ns)

    def commit(self) -> CommitResult:
        """Make final what was taken since the last commit, and tell what to say about it."""
        answers, self._answers = self._answers, []
        self._malformed.clear()
        try:
            self._ledger.commit()
        except LedgerError as error:
            for answer in answers:
                self._take_back(answer, error)
            answers, self._answers = self._answers, []
            # A ledger that could not even be read for that is to be tried anew.
            with contextlib.suppress(LedgerError):
                self._ledger.commit()
        outcome, self._commit_result = self._commit_result, CommitResult()
        outcome.answers = [(answer.session, encode(answer.message)) for answer in answers]
        _report_answers(outcome, answers)
        return outcome

    def _take_back(self, answer: _Answer, failure: LedgerError) -> None:
        """Say of a commit that failed what is true without it."""
        session, message, is_new = answer
        try:
            if isinstance(message, LogonAck):
                self._answer(session, self._ack(message.client_id))
            elif isinstance(message, ExecutionReport):
                booked = self._ledger.find(message.client_id, message.order_id)
                if is_new or booked is None:
                    raise failure
                self._answer(session, booked)
            elif message.order_id is None:
                self._answer(session, message)
            else:  # it may say that its number is booked
                raise failure
        except LedgerError as error:
            order_id = None if isinstance(message, LogonAck) else message.order_id
            self._fail(session, order_id, error)

    def _fail(self, session: Session, order_id: int | None, error: LedgerError) -> None:
        """Answer that the ledger cannot be used."""
        self._commit_result.failure = str(error)
        if order_id is not None:
            self._commit_result.failed.append((session, order_id))
        self._answer(session, ErrorMessage(order_id=order_id, reason=str(error)))

    def _is_replaced(self, session: Session) -> bool:
        return not session.silent and self._sessions.get(session.client_id or "") is not session

    def _log_on(self, session: Session, logon: Logon, receipt: Receipt) -> None:
        client_id = logon.client_id
        if client_id.startswith(ANONYMOUS):
            raise MessageError(f"a client_id must not begin with {ANONYMOUS}")
        if session.client_id not in (None, client_id):
            raise MessageError(f"this connection is {session.client_id} already")
        ack = self._ack(client_id)
        ack_bytes = len(encode(ack)) - len(MESSAGE_DELIMITER)
        if ack_bytes > MAX_MESSAGE_BYTES:
            raise MessageError(
                f"{client_id} holds positions in {len(ack.positions)} symbols; to name them takes "
                f"{ack_bytes} bytes, and a message has at most {MAX_MESSAGE_BYTES}"
            )
        earlier = self._sessions.get(client_id)
        if earlier is not None and earlier is not session:
            self._commit_result.replaced.append((earlier, encode(ErrorMessage(reason=REPLACED))))
            if self._contests.replaced(client_id, receipt.now_ns):
                self._commit_result.events.append(_contest(client_id, earlier, session))
        self._sessions[client_id] = session
        session.client_id = client_id
        self._answer(session, ack)

    def _ack(self, client_id: str) -> LogonAck:
        ledger = self._ledger
        return LogonAck(client_id, ledger.last_order_id(client_id), ledger.positions(client_id))

    def _take_order(self, session: Session, order: Order, receipt: Receipt) -> None:
        client_id = self._client_id_for(session, order)
        booked = self._ledger.find(client_id, order.order_id)
        if booked is None:
            self._check_new(client_id, order, receipt)
            report = self._judge(client_id, order, receipt)
            self._ledger.record(order, report, receipt.now_ns, receipt.utc)
            self._answer(session, report, is_new=True)
            return
        different = [name for name in _CONTENT if getattr(order, name) != getattr(booked, name)]
        if different:
            raise MessageError(
                f"{', '.join(different)} differ: booked is {describe(booked)}, "
                f"sent was {describe(order)}",
                order.order_id,
            )
        self._answer(session, booked)

    def _check_new(self, client_id: str, order: Order, receipt: Receipt) -> None:
        """Raise MessageError for an order that must not be booked, because no answer is final.

        Only for a new order: one that is booked has its answer, whatever it is sent with again.
        """
        if order.sent_ns is not None:
            reason = self._risk.foreign_clock(order.sent_ns, receipt.now_ns, receipt.wall_ns)
            if reason:
                raise MessageError(reason, order.order_id)
        # An anonymous client_id ends with its connection: no later order needs a number.
        is_anonymous = client_id.startswith(ANONYMOUS)
        if order.order_id > MAX_INTEGER - RESERVED_ORDER_IDS and not is_anonymous:
            last = self._ledger.last_order_id(client_id)
            if order.order_id > last + MAX_RESERVED_STEP:
                raise MessageError(
                    f"order_id {order.order_id} is one of the last {RESERVED_ORDER_IDS:,} before "
                    f"2^53, and {client_id} could not count on after it: its last one is {last}, "
                    f"and one of these is at most {MAX_RESERVED_STEP:,} above that",
                    order.order_id,
                )

    def _client_id_for(self, session: Session, order: Order) -> str:
        """Who sends the order. A client without logon gets a name that was never used."""
        if session.client_id is None:
            if order.client_id is not None:
                raise MessageError("an order with a client_id needs a logon first", order.order_id)
            session.client_id = f"{ANONYMOUS}{self._ledger.next_anonymous_client()}"
            self._sessions[session.client_id] = session
        elif order.client_id not in (None, session.client_id):
            raise MessageError(
                f"client_id {order.client_id} is not this connection's, {session.client_id}",
                order.order_id,
            )
        return session.client_id

    def _judge(self, client_id: str, order: Order, receipt: Receipt) -> ExecutionReport:
        """Fill the order, or refuse it with a reason."""
        price = order.price
        position = self._ledger.position(client_id, order.symbol)
        reason = self._risk.refusal(
            client_id, order, price, position, now_ns=receipt.now_ns, halted=receipt.halted
        )
        filled = reason is None
        return ExecutionReport(
            client_id=client_id,
            order_id=order.order_id,
            status="FILLED" if filled else "REJECTED",
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            # Not the client's own text: the same price has many.
            raw_price=Raw(json_price(price)),
            trade_id=self._ledger.next_trade_id() if filled else None,
            position=position + order.signed_quantity if filled else position,
            reason=reason,
        )

    def _answer(
        self,
        session: Session,
        message: LogonAck | ExecutionReport | ErrorMessage,
        *,
        is_new: bool = False,
    ) -> None:
        self._answers.append(_Answer(session, message, is_new))


def _contest(client_id: str, earlier: Session, later: Session) -> tuple[str, dict[str, Any]]:
    reason = (
        f"two clients log on as {client_id} and replace each other, again and again: give one of "
        "them another client_id, or stop it"
    )
    peers = [earlier.peer, later.peer]
    return CONTESTED, {"client_id": client_id, "peers": peers, "reason": reason}


def _report_answers(outcome: CommitResult, answers: list[_Answer]) -> None:
    """Fill in what is printed and logged of the answers."""
    booked = []
    for session, message, is_new in answers:
        if isinstance(message, LogonAck):
            outcome.events.append(
                (
                    "client_logged_on",
                    {
                        "client_id": message.client_id,
                        "peer": session.peer,
                        "last_order_id": message.last_order_id,
                        "positions": message.positions,
                    },
                )
            )
        elif is_new and isinstance(message, ExecutionReport):
            booked.append(message)
    filled = [report for report in booked if report.status == "FILLED"]
    outcome.booked = len(booked)
    outcome.confirmations = [f"Received {describe(report)}\n" for report in filled]
    if len(booked) <= MAX_ORDER_EVENTS:
        outcome.events += map(_event, booked)
    else:
        rejected = [report for report in booked if report.status == "REJECTED"]
        facts: dict[str, Any] = {"filled": len(filled), "rejected": len(rejected)}
        if filled:
            facts |= {"first_trade_id": filled[0].trade_id, "last_trade_id": filled[-1].trade_id}
        if rejected:
            facts["first_rejection"] = rejected[0].reason
        outcome.events.append(("orders_booked", facts))


def _event(report: ExecutionReport) -> tuple[str, dict[str, Any]]:
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
        return "order_filled", facts | {"trade_id": report.trade_id}
    return "order_rejected", facts | {"reason": report.reason}
