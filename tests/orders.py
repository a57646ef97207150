"""Orders of a strategy, and the answers to them."""

from __future__ import annotations

from lib.wire.order_messages import ExecutionReport, Order, make_order

PRICE = 173_20000000


def order(order_id: int, sent_ns: int) -> Order:
    """An order to buy 10 AAPL, decided without a position."""
    return make_order(
        order_id=order_id,
        symbol="AAPL",
        side="BUY",
        quantity=10,
        price=PRICE,
        position=0,
        sent_ns=sent_ns,
    )


def report(order: Order, status: str = "FILLED", position: int = 10) -> ExecutionReport:
    """The answer to an order, with the position after it."""
    return ExecutionReport(
        client_id="strategy",
        order_id=order.order_id,
        status=status,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        raw_price=order.raw_price,
        trade_id=7 if status == "FILLED" else None,
        position=position,
        reason=None if status == "FILLED" else "halted",
    )
