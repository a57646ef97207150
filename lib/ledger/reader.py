"""A consistent snapshot of a ledger, whether or not an order manager is running.

Everything is read within one transaction, so orders and positions agree. Rows are read lazily: a
ledger of any size takes the memory of one row, unless the caller collects them. The writer never
waits for a reader; but its WAL grows while a snapshot is open, so read quickly, and wait for
nothing meanwhile.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from lib.ledger.files import files_of
from lib.ledger.journal import JournalPlace, place_in
from lib.ledger.rows import (
    SELECT_ORDERS,
    SELECT_POSITIONS,
    BookedOrder,
    BookedPosition,
    DamagedRowError,
    Holding,
    booked_holdings,
    booked_order,
    booked_position,
)
from lib.ledger.schema import READ_LOCK_WAIT_S, LedgerError, ledger_error, open_for_reading
from lib.ledger.wal import mixture

MAX_DAMAGES: Final = 10
"""How many damages of a file are listed."""

STEPS_A_CHECK: Final = 10_000
"""After how many steps of SQLite's machine, some 0.1 ms, the time limit is checked."""

_Utc = Annotated[datetime, msgspec.Meta(tz=True)]


@contextmanager
def read_ledger(
    path: Path, lock_wait_s: float = READ_LOCK_WAIT_S, time_limit_s: float = math.inf
) -> Iterator[Snapshot]:
    """Open a snapshot of the ledger at `path`; read from it only inside the `with` block.

    `lock_wait_s` is the longest wait for an exclusive lock of another process, and `time_limit_s`
    how long all reading may take. Raises FileNotFoundError, and LedgerError for what cannot be
    read, from the block too; the text is one human-readable line.
    """
    try:
        connection = open_for_reading(path, lock_wait_s)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"ledger {path}: not there; the order manager makes one when it starts"
        ) from None
    end_s = time.monotonic() + time_limit_s
    connection.set_progress_handler(lambda: time.monotonic() > end_s, STEPS_A_CHECK)
    try:
        connection.execute("BEGIN")
        yield Snapshot(path, connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise ledger_error(path, error) from error
    except DamagedRowError as error:
        raise LedgerError(f"ledger {path}: {error}") from None
    finally:
        connection.close()


class Counted(NamedTuple):
    """Some orders of one client."""

    client_id: str
    orders: int
    last: int
    """The highest number among them."""


class Fact(NamedTuple):
    """Something about the ledger as a whole."""

    name: str
    value: object


class Snapshot:
    """A ledger at one moment. Made by `read_ledger`, which documents the errors."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        value = self._one("SELECT max(value) FROM facts WHERE name = 'created_utc'")
        try:
            self.created_utc: datetime = msgspec.convert(value, _Utc)
        except msgspec.ValidationError:
            raise LedgerError(f"ledger {path}: does not say when it was created") from None

    def order_count(self) -> int:
        """How many orders there are."""
        count: int = self._one("SELECT count(*) FROM orders")
        return count

    def orders(self) -> Iterator[BookedOrder]:
        """All orders, by client_id and order_id."""
        return self._orders("ORDER BY client_id, order_id")

    def fills(self) -> Iterator[BookedOrder]:
        """The filled orders, by trade_id."""
        return self._orders("WHERE status = 'FILLED' ORDER BY trade_id")

    def latest_orders(self, count: int) -> list[BookedOrder]:
        """Return the `count` orders received last, the latest one last."""
        latest = self._orders(f"ORDER BY received_utc DESC, order_id DESC LIMIT {count}")
        return list(latest)[::-1]

    def positions(self) -> Iterator[BookedPosition]:
        """All positions, by client_id and symbol."""
        rows = self._connection.execute(f"{SELECT_POSITIONS} ORDER BY client_id, symbol")
        return map(booked_position, rows)

    def journal_place(self) -> JournalPlace | None:
        """Return how much of its journal the ledger has; None if it has none."""
        return place_in(self._connection)

    def facts(self) -> Iterator[Fact]:
        """The facts that follow from a journal, by name."""
        rows = self._connection.execute(
            "SELECT name, value FROM facts WHERE name NOT IN ('created_utc', 'commits') "
            "ORDER BY name"
        )
        return (Fact(*row) for row in rows)

    def holdings(self, after: tuple[str, str], limit: int) -> list[Holding]:
        """Return the next `limit` positions after this client_id and symbol, in that order."""
        rows = self._connection.execute(
            "SELECT client_id, symbol, position, cost + 0.0, realised_profit + 0.0 FROM positions "
            "WHERE (client_id, symbol) > (?, ?) ORDER BY client_id, symbol LIMIT ?",
            (*after, limit),
        ).fetchall()
        return booked_holdings(rows)

    def fill_count(self) -> int:
        """Return how many orders are filled: the last trade_id, as they count without a gap."""
        last: int = self._one("SELECT coalesce(CAST(max(trade_id) AS INTEGER), 0) FROM orders")
        return last

    def count_fills(self, after: int, limit: int) -> list[Counted]:
        """Count the next `limit` fills after this trade_id, by client; `last` is a trade_id."""
        rows = self._connection.execute(
            "SELECT client_id, count(*), CAST(max(trade_id) AS INTEGER) FROM (SELECT client_id, "
            "trade_id FROM orders WHERE trade_id > ? ORDER BY trade_id LIMIT ?) GROUP BY client_id",
            (after, limit),
        )
        return [Counted(*row) for row in rows]

    def count_rejections(self, after: tuple[str, int], limit: int) -> list[Counted]:
        """Count the next `limit` rejected orders after this identity, by client and in that order.

        The identity is client_id and order_id, and `last` an order_id.
        """
        rows = self._connection.execute(
            # The index on trade_id begins with them, in the order of identity.
            "SELECT client_id, count(*), max(order_id) FROM (SELECT client_id, order_id "
            "FROM orders INDEXED BY sqlite_autoindex_orders_1 "
            "WHERE trade_id IS NULL AND (client_id, order_id) > (?, ?) "
            "ORDER BY client_id, order_id LIMIT ?) GROUP BY client_id ORDER BY client_id",
            (*after, limit),
        )
        return [Counted(*row) for row in rows]

    def damages(self) -> list[str]:
        """Return what is wrong with the files, their pages and indices, one a line."""
        if reason := mixture(files_of(self._path), self._connection):
            return [reason]
        rows = self._connection.execute(f"PRAGMA integrity_check({MAX_DAMAGES})")
        lines = (line for (text,) in rows for line in text.splitlines())
        damages = [line for line in lines if line not in ("ok", "*** in database main ***")]
        return damages[:MAX_DAMAGES]

    def _orders(self, which: str) -> Iterator[BookedOrder]:
        return map(booked_order, self._connection.execute(f"{SELECT_ORDERS} {which}"))

    def _one(self, query: str) -> Any:
        (value,) = self._connection.execute(query).fetchone()
        return value
