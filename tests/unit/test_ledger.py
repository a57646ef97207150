"""The ledger: what was booked is found again, positions add up, and memory has a bound."""

from __future__ import annotations

import pytest
from msgspec import Raw

from lib import ledger as ledger_module
from lib.ledger import Ledger
from lib.order_messages import ExecutionReport


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def report(client_id: str, order_id: int, position: int = 0, **changes: object) -> ExecutionReport:
    fields = {"symbol": "AAPL", "side": "BUY", "quantity": 10, "status": "FILLED"}
    return ExecutionReport(
        client_id=client_id,
        order_id=order_id,
        position=position,
        raw_price=Raw(b"173.2"),
        **(fields | changes),
    )


def test_a_new_ledger_knows_nobody(ledger):
    assert ledger.find("x", 1) is None
    assert ledger.position("x", "AAPL") == 0
    assert ledger.positions("x") == {}
    assert ledger.last_order_id("x") == 0


def test_an_order_is_found_by_client_and_number_and_by_nothing_less(ledger):
    booked = report("x", 7)
    ledger.record(booked)
    assert ledger.find("x", 7) is booked
    assert ledger.find("x", 8) is None
    assert ledger.find("y", 7) is None


def test_a_fill_moves_the_position_of_its_client_and_symbol_only(ledger):
    ledger.record(report("x", 1, position=10))
    ledger.record(report("x", 2, position=-10, symbol="MSFT", side="SELL"))
    assert ledger.positions("x") == {"AAPL": 10, "MSFT": -10}
    assert ledger.position("x", "MSFT") == -10
    assert ledger.position("x", "GOOG") == 0
    assert ledger.positions("y") == {}


def test_a_rejection_is_remembered_and_moves_nothing(ledger):
    ledger.record(report("x", 1, position=10))
    ledger.record(report("x", 2, position=99, status="REJECTED"))
    assert ledger.position("x", "AAPL") == 10
    assert ledger.find("x", 2).status == "REJECTED"
    assert ledger.last_order_id("x") == 2


def test_a_position_that_has_returned_to_zero_is_none(ledger):
    ledger.record(report("x", 1, position=10))
    ledger.record(report("x", 2, position=0, side="SELL"))
    assert ledger.positions("x") == {}


def test_the_last_order_id_is_the_highest_not_the_latest(ledger):
    ledger.record(report("x", 9))
    ledger.record(report("x", 4))
    assert ledger.last_order_id("x") == 9


def test_trade_ids_count_on_over_all_clients(ledger):
    assert [ledger.next_trade_id() for _ in range(3)] == [1, 2, 3]


def test_a_forgotten_client_holds_nothing(ledger):
    ledger.record(report("anonymous-1", 5, position=10))
    ledger.record(report("x", 1, position=10))
    ledger.forget("anonymous-1")
    ledger.forget("nobody")
    assert ledger.positions("anonymous-1") == {}
    assert ledger.last_order_id("anonymous-1") == 0
    assert ledger.find("anonymous-1", 5) is None
    assert ledger.positions("x") == {"AAPL": 10}


def test_only_the_latest_orders_are_remembered_but_every_position_is(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_REMEMBERED_ORDERS", 3)
    for order_id in range(1, 6):
        ledger.record(report("x", order_id, position=10 * order_id))
    assert [n for n in range(1, 6) if ledger.find("x", n)] == [3, 4, 5]
    assert ledger.position("x", "AAPL") == 50
    assert ledger.last_order_id("x") == 5


def test_one_client_cannot_make_another_forgotten(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_REMEMBERED_ORDERS", 3)
    ledger.record(report("x", 1))
    for order_id in range(1, 10):
        ledger.record(report("y", order_id))
    assert ledger.find("x", 1) is not None
    assert ledger.is_forgotten("y", 6)
    assert not ledger.is_forgotten("y", 7)
    assert not ledger.is_forgotten("y", 10)
    assert not ledger.is_forgotten("x", 1)
