"""Order entry: logon first, the unanswered again after it, and a dead connection given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lib.order_client import ANSWER_LIMIT_NS, RETRY_NS, OrderClient
from lib.order_entry import REPLACED_WAIT_NS, OrderEntry
from lib.order_fields import MAX_INTEGER
from lib.order_messages import (
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    Order,
    encode,
    make_order,
)
from lib.settings import StrategySettings
from lib.signals import MovingAverageAndNews
from lib.trader import Trader

SYMBOLS = ("AAPL",)
LOGON = b'{"type":"logon","client_id":"strategy"}*'
ACK = encode(LogonAck("strategy", 0, {}))


class Link:
    """A link that keeps what is done to it."""

    peer = "there"

    def __init__(
        self,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.open, self.data, self.lost = on_open, on_data, on_lost
        self.sent = b""
        self.dropped: list[tuple[str, int]] = []
        self.proofs = 0

    def send(self, *pieces: bytes) -> None:
        self.sent += b"".join(pieces)

    def proved(self) -> None:
        self.proofs += 1

    def drop(self, reason: str, wait_ns: int = 0) -> None:
        self.dropped.append((reason, wait_ns))

    def hold_back(self, wait_ns: int) -> None:
        raise AssertionError("order entry waits only where it drops the connection")

    def taken(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


class Desk:
    def __init__(self) -> None:
        self.now_ns = 10**12
        self.client = OrderClient("strategy")
        trader = Trader(SYMBOLS, StrategySettings(), MovingAverageAndNews, self.client)
        self.entry = OrderEntry(self.client, trader, self.connect, clock=lambda: self.now_ns)

    def connect(self, **callbacks: Callable[..., None]) -> Link:
        self.link = Link(**callbacks)
        return self.link

    def log_on(self) -> None:
        self.link.open()
        self.link.data(ACK)

    def submit(self, order_id: int) -> Order:
        order = make_order(
            order_id=order_id,
            symbol="AAPL",
            side="BUY",
            quantity=10,
            price=173_20000000,
            position=0,
            sent_ns=self.now_ns,
        )
        self.entry.send([self.client.submit(order, self.now_ns)])
        return order

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.entry.on_time(self.now_ns)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def report(order: Order, status: str = "FILLED") -> bytes:
    return encode(
        ExecutionReport(
            client_id="strategy",
            order_id=order.order_id,
            status=status,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            raw_price=order.raw_price,
            trade_id=7 if status == "FILLED" else None,
            position=10 if status == "FILLED" else 0,
            reason=None if status == "FILLED" else "halted",
        )
    )


def test_positions_are_known_once_a_logon_was_acknowledged_and_stay_known(desk):
    desk.link.open()
    assert (desk.link.sent, desk.entry.knows_positions, desk.link.proofs) == (LOGON, False, 0)
    desk.link.data(ACK)
    assert (desk.entry.knows_positions, desk.link.proofs) == (True, 1)
    desk.link.lost("cut")
    assert desk.entry.knows_positions


def test_what_is_unanswered_is_sent_again_after_each_logon(desk):
    desk.log_on()
    orders = [desk.submit(1), desk.submit(2)]
    desk.link.lost("cut")
    orders.append(desk.submit(3))
    desk.link.taken()
    desk.link.open()
    assert desk.link.taken() == LOGON
    desk.link.data(report(orders[0])[:9])  # nothing yet
    desk.link.data(report(orders[0])[9:] + ACK)
    assert desk.link.taken() == b"".join(map(encode, orders[1:]))


def test_an_error_is_no_answer_and_is_logged_once(desk):
    desk.log_on()
    order = desk.submit(1)
    error = encode(ErrorMessage(order_id=1, reason="disk full"))
    with capture_logs() as logs:
        for _ in range(3):
            desk.link.taken()
            desk.link.data(error)
            desk.wait(RETRY_NS)
            assert desk.link.taken() == encode(order)
        desk.link.data(report(order, "REJECTED"))
    assert [log["event"] for log in logs] == ["order_error", "order_rejected"]
    assert desk.client.unanswered == {}


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
            desk.link.open()
            desk.link.data(encode(LogonAck("strategy", MAX_INTEGER, {})))
    (log,) = [log for log in logs if log["event"] == "order_ids_used_up"]
    assert (log["client_id"], log["last_order_id"]) == ("strategy", MAX_INTEGER)
    assert "client_id" in log["reason"]
    assert desk.link.sent == LOGON * 2


@pytest.mark.parametrize("status", ["FILLED", "REJECTED"])
def test_the_log_of_an_answer_says_when_it_came(desk, status):
    desk.log_on()
    order = desk.submit(1)
    desk.now_ns += 1234
    with capture_logs() as logs:
        desk.link.data(report(order, status))
    assert [(log["event"], log["answered_ns"]) for log in logs] == [
        (f"order_{status.lower()}", order.sent_ns + 1234)
    ]


def test_an_order_manager_that_owes_an_answer_and_is_silent_is_given_up(desk):
    desk.log_on()
    desk.wait(10 * ANSWER_LIMIT_NS)
    assert desk.link.dropped == []
    desk.submit(1)
    desk.wait(ANSWER_LIMIT_NS + 1)
    assert desk.link.dropped == [("no answer from the order manager", 0)]


def test_who_was_replaced_leaves_the_field_for_a_while(desk):
    desk.log_on()
    desk.link.data(encode(ErrorMessage(reason=REPLACED)))
    assert desk.link.dropped == [(REPLACED, REPLACED_WAIT_NS)]


def test_a_message_that_is_none_ends_the_connection(desk):
    desk.log_on()
    with capture_logs() as logs:
        desk.link.data(b"nonsense*")
    assert [log["event"] for log in logs] == ["protocol_error"]
    assert len(desk.link.dropped) == 1
