"""The rows of a ledger's tables. The fields are the columns, in their order (`schema.TABLES`).

Money is in units of 1e-8 here; in the tables it is an exact decimal.
"""

from __future__ import annotations

from typing import NamedTuple

from lib.order_messages import Side, Status


class BookedOrder(NamedTuple):
    """An order with its final answer."""

    client_id: str
    order_id: int
    symbol: str
    side: Side
    quantity: int
    price: int
    status: Status
    reason: str | None
    trade_id: int | None
    position: int
    tape: str | None
    tick_sequence: int | None
    sent_ns: int | None
    received_ns: int
    received_utc: str

    @property
    def signed_quantity(self) -> int:
        """What a fill adds to the position."""
        return self.quantity if self.side == "BUY" else -self.quantity


class BookedPosition(NamedTuple):
    """What a client holds of a symbol."""

    client_id: str
    symbol: str
    position: int
    cost: int
    average_price: int | None
    realised_profit: int
