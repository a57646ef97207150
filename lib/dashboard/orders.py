"""The answered orders, from the order manager's log as it is written. Pure.

When many orders are answered at once, the log has one line for all of them (`orders_booked`), and
so does the page.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from lib.dashboard.log_lines import TimedEvent
from lib.dashboard.view import OrderView, Trade
from lib.process.log_events import OrderFilled, OrderRejected, OrdersBooked

KEPT: Final = 200
"""How many of the latest orders are kept."""
TRADES_KEPT: Final = 2_000
"""How many trades are kept for the courses: several times what the default settings make."""

BOOKED: Final = "BOOKED"


class AnsweredOrders:
    """The orders in the order manager's log."""

    def __init__(self) -> None:
        self._latest: deque[OrderView] = deque(maxlen=KEPT)
        self._trades: deque[tuple[str, Trade]] = deque(maxlen=TRADES_KEPT)

    def take(self, line: TimedEvent) -> None:
        """A line was written."""
        match line.event:
            case OrdersBooked() as booked:
                reason = f"{booked.filled:,} filled and {booked.rejected:,} rejected at once"
                view = OrderView(line.at, "", 0, "", "", 0, 0.0, BOOKED, reason, None, 0)
                self._latest.append(view)
            case OrderFilled() as order:
                trade = Trade(line.at, order.side, order.price, order.client_id)
                self._trades.append((order.symbol, trade))
                self._latest.append(_view(line.at, order, "FILLED", "", order.trade_id))
            case OrderRejected() as order:
                self._latest.append(_view(line.at, order, "REJECTED", order.reason or "", None))

    def latest(self) -> list[OrderView]:
        """Return the latest orders, the newest first."""
        return list(reversed(self._latest))

    @property
    def latest_at(self) -> float | None:
        """When the latest one was answered, in seconds since 1970; None if none is known."""
        return self._latest[-1].at if self._latest else None

    def trades(self, symbol: str, since: float) -> list[Trade]:
        """Return the fills of a symbol since then, the oldest first."""
        return [trade for of, trade in self._trades if of == symbol and trade.at >= since]


def _view(
    at: float, order: OrderFilled | OrderRejected, status: str, reason: str, trade_id: int | None
) -> OrderView:
    return OrderView(
        at=at,
        client_id=order.client_id,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        price=order.price,
        status=status,
        reason=reason,
        trade_id=trade_id,
        position=order.position or 0,
    )
