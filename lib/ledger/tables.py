"""The ledger as human-readable tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lib.ledger.rows import BookedOrder, BookedPosition
from lib.prices import format_price
from lib.text import printable

_GAP: Final = "  "
_NUMBERS: Final = frozenset(
    {"order_id", "quantity", "price", "trade_id", "position", "average_price", "realised_profit"}
)
"""Columns that are right-aligned."""
_SECONDS: Final = len("2025-11-03T14:30:00")


def position_lines(positions: Iterable[BookedPosition]) -> Iterator[str]:
    """Return all positions, and their total profit."""
    rows = []
    profit = 0
    for booked in positions:
        average = "" if booked.average_price is None else format_price(booked.average_price)
        earned = _signed(booked.realised_profit)
        rows.append((booked.client_id, booked.symbol, f"{booked.position:,}", average, earned))
        profit += booked.realised_profit
    rows.append(("total", "", "", "", _signed(profit)))
    yield from _table(("client_id", "symbol", "position", "average_price", "realised_profit"), rows)


def order_lines(orders: Iterable[BookedOrder]) -> Iterator[str]:
    """Return orders, one a line, with times in whole seconds."""
    rows = [
        (
            order.received_utc[:_SECONDS],
            order.client_id,
            str(order.order_id),
            order.side,
            f"{order.quantity:,}",
            order.symbol,
            format_price(order.price),
            order.status,
            "" if order.trade_id is None else str(order.trade_id),
            f"{order.position:,}",
            order.reason or "",
        )
        for order in orders
    ]
    yield from _table(
        (
            *("received_utc", "client_id", "order_id", "side", "quantity", "symbol", "price"),
            *("status", "trade_id", "position", "reason"),
        ),
        rows,
    )


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [names, *([printable(text) for text in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for name, text, width in zip(names, line, widths, strict=True)
        )
        yield _GAP.join(cells).rstrip()


def _signed(units: int) -> str:
    return f"-{format_price(-units)}" if units < 0 else format_price(units)
