"""Order entry: logon first, the unanswered again after it, and a dead connection given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.settings import StrategySettings
from lib.signals import Side
from lib.trading.order_client import ANSWER_LIMIT_NS, RETRY_NS, OrderClient
from lib.trading.order_connection import REPLACED_WAIT_NS, OrderEntry
from lib.trading.trader import Trader
from lib.wire.framing import MAX_MESSAGE_BYTES
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    REPLACED,
    ErrorMessage,
    LogonAck,
    Order,
    encode,
)
from tests.links import Link
from tests.orders import PRICE, order, report

SYMBOLS = ("AAPL",)
LOGON = b'{"type":"logon","client_id":"strategy"}*'
ACK = encode(LogonAck("strategy", 0, {}))
TTL_NS = 5 * SECOND_NS
DISK_FULL = encode(ErrorMessage(order_id=1, reason="disk full"))


class Buys:
    """A signal that always says so."""

    def __init__(self, _settings: StrategySettings) -> None:
        pass

    def on_tick(self, _symbol: str, _price: int, _sentiment: int | None) -> Side | None:
        return "BUY"


class Desk:
    def __init__(self) -> None:
        self.now_ns = 10**12
        self.client = OrderClient("strategy")
        self.trader = Trader(SYMBOLS, StrategySettings(), Buys)
        self.entry = OrderEntry(
            self.client,
            self.trader,
            self.connect,
            order_ttl_ns=TTL_NS,
            clock=lambda: self.now_ns,
        )

    def connect(self, **callbacks: Callable[..., None]) -> Link:
        self.link = Link(**callbacks)
        return self.link

    def log_on(self, last_order_id: int = 0, position: int = 0) -> None:
        self.link.open()
        self.link.data(encode(LogonAck("strategy", last_order_id, {"AAPL": position})))

    def submit(self, order_id: int) -> Order:
        submitted = order(order_id, self.now_ns)
        self.entry.send([self.client.submit(submitted, self.now_ns)])
        return submitted

    def hear_report(self, order: Order, status: str = "FILLED", position: int = 10) -> None:
        self.link.data(encode(report(order, status, position)))

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.entry.on_time(self.now_ns)

    def positions_assumed(self) -> list[int]:
        """What the trader believes when it decides to buy."""
        decisions = self.trader.evaluate([(1, 1, PRICE, self.now_ns, 0, 0)], self.now_ns, 1)
        return [decision.order.position for decision in decisions]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_positions_are_known_once_a_logon_was_acknowledged_and_stay_known(desk):
    desk.link.open()
    assert (desk.link.sent, desk.entry.knows_positions, desk.link.proofs) == (LOGON, False, 0)
    desk.link.data(ACK)
    assert (desk.entry.knows_positions, desk.link.proofs) == (True, 1)
    desk.link.lost("cut")
    assert desk.entry.knows_positions


def test_the_trader_gets_the_positions_of_each_logon_and_answer(desk):
    desk.log_on(position=10)
    assert desk.positions_assumed() == []
    desk.hear_report(desk.submit(1), "REJECTED", 0)
    assert desk.positions_assumed() == [0]


def test_what_is_unanswered_is_sent_again_after_each_logon(desk):
    desk.log_on()
    orders = [desk.submit(1), desk.submit(2)]
    desk.link.lost("cut")
    orders.append(desk.submit(3))
    desk.link.taken()
    desk.link.open()
    assert desk.link.taken() == LOGON
    answer = encode(report(orders[0]))
    desk.link.data(answer[:9])  # nothing yet
    desk.link.data(answer[9:] + ACK)
    assert desk.link.taken() == b"".join(map(encode, orders[1:]))


def test_an_error_is_no_answer_and_is_logged_once(desk):
    desk.log_on(last_order_id=1)
    order = desk.submit(1)
    with capture_logs() as logs:
        for _ in range(3):
            desk.link.taken()
            desk.link.data(DISK_FULL)
            desk.wait(RETRY_NS)
            assert desk.link.taken() == encode(order)
        desk.hear_report(order, "REJECTED")
    assert [log["event"] for log in logs] == ["order_error", "order_rejected"]
    assert desk.client.unanswered == {}


def test_an_order_whose_number_is_free_is_sent_again_however_old_it_is(desk: Desk) -> None:
    desk.log_on()
    order = desk.submit(1)
    desk.now_ns += 4 * TTL_NS
    desk.link.taken()
    desk.link.data(DISK_FULL)
    desk.wait(RETRY_NS)
    assert desk.link.taken() == encode(order)
    assert desk.link.dropped == []


@pytest.mark.parametrize("is_booked", [False, True], ids=["of another client", "of this one"])
def test_only_what_was_sent_over_its_connection_as_expired_is_given_up(desk, is_booked):
    desk.log_on(last_order_id=1)
    order = desk.submit(1)
    desk.now_ns += TTL_NS
    desk.link.data(DISK_FULL)  # to a sending that may have come in time
    desk.wait(RETRY_NS)
    assert list(desk.client.unanswered) == [1]
    assert len(desk.link.dropped) == 1
    desk.log_on(last_order_id=1)
    if is_booked:
        desk.hear_report(order)  # which is final
    desk.link.taken()
    with capture_logs() as logs:
        desk.link.data(DISK_FULL)
        desk.wait(RETRY_NS)
    assert desk.client.unanswered == {}
    assert desk.link.taken() == b""
    given_up = [(log["order_id"], log["reason"]) for log in logs if "given_up" in log["event"]]
    if is_booked:
        assert given_up == []
        assert len(desk.link.dropped) == 1
    else:
        ((order_id, reason),) = given_up
        assert order_id == 1
        assert "disk full" in reason
        assert len(desk.link.dropped) == 2  # the next logon brings the positions without it


def test_an_error_without_an_order_is_logged_once_a_logon(desk):
    error = encode(ErrorMessage(reason="an empty frame"))
    with capture_logs() as logs:
        for _ in range(2):
            desk.log_on()
            desk.link.data(error * 3)
    assert [log["event"] for log in logs] == ["connected", "order_error"] * 2


def test_a_strategy_without_further_numbers_says_so_once_and_sends_nothing(desk):
    with capture_logs() as logs:
        for _ in range(2):
            desk.log_on(last_order_id=MAX_INTEGER)
    (log,) = [log for log in logs if log["event"] == "order_ids_used_up"]
    assert (log["client_id"], log["last_order_id"]) == ("strategy", MAX_INTEGER)
    assert "client_id" in log["reason"]
    assert desk.link.sent == LOGON * 2


@pytest.mark.parametrize("status", ["FILLED", "REJECTED"])
def test_the_log_of_an_answer_says_when_it_came_and_of_which_stream(desk, status):
    desk.log_on()
    order = desk.submit(1)
    desk.now_ns += 1234
    with capture_logs() as logs:
        desk.hear_report(order, status)
    assert [(log["event"], log["stream"], log["answered_ns"]) for log in logs] == [
        (f"order_{status.lower()}", "orders", order.sent_ns + 1234)
    ]


def test_an_order_manager_that_owes_an_answer_and_is_silent_is_given_up(desk):
    desk.log_on()
    desk.wait(10 * ANSWER_LIMIT_NS)
    assert desk.link.dropped == []
    desk.submit(1)
    desk.wait(ANSWER_LIMIT_NS + 1)
    assert desk.link.dropped == ["no answer from the order manager"]


@pytest.mark.parametrize(
    ("data", "event", "waits_ns"),
    [
        (encode(ErrorMessage(reason=REPLACED)), "order_error", [REPLACED_WAIT_NS]),
        (b"nonsense*", "protocol_error", []),
        (b"x" * (MAX_MESSAGE_BYTES + 1), "protocol_error", []),
    ],
    ids=["it was replaced", "what is no message", "a message without an end"],
)
def test_what_ends_the_connection_is_logged(desk, data, event, waits_ns):
    desk.log_on()
    with capture_logs() as logs:
        desk.link.data(data)
    assert [log["event"] for log in logs] == [event, "disconnected"]
    assert desk.link.waits_ns == waits_ns
