"""The prices of the order manager's collar, and why there is none."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from daemons import order_manager
from daemons.order_manager import LatestPrices
from lib.price_book import own_price_book
from lib.price_book.segment_files import segment_path
from lib.process.run_identity import current_run
from lib.process.supervisor import SERVER_VARIABLE, Process, SupervisorSilentError
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook, remove_segments

BY_HAND = "this order manager was started by hand"
NO_BOOK = "there is no price book"
NO_COLLAR = "price_collar_percent is not checked"
AT_COST = "max_loss counts what is held at its cost"


@pytest.fixture
def settings() -> Iterator[Settings]:
    name = f"test-prices-{os.getpid()}-{secrets.token_hex(4)}"
    replace, defaults = msgspec.structs.replace, Settings()
    yield replace(defaults, price_book=replace(defaults.price_book, name=name))
    remove_segments(name)


def make_book(settings: Settings) -> SharedPriceBook:
    return SharedPriceBook(
        ("AAPL", "MSFT"), settings.price_book.name, ring_capacity=64, run=current_run()
    )


def look(prices: LatestPrices, symbol: str = "AAPL") -> int | str | None:
    """Look up a price in the next pass."""
    prices.begin_pass(0)
    return prices.get(symbol)


def supervise(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    """Be a role of a supervisord with these programs; without any it does not answer."""

    def processes(_: object) -> list[Process]:
        if not programs:
            raise SupervisorSilentError("no answer")
        return [Process(program, "RUNNING", 1) for program in programs]

    for module in (order_manager, own_price_book):
        monkeypatch.setattr(module, "is_supervised", lambda: True)
    monkeypatch.setattr(order_manager.Supervisor, "processes", processes)
    monkeypatch.setenv(SERVER_VARIABLE, "unix:///nowhere/supervisor.sock")


def reasons(logs: list[Any]) -> list[str]:
    return [entry["reason"] for entry in logs if entry["event"] == "no_price_collar"]


def with_limits(settings: Settings, **limits: float) -> Settings:
    replace = msgspec.structs.replace
    return replace(settings, risk=replace(settings.risk, **limits))


@pytest.mark.parametrize(
    ("collar", "max_loss", "weaker"),
    [
        (50.0, 0.0, NO_COLLAR),
        (0.0, 1.0, AT_COST),
        (50.0, 1.0, f"{NO_COLLAR} and {AT_COST}"),
    ],
)
def test_started_by_hand_without_a_price_book_there_are_no_prices_and_that_is_said(
    settings: Settings, collar: float, max_loss: float, weaker: str
) -> None:
    settings = with_limits(settings, price_collar_percent=collar, max_loss=max_loss)
    with capture_logs() as logs:
        prices = LatestPrices(settings, 0)
        assert look(prices) is None
    assert reasons(logs) == [f"{BY_HAND}; until there is a price book, {weaker}"]
    # Once there has been a price book, prices are needed for good.
    with make_book(settings) as book:
        assert look(prices) == "AAPL has had no tick"
        book.update("AAPL", 2)
        assert look(prices) == 2 * 10**8
        assert look(prices, "TSLA") == "the price book has no symbol TSLA"
    segment_path(settings.price_book.name).unlink()
    assert look(prices) == NO_BOOK  # at once, not at the last price of a lost book


def test_limits_that_are_switched_off_need_no_price_book(settings: Settings) -> None:
    with capture_logs() as logs:
        LatestPrices(with_limits(settings, price_collar_percent=0.0, max_loss=0.0), 0)
    assert logs == []


@pytest.mark.parametrize(
    ("programs", "said", "price"),
    [
        (
            ("gateway", "order_manager"),
            [f"supervisord has no program orderbook; until there is a price book, {NO_COLLAR}"],
            None,
        ),
        (("orderbook", "order_manager"), [], NO_BOOK),
        ((), [], NO_BOOK),
    ],
    ids=["without an orderbook", "with one", "not known"],
)
def test_in_a_stack_with_an_orderbook_no_price_book_means_no_orders(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, programs, said, price
) -> None:
    supervise(monkeypatch, *programs)
    with capture_logs() as logs:
        prices = LatestPrices(settings, 0)
        assert look(prices) == price
    assert reasons(logs) == said


def test_a_price_book_that_cannot_be_used_is_the_reason(settings: Settings) -> None:
    segment_path(settings.price_book.name).write_bytes(b"nonsense" * 100)
    with capture_logs() as logs:
        price = look(LatestPrices(settings, 0))
    assert isinstance(price, str)
    assert f"{settings.price_book.name} is no price book" in price
    assert reasons(logs) == []
