"""What is looked at before a ledger is traded on: its pages, and its positions against its fills.

A start must be quick, and a ledger may be large. So all pages are checked while they are few, and
all columns of the positions while the fills are few. Beyond that the quantities are still compared
with the last fills, always. `python -m lib.ledger --check` compares everything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lib.ledger.check import position_differences, position_name
from lib.ledger.positions import Position
from lib.ledger.replay import replay
from lib.ledger.rows import (
    SELECT_ORDERS,
    SELECT_POSITIONS,
    BookedPosition,
    booked_count,
    booked_order,
    booked_position,
)
from lib.ledger.schema import DamagedLedgerError, command

MAX_QUICK_CHECK_BYTES: Final = 16 * 1024 * 1024
"""The largest ledger whose pages are all checked."""
MAX_REPLAYED: Final = 5_000
"""How many fills are replayed, the last ones."""

_LAST_FILLS: Final = f"{SELECT_ORDERS} WHERE trade_id > ? ORDER BY trade_id"
_LAST_FILLS_OF_CLIENT: Final = (
    "SELECT symbol, position, max(trade_id) FROM orders"
    " WHERE client_id = ? AND trade_id IS NOT NULL GROUP BY symbol"
)


def check_at_start(path: Path, connection: sqlite3.Connection) -> None:
    """Raise DamagedLedgerError or DamagedRowError if it is not as an order manager left it."""
    if reason := damage(connection):
        raise DamagedLedgerError(f"ledger {path}: damaged: {reason}")
    if found := list(differences(connection)):
        more = f" and {len(found) - 1:,} more differences" if found[1:] else ""
        rebuild = command(path, "--rebuild-positions")
        cure = f"go on with what the fills say: {rebuild}"
        raise DamagedLedgerError(f"ledger {path}: {found[0]}{more}", cure)


def damage(connection: sqlite3.Connection) -> str:
    """Return what is wrong with the pages, in SQLite's words, if they are few; "" if nothing is."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    if pages * page_bytes > MAX_QUICK_CHECK_BYTES:
        return ""
    (text,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    lines = [line for line in text.splitlines() if line != "*** in database main ***"]
    return "" if lines == ["ok"] else " ".join(lines)


def differences(connection: sqlite3.Connection) -> Iterator[str]:
    """Return where the positions are not what the last fills say. Raises DamagedRowError."""
    (last,) = connection.execute("SELECT max(trade_id) FROM orders").fetchone()
    before = max(0, booked_count(last, "trade_id") - MAX_REPLAYED)
    replayed = replay(map(booked_order, connection.execute(_LAST_FILLS, (before,))))
    booked = booked_positions(connection)
    if not before:
        yield from all_differences(booked, replayed)
        return
    quantities = _older(connection, {client_id for client_id, _ in booked.keys() - replayed.keys()})
    quantities |= {key: position.quantity for key, position in replayed.items()}
    for key in sorted(booked.keys() | quantities.keys()):
        yield from _quantity_difference(key, booked.get(key), quantities.get(key))


def booked_positions(connection: sqlite3.Connection) -> dict[tuple[str, str], BookedPosition]:
    """Return all positions by client_id and symbol. Raises DamagedRowError."""
    rows = map(booked_position, connection.execute(SELECT_POSITIONS))
    return {(position.client_id, position.symbol): position for position in rows}


def all_differences(
    booked: dict[tuple[str, str], BookedPosition], replayed: dict[tuple[str, str], Position]
) -> Iterator[str]:
    """Return where the booked positions are not, in any column, what all fills lead to."""
    for key in sorted(booked.keys() | replayed.keys()):
        yield from position_differences(key, booked.get(key), replayed.get(key))


def _older(connection: sqlite3.Connection, client_ids: set[str]) -> dict[tuple[str, str], int]:
    """Return the positions that the last fills of these clients state."""
    return {
        (client_id, symbol): position
        for client_id in client_ids
        for symbol, position, _ in connection.execute(_LAST_FILLS_OF_CLIENT, (client_id,))
    }


def _quantity_difference(
    key: tuple[str, str], booked: BookedPosition | None, stated: int | None
) -> Iterator[str]:
    if booked is None or stated is None:
        yield from position_differences(key, booked, None if stated is None else Position(stated))
    elif booked.position != stated:
        yield f"{position_name(key)}: position is {booked.position}, the last fill says {stated}"
