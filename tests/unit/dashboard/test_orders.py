"""Orders as the order manager logs them: one by one, or many in one line."""

from __future__ import annotations

from datetime import UTC, datetime

from lib.dashboard.log_lines import TimedEvent
from lib.dashboard.orders import KEPT, AnsweredOrders
from tests.log_lines import made


def line(event: str, **facts) -> TimedEvent:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return TimedEvent(at.timestamp(), "info", made(event, by="order_manager", **facts))


def test_the_newest_order_comes_first_with_its_reason():
    orders = AnsweredOrders()
    orders.take(line("order_filled", client_id="a", order_id=1, side="BUY", trade_id=9))
    orders.take(line("order_rejected", client_id="a", order_id=2, side="SELL", reason="too large"))
    newest, oldest = orders.latest()
    assert (newest.order_id, newest.status, newest.reason) == (2, "REJECTED", "too large")
    assert (oldest.order_id, oldest.status, oldest.trade_id) == (1, "FILLED", 9)


def test_many_in_one_line_are_one_entry():
    orders = AnsweredOrders()
    orders.take(line("orders_booked", filled=7000, rejected=3))
    orders.take(line("listening"))
    [entry] = orders.latest()
    assert entry.status == "BOOKED"
    assert entry.reason == "7,000 filled and 3 rejected at once"


def test_the_trades_of_a_symbol_are_its_fills_since_then():
    orders = AnsweredOrders()
    for number, symbol in enumerate(("AAPL", "MSFT", "AAPL")):
        client = f"client-{number}"
        price = 100.0 + number
        orders.take(line("order_filled", client_id=client, symbol=symbol, side="BUY", price=price))
    orders.take(line("order_rejected", symbol="AAPL"))
    at = orders.latest()[0].at
    trades = orders.trades("AAPL", at)
    assert [trade.price for trade in trades] == [100.0, 102.0]
    assert [trade.client_id for trade in trades] == ["client-0", "client-2"]
    assert orders.trades("AAPL", at + 1) == []


def test_only_the_latest_are_kept():
    orders = AnsweredOrders()
    for number in range(KEPT + 5):
        orders.take(line("order_filled", order_id=number))
    assert len(orders.latest()) == KEPT
    assert orders.latest()[-1].order_id == 5
