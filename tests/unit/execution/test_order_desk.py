"""The order desk, sentence by sentence of the contract: bytes go in, an outcome comes out."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.execution.order_desk import (
    MAX_EXPLAINED,
    MAX_ORDER_EVENTS,
    MAX_RESERVED_STEP,
    RESERVED_ORDER_IDS,
    CommitResult,
    OrderDesk,
    Receipt,
    Session,
)
from lib.execution.risk import Risk
from lib.ledger.schema import LedgerError
from lib.ledger.writer import Ledger
from lib.settings import RiskSettings
from lib.wire.framing import MAX_MESSAGE_BYTES
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    decode_from_server,
)
from lib.wire.order_mistakes import SMALLEST_ORDER, UNEXPLAINED
from tests import clients
from tests.helpers import fresh_ledger, locked

SYMBOLS = ("AAPL", "MSFT")
TTL_NS = 5 * 10**9
WALL_NS = 1_795_341_600 * 10**9
NO_LIMITS = RiskSettings(
    max_order_quantity=0, max_position=0, price_collar_percent=0.0, max_orders_per_second=0
)
NOW = Receipt(now_ns=10**15, wall_ns=WALL_NS, utc="2026-11-22T10:00:00.000000Z", halted=False)


def logon(client_id: str = "strategy") -> bytes:
    return b'{"type":"logon","client_id":"%b"}*' % client_id.encode()


def order(order_id: int = 12, **changes: object) -> bytes:
    return json.dumps(clients.order(order_id, **changes)).encode() + b"*"


class Counter:
    """A desk, its ledger, and the clients in front of it."""

    def __init__(
        self, ledger: Ledger, symbols: tuple[str, ...] = SYMBOLS, *, token: str = ""
    ) -> None:
        self.ledger = ledger
        risk = Risk(NO_LIMITS, TTL_NS, symbols, {"AAPL": 17_000_000_000}.get)
        self.desk = OrderDesk(ledger, risk, token)
        self.printed: list[str] = []
        self.events: list[tuple[str, dict]] = []

    def client(self, client_id: str | None = None) -> Session:
        session = Session("127.0.0.1:4711")
        if client_id:
            (ack,) = self.ask(session, logon(client_id))
            assert isinstance(ack, LogonAck)
        return session

    def commit(self) -> CommitResult:
        outcome = self.desk.commit()
        self.printed += outcome.confirmations
        for event in outcome.events:
            facts = msgspec.to_builtins(event)
            self.events.append((facts.pop("event"), facts))
        return outcome

    def receive(self, session: Session, *frames: bytes, receipt: Receipt = NOW) -> CommitResult:
        """Let a client say something, and commit."""
        self.desk.receive(session, b"".join(frames), receipt)
        return self.commit()

    def ask(self, session: Session, *frames: bytes) -> list:
        """Let a client say something; return what it is answered."""
        outcome = self.receive(session, *frames)
        assert all(to is session for to, _ in outcome.answers)
        assert all(to is not session for to, _ in outcome.replaced)
        return answers_of(outcome)


def answers_of(outcome: CommitResult) -> list:
    """The answers of a commit."""
    return [decode_from_server(answer[:-1]) for _, answer in outcome.answers]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with fresh_ledger() as ledger:
        yield ledger


@pytest.fixture
def counter(ledger: Ledger) -> Counter:
    return Counter(ledger)


# Logon.


def test_a_logon_replaces_the_earlier_connection_of_the_same_client(counter):
    old, new = counter.client("strategy"), Session("new")
    outcome = counter.receive(new, logon("strategy"))
    (replaced,) = outcome.replaced
    assert replaced[0] is old
    assert decode_from_server(replaced[1][:-1]) == ErrorMessage(reason=REPLACED)
    assert [to for to, _ in outcome.answers] == [new]


def test_what_a_replaced_client_still_sends_is_discarded(counter):
    old = counter.client("strategy")
    counter.client("strategy")
    assert counter.ask(old, order(1), logon("strategy"), b"noise*") == []
    assert counter.printed == []
    assert counter.ledger.last_order_id("strategy") == 0


def test_the_end_of_a_replaced_connection_does_not_touch_its_successor(counter):
    old = counter.client("strategy")
    new = counter.client("strategy")
    counter.desk.closed(old, NOW.now_ns)
    (answer,) = counter.ask(new, order(1))
    assert answer.status == "FILLED"
    third = Session("third")
    assert [to for to, _ in counter.receive(third, logon("strategy")).replaced] == [new]


def test_a_second_logon_of_the_same_name_is_acknowledged_again(counter):
    session = counter.client("strategy")
    assert not session.silent
    acknowledged = LogonAck("strategy", 3, {"AAPL": 10})
    assert counter.ask(session, order(3), logon("strategy"))[1] == acknowledged


@pytest.mark.parametrize("first", [logon("one"), order(1)])
def test_a_connection_cannot_change_its_name(counter, first):
    session = Session("peer")
    counter.ask(session, first)
    (error,) = counter.ask(session, logon("two"))
    assert error == ErrorMessage(reason=f"this connection is {session.client_id} already")
    assert counter.ask(session, order(2))[0].client_id == session.client_id


def test_no_client_can_take_a_name_that_is_given_to_the_anonymous(counter):
    session = Session("peer")
    (error,) = counter.ask(session, logon("anonymous-1"))
    assert isinstance(error, ErrorMessage)
    assert "anonymous-" in error.reason
    assert session.silent


@pytest.mark.parametrize(("name_bytes", "answered"), [(16, LogonAck), (17, ErrorMessage)])
def test_a_logon_ack_may_be_as_long_as_a_message_may_be_and_no_longer(ledger, name_bytes, answered):
    symbols = [f"{n:016d}" for n in range(2975)]  # 65,520 bytes with a client_id of none
    counter = Counter(ledger, tuple(symbols))
    client_id = "x" * name_bytes
    trading, newcomer = counter.client(client_id), Session("again")
    counter.ask(trading, *(order(n, symbol=symbol) for n, symbol in enumerate(symbols, 1)))
    outcome = counter.receive(newcomer, logon(client_id))
    ((_, frame),) = outcome.answers
    message = decode_from_server(frame[:-1])
    assert isinstance(message, answered)
    if isinstance(message, LogonAck):
        assert len(frame) == MAX_MESSAGE_BYTES + 1
        assert message.positions == dict.fromkeys(symbols, 10)
    else:
        assert f"takes {MAX_MESSAGE_BYTES + 1} bytes" in message.reason
        # A client whose logon failed has replaced no other.
        assert (newcomer.silent, outcome.replaced) == (True, [])
        assert counter.ask(trading, order(2976, symbol=symbols[0]))[0].status == "FILLED"


# Orders and their answers.


def test_a_logon_and_its_orders_are_logged_and_many_orders_of_one_commit_as_one(counter):
    session = Session("peer")
    assert counter.ask(session, logon("new")) == [LogonAck("new", 0, {})]
    said = {"stream": "orders", "peer": "peer", "client_id": "new", "last_order_id": 0}
    assert counter.events == [("client_logged_on", {**said, "positions": {}})]
    counter.ask(session, *(order(n) for n in range(1, MAX_ORDER_EVENTS + 1)))
    filled = {"client_id": "new", "order_id": 1, "position": 10, "trade_id": 1}
    what = {"symbol": "AAPL", "side": "BUY", "quantity": 10, "price": 173.2}
    assert counter.events[1] == ("order_filled", filled | what)
    assert len(counter.events) == len(counter.printed) + 1 == MAX_ORDER_EVENTS + 1
    first = MAX_ORDER_EVENTS + 1
    last = first + MAX_ORDER_EVENTS - 1
    counter.ask(
        session,
        *(order(n) for n in range(first, last + 1)),
        order(last + 1, symbol="X"),
        order(last + 2, symbol="Y"),
    )
    booked = {"filled": MAX_ORDER_EVENTS, "first_trade_id": first, "last_trade_id": last}
    rejected = {"rejected": 2, "first_rejection": "unknown symbol X"}
    assert counter.events[first:] == [("orders_booked", booked | rejected)]
    assert len(counter.printed) == last


def test_answers_come_in_the_order_of_receipt_each_with_the_position_after_it(counter):
    session = counter.client("strategy")
    *answers, noise, again = counter.ask(
        session,
        order(5),
        order(2, side="SELL", quantity=25),
        order(3, symbol="MSFT"),
        order(9, quantity=1),
        b"noise*",
        order(5),
    )
    assert [answer.order_id for answer in answers] == [5, 2, 3, 9]
    assert [answer.position for answer in answers] == [10, -15, 10, -14]
    assert [answer.trade_id for answer in answers] == [1, 2, 3, 4]
    assert (noise.order_id, again) == (None, answers[0])


def test_nothing_is_said_of_an_order_before_it_is_committed(counter):
    commits = []
    counter.ledger.commit = lambda *_: commits.append(1)
    session = Session("peer")
    counter.desk.receive(session, logon("strategy") + order(1) + order(1) + b"noise*", NOW)
    assert commits == []
    outcome = counter.commit()
    assert commits == [1]
    assert (len(outcome.answers), len(outcome.confirmations), len(outcome.events)) == (4, 1, 2)
    assert counter.commit() == CommitResult()


def test_orders_of_a_commit_that_failed_are_answered_with_its_reason_and_not_booked(counter):
    session = counter.client("strategy")
    counter.ask(session, order(1))
    before = list(counter.events)
    with locked(counter.ledger):
        orders = (order(2), order(3, symbol="X"), order(2), order(2, side="SELL"))
        outcome = counter.receive(session, *orders)
    answers = answers_of(outcome)
    assert [type(answer) for answer in answers] == [ErrorMessage] * 4
    assert [answer.order_id for answer in answers] == [2, 3, 2, 2]
    assert outcome.failed == [(session, order_id) for order_id in (2, 3, 2, 2)]
    assert {answer.reason for answer in answers} == {outcome.failure}
    assert "locked" in outcome.failure
    assert (counter.events, outcome.confirmations, outcome.booked) == (before, [], 0)
    # None of it is remembered: the same numbers may carry other orders, and go on from trade 1.
    answers = counter.ask(session, order(2, side="SELL"), order(3))
    assert [(answer.trade_id, answer.position) for answer in answers] == [(2, 0), (3, 10)]
    assert counter.ledger.positions("strategy") == {"AAPL": 10}


def test_what_was_true_before_a_commit_that_failed_is_still_said(counter):
    session = counter.client("strategy")
    (report,) = counter.ask(session, order(1))
    newcomer = Session("newcomer")
    with locked(counter.ledger):
        counter.desk.receive(session, order(1) + b"noise*" + order(2), NOW)
        outcome = counter.receive(newcomer, logon("strategy"))
    repeated, noise, failed, ack = answers_of(outcome)
    assert repeated == report
    assert noise.reason.startswith("an order is a JSON object")
    assert failed.order_id == 2
    # Not the order that it saw, and that did not come about.
    assert ack == LogonAck("strategy", 1, {"AAPL": 10})
    assert counter.events[-1][1]["last_order_id"] == 1


# Identity.


def test_the_same_order_again_is_answered_with_the_same_bytes_and_printed_once(counter):
    frames = []
    for spelling in (b"173.2", b"173.20", b"1732e-1", b" 173.2000 "):
        session = counter.client("strategy")
        again = order(12).replace(b"173.2", spelling)
        frames += [frame for _, frame in counter.receive(session, again, again).answers]
        counter.ask(session, order(len(frames), symbol="MSFT"))
    assert frames == [frames[0]] * 8
    assert b'"price":173.2,' in frames[0]
    assert counter.printed.count("Received Order 12: BUY 10 AAPL @ 173.20\n") == 1
    assert counter.ledger.position("strategy", "AAPL") == 10


@pytest.mark.parametrize(
    ("change", "field", "shown"),
    [
        ({"symbol": "MSFT"}, "symbol", "BUY 10 MSFT @ 173.20"),
        ({"side": "SELL"}, "side", "SELL 10 AAPL @ 173.20"),
        ({"quantity": 11}, "quantity", "BUY 11 AAPL @ 173.20"),
        ({"price": 173.21}, "price", "BUY 10 AAPL @ 173.21"),
    ],
)
def test_the_same_identity_with_other_content_is_an_error_that_shows_both(
    counter, change, field, shown
):
    session = counter.client("strategy")
    counter.ask(session, order(12))
    (error,) = counter.ask(session, order(12, **change))
    assert isinstance(error, ErrorMessage)
    assert error.order_id == 12
    assert error.reason.startswith(f"{field} differ")
    assert "booked is Order 12: BUY 10 AAPL @ 173.20" in error.reason
    assert f"sent was Order 12: {shown}" in error.reason
    assert len(counter.printed) == 1
    assert counter.ledger.positions("strategy") == {"AAPL": 10}


# Clients without a logon.


def test_a_client_without_logon_is_anonymous_and_never_the_same_twice(counter):
    names = []
    for _ in range(3):
        session = Session("peer")
        answers = counter.ask(session, order(1), order(MAX_INTEGER))
        assert not session.silent
        names.append({answer.client_id for answer in answers})
        counter.desk.closed(session, NOW.now_ns)
    assert names == [{"anonymous-1"}, {"anonymous-2"}, {"anonymous-3"}]


def test_a_client_id_in_an_order_must_be_the_logons(counter):
    session, stranger = counter.client("strategy"), Session("peer")
    (filled,) = counter.ask(session, order(1, client_id="strategy"))
    assert filled.status == "FILLED"
    (error,) = counter.ask(session, order(2, client_id="other"))
    reason = "client_id other is not this connection's, strategy"
    assert error == ErrorMessage(order_id=2, reason=reason)
    (error,) = counter.ask(stranger, order(3, client_id="strategy"))
    reason = "an order with a client_id needs a logon first"
    assert error == ErrorMessage(order_id=3, reason=reason)
    assert stranger.silent
    assert counter.ledger.last_order_id("strategy") == 1


# Refusals.


def test_what_was_halted_is_rejected_for_good(counter):
    session = counter.client("strategy")
    (answer,) = answers_of(counter.receive(session, order(1), receipt=NOW._replace(halted=True)))
    assert isinstance(answer, ExecutionReport)
    assert (answer.status, answer.reason) == ("REJECTED", "halted")
    assert (answer.trade_id, answer.position) == (None, 0)
    assert counter.printed == []
    assert counter.events[-1][0] == "order_rejected"
    assert counter.events[-1][1]["reason"] == "halted"
    assert counter.ask(session, order(1)) == [answer]
    assert counter.ask(session, order(2))[0].status == "FILLED"


ANOTHER_CLOCK = NOW.wall_ns // 10**6


def test_an_order_with_the_time_of_another_clock_is_an_error_and_not_booked(counter):
    session = counter.client("strategy")
    future = NOW.now_ns + 2 * 10**9
    for sent_ns, named in [(ANOTHER_CLOCK, "wall clock in ms"), (future, "2.000 s ahead")]:
        (error,) = counter.ask(session, order(1, sent_ns=sent_ns))
        assert isinstance(error, ErrorMessage)
        assert error.order_id == 1
        assert named in error.reason
        assert str(NOW.now_ns) in error.reason
    assert counter.ledger.find("strategy", 1) is None
    assert counter.ask(session, order(1, sent_ns=NOW.now_ns))[0].status == "FILLED"


def test_an_order_that_is_booked_is_answered_the_same_whatever_clock_it_is_sent_with_again(counter):
    session = counter.client("strategy")
    reports = counter.ask(session, order(1), order(2, sent_ns=1))
    assert [report.status for report in reports] == ["FILLED", "REJECTED"]
    again = [order(number, sent_ns=ANOTHER_CLOCK) for number in (1, 2)]
    assert counter.ask(session, *again) == reports


def test_no_single_order_uses_up_a_clients_numbers(counter):
    session = counter.client("strategy")
    first_reserved = MAX_INTEGER - RESERVED_ORDER_IDS + 1
    for order_id in (MAX_INTEGER, first_reserved + MAX_RESERVED_STEP):
        (error,) = counter.ask(session, order(order_id))
        assert isinstance(error, ErrorMessage)
        assert error.order_id == order_id
        assert "its last one is 0" in error.reason
    # A client that got there by counting may go on, and a booked order is answered as ever.
    numbers = [first_reserved - 1, first_reserved + MAX_RESERVED_STEP - 1, first_reserved]
    reports = counter.ask(session, *map(order, numbers))
    assert [report.status for report in reports] == ["FILLED"] * 3
    assert counter.ask(session, order(numbers[1])) == [reports[1]]


# Whatever else arrives.


def test_so_many_malformed_frames_of_a_client_are_explained_at_once_and_all_are_answered(counter):
    session, other = counter.client("strategy"), counter.client("other")
    counter.desk.receive(session, order(3, side="B") * (MAX_EXPLAINED + 10), NOW)
    outcome = counter.receive(other, order(4, side="B"))
    assert len(outcome.malformed) == MAX_EXPLAINED + 11
    answers = answers_of(outcome)
    assert [answer.order_id for answer in answers] == [3] * (MAX_EXPLAINED + 10) + [4]
    unexplained = [answer.reason == UNEXPLAINED for answer in answers]
    assert unexplained == [False] * MAX_EXPLAINED + [True] * 10 + [False]
    (answer,) = counter.ask(session, order(3, side="B"))
    assert "side is BUY or SELL" in answer.reason


def test_a_message_that_ends_without_its_delimiter_is_answered_once(counter):
    session = Session("peer")
    counter.desk.receive(session, order(1) + b"\n", NOW)
    assert not counter.desk.ended(session)  # a line break is no message
    counter.desk.receive(session, order(2)[:-1], NOW)
    assert counter.desk.ended(session)
    assert not counter.desk.ended(session)
    report, error = answers_of(counter.commit())
    assert report.status == "FILLED"
    assert error.order_id == 2
    assert error.reason.startswith("no `*` after the message: ")


fields = st.dictionaries(
    st.sampled_from([*json.loads(SMALLEST_ORDER), "position", "sent_ns", "qty", "note"])
    | st.text(max_size=8),
    st.sampled_from(["order", "logon", "BUY", "AAPL", 1, 10, 190.5, "10", -1, None, True, 2**53])
    | st.text()
    | st.integers()
    | st.floats(),
    max_size=12,
)


@given(st.lists(fields, max_size=8))
def test_each_frame_has_one_answer_with_its_order_id_and_a_reason_for_people(frames):
    with fresh_ledger() as ledger:
        counter = Counter(ledger)
        sent = [json.dumps(frame).replace("*", "").encode() + b"*" for frame in frames]
        answers = counter.ask(Session("peer"), *sent)
        assert len(answers) == len(frames)
        for frame, answer in zip(frames, answers, strict=True):
            order_id = frame.get("order_id")
            if (
                type(order_id) is int
                and 0 < order_id <= MAX_INTEGER
                and frame.get("type") != "logon"
            ):
                assert answer.order_id == order_id
            if isinstance(answer, ErrorMessage):
                assert answer.reason
                assert answer.reason.isprintable()
                assert len(answer.reason) < 600


def test_a_booked_order_does_not_keep_its_frame_in_memory(counter):
    session = counter.client("strategy")
    frames = [order(order_id, padding="x" * 60_000) for order_id in range(1, 21)]
    tracemalloc.start()
    try:
        for frame in frames:
            counter.ask(session, frame)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(counter.printed) == 20
    assert kept < 3 * 60_000


# A token.

TOKEN = "s3cret"


@pytest.fixture
def guarded(ledger):
    """A desk that asks for a token, and a client that needs one."""
    counter = Counter(ledger, token=TOKEN)
    return counter, Session("peer", needs_token=True)


def logon_with(token: object, client_id: str = "strategy") -> bytes:
    return json.dumps({"type": "logon", "client_id": client_id, "token": token}).encode() + b"*"


def goodbye(outcome: CommitResult, session: Session) -> ErrorMessage:
    """The last frame to the one client that is to be disconnected."""
    ((to, frame, reason),) = outcome.without_token
    error = decode_from_server(frame[:-1])
    assert to is session
    assert error.reason == reason
    assert TOKEN not in reason
    return error


def test_with_the_token_a_client_trades_and_logs_on_again_without_it(guarded):
    counter, session = guarded
    ack, report = counter.ask(session, logon_with(TOKEN), order(1))
    assert (ack.client_id, report.status) == ("strategy", "FILLED")
    (again,) = counter.ask(session, logon("strategy"))
    assert again.last_order_id == 1


@pytest.mark.parametrize(
    "frame",
    [
        logon("strategy"),
        *map(logon_with, ["", "s3cre", "s3cret ", "S3CRET", "s3crét", None]),
        order(1),
        order(1, token=TOKEN),
    ],
)
def test_without_the_token_a_client_is_told_so_and_all_else_it_sent_is_discarded(guarded, frame):
    counter, session = guarded
    trading = counter.client("strategy")
    outcome = counter.receive(session, frame, logon_with(TOKEN), order(2))
    error = goodbye(outcome, session)
    assert "token" in error.reason
    assert error.order_id == (1 if b"order_id" in frame else None)
    assert (outcome.answers, outcome.replaced, outcome.booked) == ([], [], 0)
    assert not counter.receive(session, logon_with(TOKEN)).answers
    assert not counter.desk.ended(session)
    (report,) = counter.ask(trading, order(1))  # it was not replaced
    assert report.trade_id == 1


def test_a_token_was_given_though_the_ledger_fails(guarded, monkeypatch):
    counter, session = guarded

    def fail(*_: object) -> None:
        raise LedgerError("disk full")

    with monkeypatch.context() as patch:
        for read in ("last_order_id", "next_anonymous_client"):
            patch.setattr(counter.ledger, read, fail)
        errors = counter.ask(session, logon_with(TOKEN), order(1))
    assert [(error.order_id, error.reason) for error in errors] == [
        (None, "disk full"),
        (1, "disk full"),
    ]
    ack, report = counter.ask(session, logon_with(TOKEN), order(1))
    assert (ack.client_id, report.status) == ("strategy", "FILLED")


def test_malformed_frames_before_the_logon_are_answered_as_ever(guarded):
    counter, session = guarded
    malformed, ack = counter.ask(session, b"noise*", logon_with(TOKEN))
    assert isinstance(malformed, ErrorMessage)
    assert isinstance(ack, LogonAck)


def test_a_client_that_needs_no_token_may_give_one(counter):
    (ack,) = counter.ask(Session("peer"), logon_with("anything"))
    assert ack.client_id == "strategy"


def test_no_answer_and_no_log_line_quotes_what_may_be_a_token(guarded):
    counter, session = guarded
    whole = logon_with(TOKEN)[:-1]
    for frame in (
        *(whole[:end] for end in range(whole.index(TOKEN.encode()), len(whole))),
        whole.replace(b'"', b"'"),
        b"token: " + TOKEN.encode(),
        b'{"type":"logon","client_id":"strategy","token":"' + TOKEN.encode() * 50 + b'"}',
        b'{"type":"logon","client_id":"strategy","Token":"' + TOKEN.encode() + b'" oh}',
    ):
        outcome = counter.receive(session, frame + b"*")
        ((_, reason),) = outcome.malformed
        assert TOKEN not in reason
    session.buffer.feed(whole)
    assert counter.desk.ended(session)
    assert TOKEN not in counter.commit().malformed[0][1]
    assert TOKEN not in str(session.undelimited(has_ended=True))
