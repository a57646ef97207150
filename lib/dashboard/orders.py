"""The answered orders, from the order manager's log as it is written. Pure.

When many orders are answered at once, the log has one line for all of them (`orders_booked`), and
so does the page.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from lib.dashboard.log_lines import LogLine
from lib.dashboard.view import OrderView, Trade

KEPT: Final = 200
"""How many of the latest orders are kept."""
TRADES_KEPT: Final = 2_000
"""How many trades are kept for the courses: several times what the default settings make."""

BOOKED: Final = "BOOKED"
_STATUS: Final = {"order_filled": "FILLED", "order_rejected": "REJECTED", "orders_booked": BOOKED}


class AnsweredOrders:
    """The orders in the order manager's log."""

    def __init__(self) -> None:
        self._latest: deque[OrderView] = deque(maxlen=KEPT)
        self._trades: deque[tuple[str, Trade]] = deque(maxlen=TRADES_KEPT)

    def take(self, line: LogLine) -> None:
        """Take a line of the log."""
        status = _STATUS.get(line.event)
        if status is None:
            return
        reason = line.reason
        if status == BOOKED:
            reason = f"{line.filled:,} filled and {line.rejected:,} rejected at once"
        elif status == "FILLED":
            trade = Trade(line.at, line.side, line.price, line.client_id)
            self._trades.append((line.symbol, trade))
        self._latest.append(
            OrderView(
                at=line.at,
                client_id=line.client_id,
                order_id=line.order_id,
                symbol=line.symbol,
                side=line.side,
                quantity=line.quantity,
                price=line.price,
                status=status,
                reason=reason,
                trade_id=line.trade_id,
                position=line.position,
            )
        )

    def latest(self) -> list[OrderView]:
        """Return the latest orders, the newest first."""
        return list(reversed(self._latest))

    def trades(self, symbol: str, since: float) -> list[Trade]:
        """Return the fills of a symbol since then, the oldest first."""
        return [trade for of, trade in self._trades if of == symbol and trade.at >= since]
