"""The positions that the fills lead to. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from lib.ledger.positions import Position
from lib.ledger.rows import BookedOrder


def replay(fills: Iterable[BookedOrder]) -> dict[tuple[str, str], Position]:
    """Return each position by client_id and symbol; `fills` are in the order of trade_id.

    Where fills are missing, the position that the next one states counts, and what is missing is
    taken at the price of that one. So the last fills give the quantities of all of them.
    """
    held: dict[tuple[str, str], Position] = {}
    for fill in fills:
        key = fill.client_id, fill.symbol
        position = held.get(key, Position())
        missing = fill.position - fill.signed_quantity - position.quantity
        if missing:
            position = position.after(missing, fill.price)
        held[key] = position.after(fill.signed_quantity, fill.price)
    return held
