"""What the order manager decides, without a socket or a clock; it books through `lib.ledger`.

Frames of any number of sessions go in; `commit` makes their orders final, all at once, and returns
the output: answers, confirmations to print, events to log. There is no output about an order before
it is committed. If the commit fails, every order in it is answered with an error, and every other
answer that depends on the ledger is made again.
"""

from __future__ import annotations

import contextlib
import hmac
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec import UNSET, Raw

from lib.execution.logon_contests import LogonContests
from lib.execution.loss_limit import LossLimit
from lib.execution.risk import Risk
from lib.ledger.journal import JournalPlace
from lib.ledger.schema import LedgerError, NotAcknowledgedError
from lib.ledger.writer import Ledger
from lib.prices import json_price, to_float
from lib.process.log_events import (
    ClientIdContested,
    ClientLoggedOn,
    LogEvent,
    OrderFilled,
    OrderRejected,
    OrdersBooked,
)
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
from lib.wire.order_mistakes import UNEXPLAINED, order_id_of, shown_without_token
from lib.wire.undelimited import Undelimited, cannot_become_order, undelimited

MAX_ORDER_EVENTS: Final = 100
"""How many orders of one commit are logged one by one. An event costs as much as booking an order,
so more orders are one event that counts them."""

STREAM: Final = "orders"
"""What the log calls the connections of clients."""
RESERVED_ORDER_IDS: Final = 10**12
"""How many of the highest order_ids are reserved. A client may count into them but not jump there:
one order with the highest id would leave its client_id without a further one, for ever."""
MAX_RESERVED_STEP: Final = 10_000
"""The largest gap in the reserved order_ids: more than a client has in flight."""

MAX_EXPLAINED: Final = 50
"""How many malformed frames of one client in one commit are answered with the exact mistake. An
explanation costs as much as some twenty orders, and the other clients wait for it."""

_UNEXPLAINED: Final = MessageError(UNEXPLAINED)

_CONTENT: Final = ("symbol", "side", "quantity", "price")
"""The fields in which a resent order must equal the booked one."""


class Receipt(NamedTuple):
    """The circumstances of a receipt: the time, and whether trading is halted."""

    now_ns: int
    """The monotonic time."""
    wall_ns: int
    """The wall clock, only to recognise wall-clock times in orders; `utc` is human-readable."""
    utc: str
    halted: bool
    """Whether every order is rejected."""


class _NoTokenError(Exception):
    """A client may not trade: it has not logged on with the token."""

    def __init__(self, reason: str, order_id: int | None = None) -> None:
        super().__init__(reason)
        self.order_id = order_id


class Session:
    """One client's connection."""

    def __init__(self, peer: str, *, needs_token: bool = False) -> None:
        self.peer = peer
        self.needs_token = needs_token
        """Whether it has to give the token, with a logon, before anything else."""
        self.is_dismissed = False
        """Whether it is disconnected for want of the token: what it sent after that is discarded.
        """
        self.buffer = FrameBuffer()
        self.client_id: str | None = None
        """The client_id: from the logon, or assigned at the first order; None before that."""
        self.has_ended = False
        self._undelimited_logged = False

    def undelimited(self, *, has_ended: bool = False) -> Undelimited | None:
        """Return what to log of a client that sends no messages: once, otherwise None."""
        unfinished = self.buffer.unfinished
        if not unfinished or self._undelimited_logged:
            return None
        if not cannot_become_order(unfinished, has_ended=has_ended):
            return None
        self._undelimited_logged = True
        text = shown_without_token(bytes(unfinished))
        return undelimited(unfinished, "client")._replace(text=text)

    @property
    def silent(self) -> bool:
        """Whether it has neither logged on nor sent an order."""
        return self.client_id is None


@dataclass
class CommitResult:
    """What to send, print and log after a commit, each list in order."""

    answers: list[tuple[Session, bytes]] = field(default_factory=list)
    replaced: list[tuple[Session, bytes]] = field(default_factory=list)
    """Sessions that a newer logon replaced, with the last frame to send before closing."""
    without_token: list[tuple[Session, bytes, str]] = field(default_factory=list)
    """Sessions that must not trade, with the last frame to send before closing, and the reason."""
    confirmations: list[str] = field(default_factory=list)
    """A human-readable line for each fill."""
    events: list[LogEvent] = field(default_factory=list)
    """For the log."""
    malformed: list[tuple[Session, str]] = field(default_factory=list)
    """Frames that were no message, with the reasons."""
    booked: int = 0
    """How many orders this commit booked."""
    failure: str | None = None
    """Why the ledger could not be used; None if it could."""
    failed: list[tuple[Session, int]] = field(default_factory=list)
    """The order_ids that were answered with that failure."""


class _Answer(NamedTuple):
    session: Session
    message: LogonAck | ExecutionReport | ErrorMessage
    is_new: bool = False
    """Whether it reports an order that is not committed yet."""


class OrderDesk:
    """Judges, books and answers orders. Pure but for the ledger; used from one thread.

    `token` is what those sessions have to log on with that need one. Without a `loss_limit` there
    is none.
    """

    def __init__(
        self, ledger: Ledger, risk: Risk, token: str = "", loss_limit: LossLimit | None = None
    ) -> None:
        self._ledger = ledger
        self._risk = risk
        self._loss_limit = loss_limit
        self._token = token.encode()
        self._contests = LogonContests()
        self._sessions: dict[str, Session] = {}  # by client_id
        self._answers: list[_Answer] = []
        self._commit_result = CommitResult()
        self._malformed: dict[Session, int] = {}
        """How many malformed frames each session sent since the last commit."""

    def receive(self, session: Session, data: bytes, receipt: Receipt) -> None:
        """Process what a client sent. Raises MessageTooLongError: close the connection."""
        for frame in split(session.buffer.feed(data)):
            if self._is_over(session):
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
            except _NoTokenError as error:
                self._dismiss(session, error)
            except LedgerError as error:
                self._fail(session, order_id, error)

    def ended(self, session: Session) -> bool:
        """Process the end of a client's input: its last message may lack the delimiter.

        Call it before the connection is closed. Returns True, once, if the next commit answers it.
        """
        unfinished = bytes(session.buffer.unfinished)
        if session.has_ended or not unfinished.strip() or self._is_over(session):
            return False
        session.has_ended = True
        reason = f"no `*` after the message: {shown_without_token(unfinished)}"
        self._refuse(session, MessageError(reason, order_id_of(unfinished)))
        return True

    def owes_answer(self, session: Session) -> bool:
        """Return whether the next commit answers this session."""
        return any(answer.session is session for answer in self._answers)

    def _may_explain(self, session: Session) -> bool:
        return self._malformed.get(session, 0) < MAX_EXPLAINED

    def _refuse(self, session: Session, error: MessageError) -> None:
        """Answer a frame that is no message with an error, and count it."""
        self._malformed[session] = self._malformed.get(session, 0) + 1
        reason = str(error)
        self._commit_result.malformed.append((session, reason))
        self._answer(session, ErrorMessage(order_id=error.order_id, reason=reason))

    def closed(self, session: Session, now_ns: int) -> None:
        """Forget a session whose connection is closed."""
        client_id = session.client_id
        if client_id and self._sessions.get(client_id) is session:
            del self._sessions[client_id]
        self._risk.forget_idle(now_ns)

    @property
    def has_logons(self) -> bool:
        """Whether the next commit answers a logon, with what the ledger has booked."""
        return any(isinstance(answer.message, LogonAck) for answer in self._answers)

    def commit(self, place: JournalPlace | None = None) -> CommitResult:
        """Book what was received since the last commit; return what to send, print and log.

        With its place in a journal, if there is one.
        """
        answers, self._answers = self._answers, []
        self._malformed.clear()
        try:
            self._ledger.commit(place)
        except LedgerError as error:
            for answer in answers:
                self._take_back(answer, error)
            answers, self._answers = self._answers, []
            # If the ledger could not even be read for that, it is opened again.
            with contextlib.suppress(LedgerError):
                self._ledger.commit()
        outcome, self._commit_result = self._commit_result, CommitResult()
        outcome.answers = [(answer.session, encode(answer.message)) for answer in answers]
        _report_answers(outcome, answers)
        return outcome

    def _take_back(self, answer: _Answer, failure: LedgerError) -> None:
        """Make an answer of a failed commit again, without that commit."""
        session, message, is_new = answer
        try:
            if isinstance(message, LogonAck):
                if isinstance(failure, NotAcknowledgedError):  # the ledger may be out of date
                    raise failure
                self._answer(session, self._ack(message.client_id))
            elif isinstance(message, ExecutionReport):
                booked = self._ledger.find(message.client_id, message.order_id)
                if is_new or booked is None:
                    raise failure
                self._answer(session, booked)
            elif message.order_id is None:
                self._answer(session, message)
            else:  # it may claim that its order_id is booked
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

    def _is_over(self, session: Session) -> bool:
        """Whether a session was replaced or dismissed, so that nothing more is taken from it."""
        is_current = session.silent or self._sessions.get(session.client_id or "") is session
        return session.is_dismissed or not is_current

    def _dismiss(self, session: Session, error: _NoTokenError) -> None:
        session.is_dismissed = True
        goodbye = encode(ErrorMessage(order_id=error.order_id, reason=str(error)))
        self._commit_result.without_token.append((session, goodbye, str(error)))

    def _log_on(self, session: Session, logon: Logon, receipt: Receipt) -> None:
        if session.needs_token:
            self._check_token(logon.token)
            session.needs_token = False
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

    def _check_token(self, token: str | None) -> None:
        """Raise _NoTokenError unless it is the token."""
        if token is None:
            raise _NoTokenError("token is missing: the logon needs the one of the order manager")
        if not hmac.compare_digest(token.encode(), self._token):
            raise _NoTokenError("token is not the one of the order manager")

    def _ack(self, client_id: str) -> LogonAck:
        ledger = self._ledger
        return LogonAck(client_id, ledger.last_order_id(client_id), ledger.positions(client_id))

    def _take_order(self, session: Session, order: Order, receipt: Receipt) -> None:
        if session.needs_token:
            raise _NoTokenError("an order needs a logon with the token first", order.order_id)
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
        """Raise MessageError for a new order that must not be booked at all.

        A booked order is not checked again: it keeps its answer, even if it is resent with other
        values.
        """
        if order.sent_ns is not None:
            reason = self._risk.foreign_clock(order.sent_ns, receipt.now_ns, receipt.wall_ns)
            if reason:
                raise MessageError(reason, order.order_id)
        # An anonymous client_id ends with its connection: it needs no further order_id.
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
        """Return the client_id of the order. A client without logon gets a new one."""
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
        """Fill the order, or reject it with a reason."""
        price = order.price
        position = self._ledger.position(client_id, order.symbol)
        reason = self._risk.refusal(
            client_id, order, price, position, now_ns=receipt.now_ns, halted=receipt.halted
        )
        if reason is None and self._loss_limit is not None:
            reason = self._loss_limit.refusal(client_id, order, price, position)
        filled = reason is None
        return ExecutionReport(
            client_id=client_id,
            order_id=order.order_id,
            status="FILLED" if filled else "REJECTED",
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            # Not the client's own text: one price can be written in many ways.
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


def _contest(client_id: str, earlier: Session, later: Session) -> ClientIdContested:
    reason = (
        f"two clients log on as {client_id} and replace each other, again and again: give one of "
        "them another client_id, or stop it"
    )
    peers = [earlier.peer, later.peer]
    return ClientIdContested(client_id=client_id, peers=peers, reason=reason)


def _report_answers(outcome: CommitResult, answers: list[_Answer]) -> None:
    """Add what to print and log about these answers."""
    booked = []
    for session, message, is_new in answers:
        if isinstance(message, LogonAck):
            outcome.events.append(
                ClientLoggedOn(
                    stream=STREAM,
                    peer=session.peer,
                    client_id=message.client_id,
                    last_order_id=message.last_order_id,
                    positions=message.positions,
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
        outcome.events.append(
            OrdersBooked(
                filled=len(filled),
                rejected=len(rejected),
                first_trade_id=filled[0].trade_id if filled else UNSET,
                last_trade_id=filled[-1].trade_id if filled else UNSET,
                first_rejection=rejected[0].reason if rejected else UNSET,
            )
        )


def _event(report: ExecutionReport) -> OrderFilled | OrderRejected:
    if report.status == "FILLED":
        return OrderFilled(
            client_id=report.client_id,
            order_id=report.order_id,
            symbol=report.symbol,
            side=report.side,
            quantity=report.quantity,
            price=to_float(report.price),
            position=report.position,
            trade_id=report.trade_id,
        )
    return OrderRejected(
        client_id=report.client_id,
        order_id=report.order_id,
        symbol=report.symbol,
        side=report.side,
        quantity=report.quantity,
        price=to_float(report.price),
        position=report.position,
        reason=report.reason,
    )
