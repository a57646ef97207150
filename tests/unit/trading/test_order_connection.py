"""Order entry: logon first, the unanswered again after it, and a dead connection given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.execution.order_desk import OrderDesk, Receipt, Session
from lib.execution.risk import Risk
from lib.settings import RiskSettings, StrategySettings
from lib.signals import Side
from lib.trading.order_client import ANSWER_LIMIT_NS, RETRY_NS, OrderClient
from lib.trading.order_connection import REPLACED_WAIT_NS, OrderEntry
from lib.trading.trader import Trader
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    REPLACED,
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    Order,
    encode,
    make_order,
)
from tests.helpers import fresh_ledger

SYMBOLS = ("AAPL",)
LOGON = b'{"type":"logon","client_id":"strategy"}*'
ACK = encode(LogonAck("strategy", 0, {}))
PRICE = 173_20000000
TTL_NS = 5 * SECOND_NS


class Buys:
    """A signal that always says so."""

    def __init__(self, _settings: StrategySettings) -> None:
        pass

    def on_tick(self, _symbol: str, _price: int, _sentiment: int | None) -> Side | None:
        return "BUY"


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

    def log_on(self, last_order_id: int = 0) -> None:
        self.link.open()
        self.link.data(encode(LogonAck("strategy", last_order_id, {})))

    def submit(self, order_id: int, quantity: int = 10) -> Order:
        order = make_order(
            order_id=order_id,
            symbol="AAPL",
            side="BUY",
            quantity=quantity,
            price=PRICE,
            position=0,
            sent_ns=self.now_ns,
        )
        self.entry.send([self.client.submit(order, self.now_ns)])
        return order

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.entry.on_time(self.now_ns)

    def decide(self) -> Order | None:
        """Show the trader one tick."""
        ticks = [(1, 1, PRICE, self.now_ns, 0, 0)]
        decided = self.trader.evaluate(ticks, self.now_ns, self.client.capacity)
        return decided[0].order if decided else None


class Manager:
    """An order desk that one client at a time is connected to."""

    def __init__(self, desk: OrderDesk) -> None:
        self.desk = desk
        self.received = b""

    def connect(self, client: Desk) -> None:
        self.session = Session("there")
        client.link.dropped.clear()
        client.link.taken()
        client.link.open()
        self.answer(client)

    def answer(self, client: Desk) -> None:
        """Answer what the client has sent, until it sends nothing any more."""
        while sent := client.link.taken():
            self.received += sent
            receipt = Receipt(client.now_ns, 0, "2026-01-02T03:04:05Z", halted=False)
            self.desk.receive(self.session, sent, receipt)
            for _, answer in self.desk.commit().answers:
                client.link.data(answer)

    def serve(self, client: Desk, seconds: int) -> None:
        for _ in range(seconds):
            client.wait(SECOND_NS)
            if client.link.dropped:
                client.link.lost("dropped")
                self.connect(client)
            self.answer(client)


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


def test_each_line_about_an_order_names_the_stream(desk):
    desk.log_on()
    orders = [desk.submit(n) for n in (1, 2, 3)]
    with capture_logs() as logs:
        desk.link.data(report(orders[0]) + report(orders[1], "REJECTED"))
        desk.link.data(encode(ErrorMessage(order_id=3, reason="disk full")))
    assert [(log["event"], log["stream"]) for log in logs] == [
        ("order_filled", "orders"),
        ("order_rejected", "orders"),
        ("order_error", "orders"),
    ]


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


def test_orders_in_conflict_with_those_of_another_of_its_name_are_given_up_once_expired() -> None:
    with fresh_ledger() as ledger:
        risk = Risk(RiskSettings(), TTL_NS, SYMBOLS, {}.get)
        manager, one, other = Manager(OrderDesk(ledger, risk)), Desk(), Desk()
        manager.connect(one)
        one.link.lost("replaced")
        manager.connect(other)
        other.submit(1)
        manager.answer(other)
        one.submit(1, quantity=7)  # decided while the other one was connected
        with capture_logs() as logs:
            manager.connect(one)
            manager.serve(one, 4)
            assert list(one.client.unanswered) == [1]
            manager.serve(one, 5)
        assert [log["event"] for log in logs].count("order_error") == 1
        (given_up,) = [log for log in logs if log["event"] == "order_given_up"]
        assert given_up["order_id"] == 1
        assert "booked is Order 1: BUY 10" in given_up["reason"]
        manager.received = b""
        manager.serve(one, 20)
        assert (one.client.unanswered, manager.received) == ({}, b"")
        assert one.decide() is None  # it is long: the other one's fill is its position
        assert ledger.positions("strategy") == {"AAPL": 10}


def test_an_order_whose_number_is_free_is_sent_again_however_old_it_is(desk: Desk) -> None:
    desk.log_on(last_order_id=1)
    order = desk.submit(2)
    for _ in range(20):
        desk.link.taken()
        desk.link.data(encode(ErrorMessage(order_id=2, reason="disk full")))
        desk.wait(RETRY_NS)
        assert desk.link.taken() == encode(order)
    assert desk.link.dropped == []


def test_only_what_was_sent_over_its_connection_as_expired_is_given_up(desk: Desk) -> None:
    order = desk.submit(1)
    error = encode(ErrorMessage(order_id=1, reason="disk full"))
    desk.log_on(last_order_id=1)
    desk.now_ns += TTL_NS
    desk.link.data(error)  # to a sending that may have come in time
    desk.wait(RETRY_NS)
    assert list(desk.client.unanswered) == [1]
    assert len(desk.link.dropped) == 1
    desk.link.lost("dropped")
    desk.log_on(last_order_id=1)
    desk.link.data(report(order) + error)  # the report is final
    desk.wait(RETRY_NS)
    assert len(desk.link.dropped) == 1
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


def test_a_client_that_was_replaced_backs_off(desk):
    desk.log_on()
    desk.link.data(encode(ErrorMessage(reason=REPLACED)))
    assert desk.link.dropped == [(REPLACED, REPLACED_WAIT_NS)]


def test_a_message_that_is_none_ends_the_connection(desk):
    desk.log_on()
    with capture_logs() as logs:
        desk.link.data(b"nonsense*")
    assert [log["event"] for log in logs] == ["protocol_error"]
    assert len(desk.link.dropped) == 1
