"""The rows of a ledger's tables: the fields are the columns, in their order (`schema.TABLES`).

Money is in units of 1e-8 here, and an exact decimal in the tables.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from lib.prices import units_of
from lib.wire.order_fields import Side
from lib.wire.order_messages import Status


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
    """A client's position in a symbol."""

    client_id: str
    symbol: str
    position: int
    cost: int
    average_price: int | None
    realised_profit: int


Holding = tuple[str, str, int, float, float]
"""A client_id, a symbol, a position, its cost and the realised profit, in dollars."""

SELECT_ORDERS: Final = f"SELECT {', '.join(BookedOrder._fields)} FROM orders"
SELECT_POSITIONS: Final = f"SELECT {', '.join(BookedPosition._fields)} FROM positions"

_NOT_AS_BOOKED: Final = (ValueError, TypeError, msgspec.ValidationError)


class DamagedRowError(Exception):
    """A row is not as an order manager writes it. The text names the row, on one line."""


def booked_order(row: tuple[Any, ...]) -> BookedOrder:
    """Convert a row of SELECT_ORDERS to an order. Raises DamagedRowError."""
    try:
        return msgspec.convert((*row[:5], units_of(row[5]), *row[6:]), BookedOrder)
    except _NOT_AS_BOOKED as error:
        raise _damaged(f"order {row[1]!r} of {row[0]!r}", error) from None


def booked_position(row: tuple[Any, ...]) -> BookedPosition:
    """Convert a row of SELECT_POSITIONS to a position. Raises DamagedRowError."""
    client_id, symbol, position, cost, average, realised = row
    try:
        average = None if average is None else units_of(average)
        values = (client_id, symbol, position, units_of(cost), average, units_of(realised))
        return msgspec.convert(values, BookedPosition)
    except _NOT_AS_BOOKED as error:
        raise _damaged(f"the position of {client_id!r} in {symbol!r}", error) from None


def booked_holdings(rows: list[tuple[Any, ...]]) -> list[Holding]:
    """Check rows of holdings. Raises DamagedRowError."""
    try:
        return msgspec.convert(rows, list[Holding])
    except msgspec.ValidationError as error:
        raise _damaged("a position", error) from None


def booked_count(value: Any, what: str) -> int:
    """Convert a value to a count; NULL is 0. Raises DamagedRowError."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise DamagedRowError(f"{what} is not as an order manager books: {value!r:.40}")
    return value


def _damaged(what: str, error: Exception) -> DamagedRowError:
    reason, _, _ = str(error).partition(" - at ")  # the number of a column is no help
    return DamagedRowError(f"{what} is not as an order manager books: {reason}")
