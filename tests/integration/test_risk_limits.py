"""Risk limits, the age of orders and the halt switch, through the wire of a real order manager."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lib.price_book.segment_files import segment_path
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


@pytest.fixture
def manager(stack: PrivateStack) -> Iterator[RunningOrderManager]:
    process = stack.start_by_hand("order_manager")
    stack.wait_for_event("order_manager", "started")
    yield RunningOrderManager(stack, process)
    remove_segments(stack.book_name)


@pytest.fixture
def client(manager: RunningOrderManager) -> Iterator[OrderClient]:
    with manager.logged_on() as client:
        yield client


def test_a_refusal_is_final_recorded_with_its_reason_and_not_printed(
    manager: RunningOrderManager, client: OrderClient
) -> None:
    sent = order(1, symbol="TSLA", tape="walk-1", tick_sequence=7)
    report = client.ask(sent)
    assert report["status"] == "REJECTED"
    assert "unknown symbol TSLA" in report["reason"]
    assert client.ask(sent) == report
    assert client.log_on("trader")["last_order_id"] == 1
    event = manager.wait_for("order_rejected", client_id="trader", order_id=1)
    assert event["reason"] == report["reason"]
    with closing(sqlite3.connect(manager.stack.var_dir / "orders.sqlite")) as ledger:
        [row] = ledger.execute(
            "SELECT order_id, symbol, price, status, reason, trade_id, tape, tick_sequence"
            " FROM orders"
        )
    assert row == (1, "TSLA", "173.2", "REJECTED", report["reason"], None, "walk-1", 7)
    client.ask(order(2))
    assert wait_until(manager.printed, "it prints") == ["Received Order 2: BUY 10 AAPL @ 173.20"]


def test_the_price_collar_follows_the_price_book(
    manager: RunningOrderManager, client: OrderClient
) -> None:
    def book(*symbols: str, aapl: float) -> SharedPriceBook:
        """Make the price book, or one of other symbols in its place; wait until it is found."""
        found = len(manager.events("attached"))
        made = SharedPriceBook(symbols, manager.stack.book_name, ring_capacity=4096)
        made.begin_epoch("tape-1")
        made.update("AAPL", aapl)

        def is_found() -> bool:  # it looks when it has an order to judge
            with manager.connect() as other:
                other.ask(order(1, symbol="MSFT", quantity=1))
            return len(manager.events("attached")) > found

        wait_until(is_found, "it has found the price book")
        return made

    # Started by hand, without a book: there is no collar, and it has said so.
    manager.wait_for("no_price_collar")
    assert client.ask(order(1, price=5000))["status"] == "FILLED"
    with book("AAPL", "MSFT", aapl=200.0) as first:
        refused = client.ask(order(2, price=220.00000001))["reason"]
        assert "the price 220.00000001 is more than 10% from the latest, 200" in refused
        assert client.ask(order(3, price=220))["status"] == "FILLED"
        # Without a price there is nothing to compare with.
        assert "MSFT has had no tick" in client.ask(order(4, symbol="MSFT", price=1))["reason"]
        first.update("AAPL", 5000.0)
        assert "from the latest, 5000" in client.ask(order(5, price=200))["reason"]
    with book("MSFT", "AAPL", "GOOG", aapl=20.0):
        assert client.ask(order(6, price=20))["status"] == "FILLED"
        assert "from the latest, 20" in client.ask(order(7, price=200))["reason"]
        segment_path(manager.stack.book_name).unlink()
        assert "there is no price book" in client.ask(order(8, price=20))["reason"]
    with book("AAPL", "MSFT", aapl=20.0):
        assert client.ask(order(9, price=20))["status"] == "FILLED"


def test_an_order_that_waited_too_long_to_be_read_is_rejected(
    manager: RunningOrderManager, client: OrderClient
) -> None:
    with manager.stopped():
        sent_ns = time.monotonic_ns()
        client.tell(order(1, sent_ns=sent_ns))
        wait_until(lambda: time.monotonic_ns() > sent_ns + TTL_S * 10**9, "it is too old")
    assert "expired" in client.hear()["reason"]


def test_while_the_halt_file_is_there_every_order_is_rejected_after_a_restart_too(
    manager: RunningOrderManager, client: OrderClient
) -> None:
    halt_file = manager.stack.var_dir / "HALT"
    report = client.ask(order(1))
    halt_file.touch()
    rejection = client.ask(order(2, side="SELL"))
    assert (rejection["status"], rejection["reason"]) == ("REJECTED", "halted")
    with manager.logged_on("another") as another:
        assert another.ask(order(1))["reason"] == "halted"
    # Looking things up is no trading.
    assert client.ask(order(1)) == report
    assert client.log_on("trader")["positions"] == {"AAPL": 10}
    halt_file.unlink()
    assert client.ask(order(3))["position"] == 20
    # What was rejected stays so.
    assert client.ask(order(2, side="SELL")) == rejection
    manager.wait_for("trading_resumed")
    assert len(manager.events("trading_halted")) == len(manager.events("trading_resumed")) == 1

    manager.process.terminate()
    manager.process.wait(timeout=60)
    halt_file.touch()
    manager.stack.start_by_hand("order_manager")
    wait_until(lambda: len(manager.events("started")) == 2, "it has started again")
    with manager.logged_on() as again:
        assert again.ask(order(4))["reason"] == "halted"
