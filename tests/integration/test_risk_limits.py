"""Risk limits, the age of orders and the halt switch, through the wire of a real order manager.

Each refusal is the same for the client, for the ledger and for what is printed: a report that is
final, a row with the reason, and no line.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from lib.shared_memory_utils import SharedPriceBook, remove_segments
from tests.clients import OrderClient, order
from tests.helpers import wait_until
from tests.order_managers import RunningOrderManager
from tests.stack import PrivateStack

TTL_S = 1.0
SETTINGS = {
    "": {"symbols": ["AAPL", "MSFT"]},
    "order_manager": {"order_ttl": TTL_S},
    "risk": {"price_collar_percent": 10.0},
}


class Manager(RunningOrderManager):
    """An order manager, and the price book it looks at."""

    def __init__(self, stack: PrivateStack, process: subprocess.Popen[bytes]) -> None:
        super().__init__(stack, process)
        self.halt_file = stack.var_dir / "HALT"
        self.books = 0
        self._markers = itertools.count(10**6)

    def make_book(self, *symbols: str, aapl: float) -> SharedPriceBook:
        """Make the price book with this price, or replace the one of other symbols."""
        self.books += 1
        book = SharedPriceBook(symbols, self.stack.book_name, ring_capacity=4096)
        book.begin_epoch("tape-1")
        book.update("AAPL", aapl)
        wait_until(self._has_attached, "it has found the price book")
        return book

    def _has_attached(self) -> bool:
        """Whether it has found the latest book. It looks when it has an order to judge."""
        with self.connect() as client:
            client.ask(order(1, symbol="MSFT", quantity=1))
        return len(self.events("attached")) == self.books

    def row(self, client_id: str, order_id: int) -> dict[str, Any]:
        """What the ledger holds of an order."""
        with closing(sqlite3.connect(self.stack.var_dir / "orders.sqlite")) as connection:
            connection.row_factory = sqlite3.Row
            [row] = connection.execute(
                "SELECT * FROM orders WHERE client_id = ? AND order_id = ?", (client_id, order_id)
            )
            return dict(row)

    def all_printed(self) -> list[str]:
        """The lines printed for all orders answered so far."""
        marker = next(self._markers)
        with self.connect() as client:
            assert client.ask(order(marker, symbol="MSFT"))["status"] == "FILLED"
        last = f"Received Order {marker}: BUY 10 MSFT @ 173.20"
        wait_until(lambda: last in self.printed(), "it prints")
        return self.printed()


@pytest.fixture
def manager(stack: PrivateStack) -> Iterator[Manager]:
    process = stack.start_by_hand("order_manager")
    stack.wait_for_event("order_manager", "started")
    manager = Manager(stack, process)
    yield manager
    assert manager.process.poll() is None
    remove_segments(stack.book_name)


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
    assert not [line for line in manager.all_printed() if f"Order {order_id}:" in line]
    assert client.log_on(client_id)["last_order_id"] >= order_id


# --- limits


def test_an_order_for_an_unknown_symbol_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        sent = order(1, symbol="TSLA", tape="walk-1", tick_sequence=7)
        assert_rejected(manager, client, sent, "unknown symbol TSLA")


# --- the price collar


def test_the_price_collar_follows_the_price_book(manager: Manager) -> None:
    with manager.logged_on() as client:
        # No book, no collar.
        assert client.ask(order(1, price=5000))["status"] == "FILLED"
        with manager.make_book("AAPL", "MSFT", aapl=200.0) as book:
            assert_rejected(
                manager, client, order(2, price=220.00000001),
                "the price 220.00000001 is more than 10% from the latest, 200",
            )  # fmt: skip
            assert client.ask(order(3, price=220))["status"] == "FILLED"
            # A symbol without a price has no collar, and the latest price counts.
            assert client.ask(order(4, symbol="MSFT", price=5000))["status"] == "FILLED"
            book.update("AAPL", 5000.0)
            assert "from the latest, 5000" in client.ask(order(5, price=200))["reason"]
        with manager.make_book("MSFT", "AAPL", "GOOG", aapl=20.0):  # in the place of the first
            assert client.ask(order(6, price=20))["status"] == "FILLED"
            assert "from the latest, 20" in client.ask(order(7, price=200))["reason"]


# --- the age of an order


def test_an_order_that_waited_too_long_to_be_read_is_rejected(manager: Manager) -> None:
    with manager.logged_on() as client:
        with manager.stopped():
            sent_ns = time.monotonic_ns()
            client.tell(order(1, sent_ns=sent_ns))
            wait_until(lambda: time.monotonic_ns() > sent_ns + TTL_S * 10**9, "it is too old")
        assert "expired" in client.hear()["reason"]


# --- the halt switch


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
    assert not [line for line in manager.all_printed() if "Order 2:" in line]


def test_a_halt_from_before_the_start_counts(manager: Manager) -> None:
    manager.process.terminate()
    manager.process.wait(timeout=60)
    manager.halt_file.touch()
    manager.process = manager.stack.start_by_hand("order_manager")
    wait_until(lambda: len(manager.events("started")) == 2, "it has started again")
    with manager.logged_on() as client:
        assert client.ask(order(1))["reason"] == "halted"
