"""The loss limit of a real order manager: by its price book, across a restart, until lifted."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lib.price_book.clean_up import remove_segments
from lib.price_book.segment_files import segment_path
from lib.shared_memory_utils import SharedPriceBook
from tests.clients import order
from tests.helpers import wait_until
from tests.order_managers import RunningOrderManager
from tests.stack import PrivateStack

SETTINGS = {"": {"symbols": ["AAPL"]}, "risk": {"max_loss": 100.0, "price_collar_percent": 0.0}}


@pytest.fixture
def book(stack: PrivateStack) -> Iterator[SharedPriceBook]:
    with SharedPriceBook(("AAPL",), stack.book_name, ring_capacity=4096) as book:
        book.begin_epoch("tape-1")
        book.update("AAPL", 200.0)
        yield book
    remove_segments(stack.book_name)


@pytest.fixture
def manager(book: SharedPriceBook, stack: PrivateStack) -> RunningOrderManager:
    process = stack.start_by_hand("order_manager")
    stack.wait_for_event("order_manager", "started")
    return RunningOrderManager(stack, process)


def test_a_client_at_its_limit_reduces_until_a_person_removes_its_file(
    manager: RunningOrderManager, book: SharedPriceBook
) -> None:
    file = manager.stack.var_dir / "LOSS_LIMIT-trader"
    with manager.logged_on() as client:
        assert client.ask(order(1, quantity=20, price=200))["status"] == "FILLED"
        manager.wait_for("attached")
        book.update("AAPL", 195.0)
        assert client.ask(order(2, quantity=1, price=195))["status"] == "FILLED"
        book.update("AAPL", 194.99)  # 20 shares 5.01 each, and one 0.01
        refused = client.ask(order(3, quantity=1, price=195))
        assert refused["reason"].startswith(
            "trader has reached max_loss: its loss is 100.21 and the limit 100;"
        )
        assert client.ask(order(4, side="SELL", quantity=1, price=195))["position"] == 20
    reached = manager.wait_for("loss_limit_reached")
    assert (reached["client_id"], reached["loss"], reached["limit"]) == ("trader", 100.21, 100.0)
    assert file.is_file()

    manager.process.send_signal(signal.SIGKILL)
    manager.process.wait(timeout=60)
    book.update("AAPL", 300.0)  # no recovery lifts it
    manager.stack.start_by_hand("order_manager")
    wait_until(lambda: len(manager.events("started")) == 2, "it has started again")
    wait_until(lambda: len(manager.events("loss_limit_reached")) == 2, "it says so again")
    with manager.logged_on() as client:
        assert client.ask(order(5, quantity=1, price=300))["status"] == "REJECTED"
        with manager.logged_on("other") as other:
            assert other.ask(order(1, price=300))["status"] == "FILLED"
        file.unlink()
        assert client.ask(order(6, quantity=1, price=300))["status"] == "FILLED"
        manager.wait_for("loss_limit_lifted", client_id="trader")
        book.update("AAPL", 295.0)  # 21 shares 5 each: counted from there, and not from the start
        assert client.ask(order(7, quantity=1, price=295))["status"] == "REJECTED"
        wait_until(file.is_file, "the limit is reached again")


def test_without_the_price_book_a_client_only_reduces(
    manager: RunningOrderManager, book: SharedPriceBook
) -> None:
    with manager.logged_on() as client:
        assert client.ask(order(1, quantity=2, price=200))["status"] == "FILLED"
        segment_path(manager.stack.book_name).unlink()
        refused = client.ask(order(2, quantity=1, price=200))
        assert refused["reason"] == "no price to judge the loss by: there is no price book"
        assert client.ask(order(3, side="SELL", quantity=1, price=200))["position"] == 1
    assert manager.events("no_price_collar") == []  # nothing was filled without a price
