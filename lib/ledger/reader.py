"""A consistent snapshot of a ledger, whether or not an order manager is running.

Everything is read within one transaction, so orders and positions agree. Rows are read lazily: a
ledger of any size takes the memory of one row, unless the caller collects them. The writer never
waits for a reader; but its WAL grows while a snapshot is open, so read quickly, and wait for
nothing meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from lib.ledger.files import files_of
from lib.ledger.rows import (
    SELECT_ORDERS,
    SELECT_POSITIONS,
    BookedOrder,
    BookedPosition,
    DamagedRowError,
    booked_order,
    booked_position,
)
from lib.ledger.schema import READ_LOCK_WAIT_S, LedgerError, ledger_error, open_for_reading
from lib.ledger.wal import mixture

MAX_DAMAGES: Final = 10
"""How many damages of a file are listed."""

_Utc = Annotated[datetime, msgspec.Meta(tz=True)]


@contextmanager
def read_ledger(path: Path, lock_wait_s: float = READ_LOCK_WAIT_S) -> Iterator[Snapshot]:
    """Open a snapshot of the ledger at `path`; read from it only inside the `with` block.

    `lock_wait_s` is the longest wait for an exclusive lock of another process. Raises
    FileNotFoundError, and LedgerError for what cannot be read, from the block too; the text is one
    human-readable line.
    """
    try:
        connection = open_for_reading(path, lock_wait_s)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"ledger {path}: not there; the order manager makes one when it starts"
        ) from None
    try:
        connection.execute("BEGIN")
        yield Snapshot(path, connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise ledger_error(path, error) from error
    except DamagedRowError as error:
        raise LedgerError(f"ledger {path}: {error}") from None
    finally:
        connection.close()


class Total(NamedTuple):
    """What all clients together hold of a symbol. Money in dollars."""

    symbol: str
    position: int
    cost: float
    realised: float


class ClientTotal(NamedTuple):
    """The orders, positions and profit of one client. Money in dollars."""

    filled: int = 0
    rejected: int = 0
    held: int = 0
    """The number of symbols in which it has a position."""
    realised: float = 0.0


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

    def totals(self) -> list[Total]:
        """Return what all clients together hold and have earned, by symbol, as floats."""
        return [
            Total(*row)
            for row in self._connection.execute(
                "SELECT symbol, sum(position), sum(cost + 0.0), sum(realised_profit + 0.0) "
                "FROM positions GROUP BY symbol"
            )
        ]

    def counts(self) -> tuple[int, int]:
        """Return how many orders are filled and how many rejected. Reads every order."""
        orders, filled = self._connection.execute(
            "SELECT count(*), count(trade_id) FROM orders"
        ).fetchone()
        return filled, orders - filled

    def of_clients(self, client_ids: Collection[str]) -> dict[str, ClientTotal]:
        """Return the totals of each of these clients, by client_id. Reads all their orders."""
        among = f"client_id IN ({', '.join('?' * len(client_ids))})"
        rows = self._connection.execute(
            "SELECT client_id, filled, orders - filled, coalesce(held, 0), coalesce(realised, 0.0) "
            "FROM (SELECT client_id, count(*) AS orders, count(trade_id) AS filled "
            f"FROM orders WHERE {among} GROUP BY client_id) "
            "LEFT JOIN (SELECT client_id, sum(position <> 0) AS held, "
            "sum(realised_profit + 0.0) AS realised "
            f"FROM positions WHERE {among} GROUP BY client_id) USING (client_id)",
            [*client_ids, *client_ids],
        )
        done = {client_id: ClientTotal(*total) for client_id, *total in rows}
        return {client_id: done.get(client_id, ClientTotal()) for client_id in client_ids}

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
