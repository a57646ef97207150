"""What is looked at before a ledger is traded on: its pages, and its positions against its fills.

A start must be quick, and a ledger may be large. So all pages are checked while they are few, and
all columns of the positions while the fills are few. Beyond that the quantities are still compared:
of what the last fills moved, always; of older positions, as many as there is time for, and none of
clients without a logon, who never come back. `python -m lib.ledger --check` compares everything.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lib.ledger.check import position_differences, position_name
from lib.ledger.positions import Position
from lib.ledger.reader import STEPS_A_CHECK
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
from lib.wire.order_messages import ANONYMOUS

MAX_QUICK_CHECK_BYTES: Final = 16 * 1024 * 1024
"""The largest ledger whose pages are all checked."""
MAX_REPLAYED: Final = 5_000
"""How many fills are replayed, the last ones."""
MAX_OLDER_S: Final = 1.0
"""How long older positions are compared, in the order of their clients' names. A client takes 0.3 s
for each million of its orders."""

_LAST_FILLS: Final = f"{SELECT_ORDERS} WHERE trade_id > ? ORDER BY trade_id"
_POSITION: Final = f"{SELECT_POSITIONS} WHERE client_id = ? AND symbol = ?"
_POSITIONS_OF_CLIENT: Final = f"{SELECT_POSITIONS} WHERE client_id = ?"
_NEXT_CLIENT: Final = "SELECT min(client_id) FROM positions WHERE client_id > ?"
_AFTER_ANONYMOUS: Final = f"{ANONYMOUS}:"
"""Sorts after all clients without a logon: a colon comes after the digits."""
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
    if not before:
        yield from all_differences(booked_positions(connection), replayed)
        return
    for key, position in sorted(replayed.items()):
        row = connection.execute(_POSITION, key).fetchone()
        yield from _quantity_difference(key, row and booked_position(row), position.quantity)
    with _time_limit(connection, MAX_OLDER_S) as has_time:
        client_id = ""
        while has_time() and (client_id := _next_client(connection, client_id)) is not None:
            yield from _older_differences(connection, client_id, replayed.keys())


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


def _next_client(connection: sqlite3.Connection, after: str) -> Any:
    """Return the next client that can log on again and has a position, None if there is none."""
    (client_id,) = connection.execute(_NEXT_CLIENT, (after,)).fetchone()
    if isinstance(client_id, str) and client_id.startswith(ANONYMOUS):
        (client_id,) = connection.execute(_NEXT_CLIENT, (_AFTER_ANONYMOUS,)).fetchone()
    return client_id


def _older_differences(
    connection: sqlite3.Connection, client_id: str, compared: Collection[tuple[str, str]]
) -> list[str]:
    """Return where the further positions of a client are not what its last fills state."""
    rows = map(booked_position, connection.execute(_POSITIONS_OF_CLIENT, (client_id,)))
    booked = {position.symbol: position for position in rows}
    if all((client_id, symbol) in compared for symbol in booked):
        return []
    stated = {
        symbol: position
        for symbol, position, _ in connection.execute(_LAST_FILLS_OF_CLIENT, (client_id,))
    }
    return [
        difference
        for symbol in sorted(booked.keys() | stated.keys())
        if (client_id, symbol) not in compared
        for difference in _quantity_difference(
            (client_id, symbol), booked.get(symbol), stated.get(symbol)
        )
    ]


@contextmanager
def _time_limit(connection: sqlite3.Connection, limit_s: float) -> Iterator[Callable[[], bool]]:
    """End the block when the time is over, within a query too; gives whether there is time left."""
    end_s = time.monotonic() + limit_s
    connection.set_progress_handler(lambda: time.monotonic() > end_s, STEPS_A_CHECK)
    try:
        yield lambda: time.monotonic() <= end_s
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        connection.set_progress_handler(None, 0)


def _quantity_difference(
    key: tuple[str, str], booked: BookedPosition | None, stated: int | None
) -> Iterator[str]:
    if booked is None or stated is None:
        yield from position_differences(key, booked, None if stated is None else Position(stated))
    elif booked.position != stated:
        yield f"{position_name(key)}: position is {booked.position}, the last fill says {stated}"
