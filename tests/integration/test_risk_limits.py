"""Risk limits, the age of orders and the halt switch, through the wire of a real order manager.

Each refusal is the same for the client, for the ledger and for what is printed: a report that is
final, a row with the reason, and no line.
"""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lib.shared_memory_utils import SharedPriceBook, remove_segments
from tests.clients import OrderClient, order
from tests.helpers import wait_until
from tests.stack import PrivateStack

LIMITS = {
    "max_order_quantity": 100,
    "max_position": 250,
    "price_collar_percent": 10.0,
    "max_orders_per_second": 20,
}
NO_LIMITS = dict.fromkeys(LIMITS, 0)
TTL_S = 2.0
MAX_ORDER_EVENTS = 100


class Manager:
    """A running order manager, and the price book it looks at."""

    def __init__(self, stack: PrivateStack, process: subprocess.Popen[bytes]) -> None:
        self.stack = stack
        self.process = process
        self.halt_file = stack.var_dir / "HALT"
        self._books: list[SharedPriceBook] = []
        self._markers = itertools.count(10**6)

    def logged_on(self, client_id: str = "trader") -> OrderClient:
        client = OrderClient.connect(self.stack.order_port)
        assert client.log_on(client_id)["type"] == "logon_ack"
        return client

    def make_book(self, *symbols: str, **prices: float) -> SharedPriceBook:
        """Make the price book, or replace the one that is there."""
        self.close_books()
        book = SharedPriceBook(symbols, self.stack.book_name, ring_capacity=4096)
        self._books.append(book)
        book.begin_epoch("tape-1")
        for symbol, price in prices.items():
            book.update(symbol, price)
        return book

    def close_books(self) -> None:
        for book in self._books:
            book.close()
        self._books.clear()

    def events(self, event: str, **keys: Any) -> list[dict[str, Any]]:
        events = self.stack.events("order_manager", event)
        return [e for e in events if all(e.get(key) == value for key, value in keys.items())]

    def wait_for(self, event: str, **keys: Any) -> dict[str, Any]:
        return self.stack.wait_for_event("order_manager", event, **keys)

    def row(self, client_id: str, order_id: int) -> dict[str, Any]:
        """What the ledger holds of an order."""
        with closing(sqlite3.connect(self.stack.var_dir / "orders.sqlite")) as connection:
            connection.row_factory = sqlite3.Row
            [row] = connection.execute(
                "SELECT * FROM orders WHERE client_id = ? AND order_id = ?", (client_id, order_id)
            )
            return dict(row)

    def printed(self) -> list[str]:
        """The lines printed for all orders answered so far."""
        marker = next(self._markers)
        with OrderClient.connect(self.stack.order_port) as client:
            assert client.ask(order(marker, symbol="MSFT"))["status"] == "FILLED"
        last = f"Received Order {marker}: BUY 10 MSFT @ 173.20"
        wait_until(lambda: last in self.stack.output("order_manager"), "it prints")
        return self.stack.output("order_manager")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """A time in which it does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it has stopped")
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(limits: dict[str, Any]) -> Iterator[Manager]:
    stack = PrivateStack(
        {
            "": {"symbols": ["AAPL", "MSFT"]},
            "order_manager": {"order_ttl": TTL_S},
            "risk": limits,
        }
    )
    try:
        process = stack.start_by_hand("order_manager")
        stack.wait_for_event("order_manager", "started")
        manager = Manager(stack, process)
        try:
            yield manager
            assert manager.process.poll() is None
        finally:
            manager.close_books()
            remove_segments(stack.book_name)
    finally:
        stack.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with running(LIMITS) as manager:
        yield manager


@pytest.fixture
def unlimited() -> Iterator[Manager]:
    with running(NO_LIMITS) as manager:
        yield manager


def assert_rejected(manager: Manager, client: OrderClient, sent: dict[str, Any], why: str) -> None:
    """Rejected for good, recorded with its reason, logged, and nothing printed."""
    client.tell(sent)
    answer = client.frame()
    report = json.loads(answer)
    assert (report["type"], report["status"]) == ("execution_report", "REJECTED")
    assert why in report["reason"]
    assert "trade_id" not in report
    client_id, order_id = report["client_id"], sent["order_id"]
    row = manager.row(client_id, order_id)
    assert row.pop("received_ns") > 0
    assert row.pop("received_utc").endswith("Z")
    assert row == {
        "client_id": client_id, "order_id": order_id, "symbol": sent["symbol"],
        "side": sent["side"], "quantity": sent["quantity"], "price": str(sent["price"]),
        "status": "REJECTED", "reason": report["reason"], "trade_id": None,
        "position": report["position"], "tape": sent.get("tape"),
        "tick_sequence": sent.get("tick_sequence"), "sent_ns": sent.get("sent_ns"),
    }  # fmt: skip
    event = manager.wait_for("order_rejected", client_id=client_id, order_id=order_id)
    assert event["reason"] == report["reason"]
    client.tell(sent)
    assert client.frame() == answer
    assert not [line for line in manager.printed() if f"Order {order_id}:" in line]
    assert client.log_on(client_id)["last_order_id"] >= order_id


# --- limits


def test_an_order_for_an_unknown_symbol_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        sent = order(1, symbol="TSLA", tape="walk-1", tick_sequence=7)
        assert_rejected(manager, client, sent, "unknown symbol TSLA")


def test_an_order_of_more_than_the_largest_quantity_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        assert client.ask(order(1, quantity=100))["status"] == "FILLED"
        assert_rejected(manager, client, order(2, quantity=101), "the limit is 100")
        assert client.ask(order(3, side="SELL", quantity=100))["position"] == 0


def test_an_order_that_leads_beyond_the_largest_position_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        for side, sign, first in (("BUY", 1, 1), ("SELL", -1, 11)):
            other = {"BUY": "SELL", "SELL": "BUY"}[side]
            for number, quantity in enumerate((100, 100, 50)):
                report = client.ask(order(first + number, side=side, quantity=quantity))
                assert report["status"] == "FILLED"
            assert report["position"] == sign * 250
            sent = order(first + 3, side=side, quantity=1)
            assert_rejected(manager, client, sent, f"would be {sign * 251}")
            # It is symbol by symbol and client by client, and the way back is open.
            report = client.ask(order(first + 4, symbol="MSFT", side=side, quantity=1))
            assert report["status"] == "FILLED"
            with manager.logged_on(f"another-{side}") as another:
                assert another.ask(order(1, side=side))["status"] == "FILLED"
            for number, quantity in enumerate((100, 100, 50), 5):
                report = client.ask(order(first + number, side=other, quantity=quantity))
            assert report["position"] == 0


def test_an_order_that_assumes_another_position_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        assert client.ask(order(1, position=0))["position"] == 10
        why = "the position is 10, and the order assumes 0"
        assert_rejected(manager, client, order(2, position=0), why)


def test_more_orders_than_are_allowed_in_a_second_are_rejected(manager: Manager) -> None:
    count = LIMITS["max_orders_per_second"]
    numbers = range(1, count + 6)
    with manager.logged_on() as client, manager.logged_on("another") as another:
        with manager.stopped():
            client.send(b"".join(json.dumps(order(n, quantity=1)).encode() + b"*" for n in numbers))
            another.tell(order(1))
        reports = [client.hear() for _ in numbers]
        statuses = ["FILLED"] * count + ["REJECTED"] * 5
        assert [report["status"] for report in reports] == statuses
        rejected = reports[-1]
        assert rejected["reason"] == "trader has sent 20 orders within a second, which is the limit"
        assert manager.row("trader", count + 5)["reason"] == rejected["reason"]
        # Each client has its own, and repeating an order costs nothing.
        assert another.hear()["status"] == "FILLED"
        for _ in range(3):
            assert client.ask(order(count + 5, quantity=1)) == rejected
        number = itertools.count(count + 6)
        wait_until(
            lambda: client.ask(order(next(number), quantity=1))["status"] == "FILLED",
            "the second is over",
        )
    lines = [line for line in manager.printed() if "BUY 1 AAPL" in line]
    assert len(lines) == count + 1


def test_limits_of_0_are_none(unlimited: Manager) -> None:
    unlimited.make_book("AAPL", "MSFT", AAPL=100.0)
    most = 2**53 - 1
    with unlimited.logged_on() as client:
        assert client.ask(order(1, quantity=most, price=9e9))["position"] == most
        assert client.ask(order(2, quantity=most, side="SELL", price=1e-8))["position"] == 0
        numbers = range(3, 2003)
        client.send(b"".join(json.dumps(order(n)).encode() + b"*" for n in numbers))
        assert {client.hear()["status"] for _ in numbers} == {"FILLED"}
        # The symbol is no limit that could be switched off.
        assert client.ask(order(2003, symbol="TSLA"))["reason"] == "unknown symbol TSLA"


# --- the price collar


def wait_until_attached(manager: Manager, times: int) -> None:
    """Wait until it has found so many books. It looks when it has an order to judge."""

    def attached() -> bool:
        with OrderClient.connect(manager.stack.order_port) as client:
            client.ask(order(1, symbol="MSFT", quantity=1))
        return len(manager.events("attached")) >= times

    wait_until(attached, "it has found the price book")


def test_the_price_collar_follows_the_price_book(manager: Manager) -> None:
    with manager.logged_on() as client:
        # No book, no collar.
        assert client.ask(order(1, price=5000))["status"] == "FILLED"
        book = manager.make_book("AAPL", "MSFT", AAPL=200.0)
        wait_until_attached(manager, times=1)
        assert_rejected(
            manager, client, order(2, price=220.00000001),
            "the price 220.00000001 is more than 10% from the latest, 200",
        )  # fmt: skip
        assert client.ask(order(3, price=220))["status"] == "FILLED"
        assert client.ask(order(4, price=180))["status"] == "FILLED"
        assert client.ask(order(5, price=179.99999999))["status"] == "REJECTED"
        # A symbol without a price has no collar, and the latest price counts.
        assert client.ask(order(6, symbol="MSFT", price=5000))["status"] == "FILLED"
        book.update("AAPL", 5000.0)
        assert client.ask(order(7, price=5000))["status"] == "FILLED"
        assert "from the latest, 5000" in client.ask(order(8, price=200))["reason"]


def test_the_price_collar_follows_a_book_that_is_replaced(manager: Manager) -> None:
    with manager.logged_on() as client:
        manager.make_book("AAPL", "MSFT", AAPL=200.0)
        wait_until_attached(manager, times=1)
        assert client.ask(order(1, price=20))["status"] == "REJECTED"
        manager.make_book("MSFT", "AAPL", "GOOG", AAPL=20.0)
        wait_until_attached(manager, times=2)
        assert client.ask(order(2, price=20))["status"] == "FILLED"
        assert "from the latest, 20" in client.ask(order(3, price=200))["reason"]


# --- the age of an order


def test_an_order_that_was_sent_too_long_ago_is_rejected_for_good(manager: Manager) -> None:
    sent_ns = time.monotonic_ns() - int((TTL_S + 1) * 10**9)
    with manager.logged_on() as client:
        assert_rejected(manager, client, order(1, sent_ns=sent_ns), "expired")
        assert client.ask(order(2, sent_ns=time.monotonic_ns()))["status"] == "FILLED"
        # It stays so, whatever a later sending claims.
        report = client.ask(order(1, sent_ns=time.monotonic_ns()))
        assert report["status"] == "REJECTED"
        assert manager.row("trader", 1)["sent_ns"] == sent_ns


def test_an_order_that_waited_too_long_to_be_read_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        with manager.stopped():
            sent_ns = time.monotonic_ns()
            client.tell(order(1, sent_ns=sent_ns))
            wait_until(lambda: time.monotonic_ns() > sent_ns + TTL_S * 10**9, "it is too old")
        assert "expired" in client.hear()["reason"]


def test_an_order_that_was_booked_in_time_does_not_expire(manager: Manager) -> None:
    sent_ns = time.monotonic_ns()
    sent = order(1, sent_ns=sent_ns)
    with manager.logged_on() as client:
        report = client.ask(sent)
        assert report["status"] == "FILLED"
    wait_until(lambda: time.monotonic_ns() > sent_ns + TTL_S * 10**9, "it is too old")
    with manager.logged_on() as client:
        assert client.ask(sent) == report
    assert manager.row("trader", 1)["sent_ns"] == sent_ns


# --- the halt switch


class Sent(NamedTuple):
    """An order, and when it was on its way."""

    begin_ns: int
    end_ns: int
    """When its answer was there."""
    status: str
    reason: str | None


def test_while_the_halt_file_is_there_every_order_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client, manager.logged_on("another") as another:
        report = client.ask(order(1))
        manager.halt_file.touch()
        rejection = client.ask(order(2, side="SELL"))
        assert (rejection["status"], rejection["reason"]) == ("REJECTED", "halted")
        assert manager.row("trader", 2)["reason"] == "halted"
        manager.wait_for("order_rejected", order_id=2, reason="halted")
        manager.wait_for("trading_halted")
        assert another.ask(order(1))["reason"] == "halted"
        # Looking things up is no trading.
        assert client.ask(order(1)) == report
        assert client.log_on("trader")["positions"] == {"AAPL": 10}
        manager.halt_file.unlink()
        assert client.ask(order(3))["position"] == 20
        # What was rejected stays so.
        assert client.ask(order(2, side="SELL")) == rejection
    manager.wait_for("trading_resumed")
    assert len(manager.events("trading_halted")) == len(manager.events("trading_resumed")) == 1
    assert not [line for line in manager.printed() if "Order 2:" in line]


def test_a_halt_from_before_the_start_counts() -> None:
    with running(LIMITS) as manager:
        manager.process.terminate()
        manager.process.wait(timeout=60)
        manager.halt_file.touch()
        manager.process = manager.stack.start_by_hand("order_manager")
        wait_until(lambda: len(manager.events("started")) == 2, "it has started again")
        with manager.logged_on() as client:
            assert client.ask(order(1))["reason"] == "halted"


def test_no_order_that_is_sent_after_the_switch_is_judged_as_before_it(unlimited: Manager) -> None:
    done = threading.Event()
    sent: dict[str, list[Sent]] = {"left": [], "right": []}

    def trade(client_id: str) -> None:
        with unlimited.logged_on(client_id) as client:
            for number in itertools.count(1):
                begin_ns = time.monotonic_ns()
                report = client.ask(order(number, quantity=1))
                sent[client_id].append(
                    Sent(begin_ns, time.monotonic_ns(), report["status"], report.get("reason"))
                )
                if done.is_set():
                    return

    def wait_for_more() -> None:
        counts = {client_id: len(orders) for client_id, orders in sent.items()}
        wait_until(
            lambda: all(len(sent[name]) >= count + 30 for name, count in counts.items()),
            "both have sent more orders",
        )

    threads = [threading.Thread(target=trade, args=(client_id,)) for client_id in sent]
    for thread in threads:
        thread.start()
    switches: list[tuple[int, int, bool]] = []
    try:
        wait_for_more()
        for halted in (True, False) * 5:
            before_ns = time.monotonic_ns()
            if halted:
                unlimited.halt_file.touch()
            else:
                unlimited.halt_file.unlink()
            switches.append((before_ns, time.monotonic_ns(), halted))
            wait_for_more()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    certain = 0
    for client_id in sent:
        for one in sent[client_id]:
            earlier = [halted for before_ns, _, halted in switches if before_ns < one.end_ns]
            surely = [halted for _, after_ns, halted in switches if after_ns < one.begin_ns]
            if len(earlier) == len(surely):
                halted = bool(surely) and surely[-1]
                expected = ("REJECTED", "halted") if halted else ("FILLED", None)
                assert (one.status, one.reason) == expected
                certain += 1
    assert certain >= 2 * 30 * len(switches)
    assert len(unlimited.events("trading_halted")) == 5
    assert len(unlimited.events("trading_resumed")) == 5


# --- what is logged of many orders


@pytest.mark.parametrize("count", [MAX_ORDER_EVENTS, MAX_ORDER_EVENTS + 1])
def test_above_100_orders_in_a_batch_there_is_one_event(unlimited: Manager, count: int) -> None:
    rejected = 3
    with unlimited.logged_on() as client:
        with unlimited.stopped():
            orders = [order(n, quantity=1) for n in range(1, count - rejected + 1)]
            orders += [order(1000 + n, symbol="TSLA") for n in range(rejected)]
            client.send(b"".join(json.dumps(message).encode() + b"*" for message in orders))
        reports = [client.hear() for _ in orders]
    assert [report["status"] for report in reports[-rejected:]] == ["REJECTED"] * rejected
    filled = count - rejected
    wait_until(lambda: len(unlimited.stack.output("order_manager")) >= filled, "it prints")
    # Lines are written in order, and an end of the connection comes last.
    unlimited.wait_for("client_disconnected", client_id="trader")
    batches = unlimited.events("orders_booked")
    fills, rejections = unlimited.events("order_filled"), unlimited.events("order_rejected")
    if count <= MAX_ORDER_EVENTS:
        assert (len(batches), len(fills), len(rejections)) == (0, filled, rejected)
        assert [event["trade_id"] for event in fills] == list(range(1, filled + 1))
    else:
        [batch] = batches
        assert (fills, rejections) == ([], [])
        assert (batch["filled"], batch["rejected"]) == (filled, rejected)
        assert (batch["first_trade_id"], batch["last_trade_id"]) == (1, filled)
        assert batch["first_rejection"] == "unknown symbol TSLA"
