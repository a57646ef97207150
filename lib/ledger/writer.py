"""The order manager's access to the ledger: look up, record, commit.

Recording is in memory; `commit` writes everything recorded as one transaction, which is on disk
when it returns. The positions and the last order_id of a client stay in memory once they were read,
so that booking a new order reads nothing. An order_id above the last one is new; only others are
looked up in the file.

Any failure of the file becomes one LedgerError, and nothing recorded since the last commit is
booked: the memory is cleared, the file is closed, and the next use opens and reads it again. (Only
on a full disk it stays open, to keep the space that it has.) So every failure is handled alike, and
the ledger works again as soon as the cause is gone.

But only the file that this process has opened first is written: if that is removed or replaced, the
ledger is lost. It stays open, so that it can be saved, and nothing is booked until it is back or
the operator restarts the order manager. To go on in another file, which may be empty, would forget
positions and order_ids.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn, cast

import structlog
from msgspec import Raw

from lib.ledger.files import MAX_READERS_NAMED, files_of, readers_of, size_of
from lib.ledger.journal import (
    DIGEST_FACT,
    SEQUENCE_FACT,
    JournalEntry,
    JournalPlace,
    OrderRow,
    place_in,
)
from lib.ledger.loss_marks import CLIENTS_AT_LIMIT, LossMark, fact_name, fact_value, loss_mark
from lib.ledger.opened_files import OpenedFiles
from lib.ledger.positions import Position
from lib.ledger.replay import replay
from lib.ledger.rows import (
    SELECT_ORDERS,
    SELECT_POSITIONS,
    BookedOrder,
    DamagedRowError,
    booked_count,
    booked_order,
    booked_position,
)
from lib.ledger.schema import (
    FILE_ERRORS,
    DamagedLedgerError,
    ForeignLedgerError,
    LedgerError,
    ledger_error,
    open_for_writing,
    refuse_a_mixture,
)
from lib.ledger.start_check import all_differences, booked_positions, check_at_start
from lib.ledger.wal import COUNT_COMMIT
from lib.prices import MAX_PRICE, decimal_text, json_price
from lib.process.file_lock import LockHeldError, is_still_at, lock_file
from lib.process.log_events import LedgerBegun, log_event
from lib.text import printable
from lib.wire.order_messages import ExecutionReport, Order

MAX_ACCOUNTS: Final = 1024
"""How many clients are cached in memory. Any other costs two look-ups when it returns."""
MAX_WAL_BYTES: Final = 256 * 1024 * 1024
"""The size of the WAL beyond which orders are refused. SQLite reuses the WAL from its start at
1,000 pages, 4 MB, but not while a reader has a snapshot open."""

_INSERT_ORDER: Final = f"INSERT INTO orders VALUES ({', '.join('?' * 15)})"
_SELECT_ORDER: Final = f"{SELECT_ORDERS} WHERE client_id = ? AND order_id = ?"
_UPSERT_POSITION: Final = "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?, ?)"
_UPSERT_FACT: Final = "INSERT OR REPLACE INTO facts VALUES (?, ?)"


class LedgerLostError(LedgerError):
    """The file that was written is no longer at its path."""


class UnsavedLedgerError(LedgerError):
    """Orders that are booked are in a WAL that was removed: they are lost if the file is closed."""


class _Account:
    """The state of one client, including what is recorded and not committed."""

    def __init__(
        self, last_order_id: int, positions: dict[str, Position], loss_mark: LossMark
    ) -> None:
        self.last_order_id = last_order_id
        self.positions = positions
        self.loss_mark = loss_mark


class Ledger:
    """The ledger, open for writing in one process at a time. Used from one thread.

    Every method may raise LedgerError. After that all other methods raise it too, until `commit`
    has raised it: what was recorded is not booked.
    """

    def __init__(self, path: Path) -> None:
        """Name the file. It is opened, and created, at its first use or by `open`."""
        self.path = path
        self.lost: LedgerLostError | None = None
        """Why the ledger is lost, None if it is not. Only `look` finds it again."""
        self._loss = ""
        """What had happened when it was found to be lost."""
        self._places = files_of(path)
        self._lock: int | None = None
        self._has_run_before = False
        """Whether there was a lock file before this process took the lock."""
        self._connection: sqlite3.Connection | None = None
        self._files: OpenedFiles | None = None
        """The files as they were opened, from the first time on; a commit fails if one was removed
        or replaced. Once there are any, no new ledger is made."""
        self._is_checked = False
        """Whether what is opened next was looked at before, and has not been away since."""
        self._is_used = False
        """Whether any method was called since the last commit."""
        self._failure: LedgerError | None = None
        self._accounts: dict[str, _Account] = {}
        self._reports: dict[tuple[str, int], ExecutionReport] = {}
        """The reports that are recorded and not committed, by identity."""
        self._rows: list[tuple[object, ...]] = []
        self._moved: dict[tuple[str, str], Position] = {}
        """Positions that are not written yet, by client_id and symbol."""
        self._marked: dict[str, LossMark] = {}
        """Loss marks that are not written yet, by client_id."""
        self._last_trade_id = 0
        self._last_trade_id_written = 0
        self._anonymous_clients = 0
        self._anonymous_clients_written = 0
        self._place: JournalPlace | None = None
        """How much of its journal is written, None without one."""

    @property
    def was_opened(self) -> bool:
        """Whether this process has had the ledger open. Then it goes on in that one only."""
        return self._files is not None

    def open(self) -> None:
        """Open the file if it is not open. Raises ForeignLedgerError if it is something else."""
        if self._connection is None or self._failure:
            with self._failing():
                self._opened()

    def close(self) -> None:
        """Close the file and release its lock. What is not committed is lost."""
        self._save_and_disconnect()
        self._disconnect()
        self._forget_files()
        self._is_checked = False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def look(self) -> None:
        """Look whether all files are at their places; open the ledger if it is not open.

        To be called again and again, and only when nothing was recorded since the last commit. So a
        loss is noticed while no order comes, and a ledger that was lost and is back is used again.
        """
        if self.lost and self._files:
            if self._files.change_of_main():
                with contextlib.suppress(LedgerLostError):
                    self._look_for_main()  # the way back may be another one now
            else:  # it is opened and checked as at a start: others may have written to it
                self._save_and_disconnect()
                self.lost = None
                self._is_checked = False
        self._is_used = True
        self.commit()

    def rebuild_positions(self) -> list[str]:
        """Replace the positions by what the fills say; return what differed.

        For a ledger that no order manager has open. Nothing else may be called before or after.
        """
        with self._failing():
            self._take_lock()
            refuse_a_mixture(self.path)
            connection = self._connection = open_for_writing(self.path)
            connection.execute("BEGIN IMMEDIATE")
            fills = connection.execute(f"{SELECT_ORDERS} WHERE trade_id > 0 ORDER BY trade_id")
            replayed = replay(map(booked_order, fills))
            try:
                found = list(all_differences(booked_positions(connection), replayed))
            except DamagedRowError as error:
                found = [str(error)]
            connection.execute("DELETE FROM positions")
            connection.executemany(_UPSERT_POSITION, _position_rows(replayed))
            connection.execute("COMMIT")
            return found

    def find(self, client_id: str, order_id: int) -> ExecutionReport | None:
        """Return the final answer to the order of this identity, if it is booked or recorded."""
        if order_id > self._account(client_id).last_order_id:
            return None
        report = self._reports.get((client_id, order_id))
        if report is not None:
            return report
        with self._failing():
            row = self._opened().execute(_SELECT_ORDER, (client_id, order_id)).fetchone()
            return report_of(booked_order(row)) if row else None

    def position(self, client_id: str, symbol: str) -> int:
        """Return the net quantity the client holds: above zero long, below zero short."""
        position = self._account(client_id).positions.get(symbol)
        return position.quantity if position else 0

    def positions(self, client_id: str) -> dict[str, int]:
        """Return all positions of a client that are not zero."""
        held = self._account(client_id).positions
        return {symbol: p.quantity for symbol, p in held.items() if p.quantity}

    def holdings(self, client_id: str) -> Mapping[str, Position]:
        """Return all positions a client ever had, by symbol, those recorded included."""
        return self._account(client_id).positions

    def loss_mark(self, client_id: str) -> LossMark:
        """Return from which profit the client's losses count."""
        return self._account(client_id).loss_mark

    def mark_loss(self, client_id: str, mark: LossMark) -> None:
        """Change that at the next commit, together with the order that is recorded next."""
        self._account(client_id).loss_mark = self._marked[client_id] = mark

    def last_order_id(self, client_id: str) -> int:
        """Return the highest order_id that the client has used, 0 for none."""
        return self._account(client_id).last_order_id

    def next_trade_id(self) -> int:
        """Return the trade_id of the next fill to be recorded."""
        self.open()
        return self._last_trade_id + 1

    def next_anonymous_client(self) -> int:
        """Return a number for a client without logon. It is never reused."""
        self.open()
        self._anonymous_clients += 1
        return self._anonymous_clients

    def record(
        self, order: Order, report: ExecutionReport, received_ns: int, received_utc: str
    ) -> None:
        """Book an order that `find` does not know, with its final answer, at the next commit.

        A fill must have the trade_id of `next_trade_id`.
        """
        client_id, order_id, symbol = report.client_id, report.order_id, report.symbol
        account = self._account(client_id)
        account.last_order_id = max(account.last_order_id, order_id)
        if report.trade_id is not None:
            self._last_trade_id = report.trade_id
            held = account.positions.get(symbol) or Position()
            position = held.after(order.signed_quantity, order.price)
            account.positions[symbol] = self._moved[client_id, symbol] = position
        self._reports[client_id, order_id] = report
        self._rows.append(
            (
                client_id,
                order_id,
                symbol,
                report.side,
                report.quantity,
                bytes(report.raw_price).decode(),
                report.status,
                report.reason,
                report.trade_id,
                report.position,
                order.tape,
                order.tick_sequence,
                order.sent_ns,
                received_ns,
                received_utc,
            )
        )

    @property
    def has_recorded(self) -> bool:
        """Whether an order was recorded since the last commit."""
        return bool(self._rows)

    def recorded(self) -> JournalEntry | None:
        """Return what the next commit books; None if that is nothing, or if it is to raise."""
        if self._failure or not self._rows:
            return None
        counted = self._anonymous_clients
        return JournalEntry(
            orders=cast(list[OrderRow], self._rows),
            loss_marks={one: fact_value(mark) for one, mark in self._marked.items()},
            anonymous_clients=None if counted == self._anonymous_clients_written else counted,
        )

    def fail(self, error: LedgerError) -> None:
        """Raise this error until the next commit has raised it: what was recorded is not booked."""
        self._failure = self._failure or error

    def journal_place(self) -> JournalPlace | None:
        """Return how much of its journal the ledger has; None if it has none."""
        self.open()
        return self._place

    def anonymous_clients(self) -> int:
        """Return how many clients without a logon are booked."""
        self.open()
        return self._anonymous_clients_written

    def has_orders(self) -> bool:
        """Return whether any order is booked."""
        with self._failing():
            return bool(self._opened().execute("SELECT 1 FROM orders LIMIT 1").fetchone())

    def clients_at_limit(self) -> list[str]:
        """Return the clients that have reached their loss limit, by their marks, sorted."""
        with self._failing():
            return [name for (name,) in self._opened().execute(CLIENTS_AT_LIMIT)]

    def set_apart(self, suffix: str) -> Path:
        """Rename the ledger's files, with a suffix to the name, and begin a new one in its place.

        Returns the new name. Raises LedgerError, also if there is a file of that name.
        """
        with self._failing():
            self._opened()
            main = self._places.main
            apart = main.with_name(main.name + suffix)
            if apart.exists():
                raise LedgerError(f"ledger {self.path}: cannot be named {apart.name}: it is there")
            self._rescue()  # a reader may keep the WAL from being removed
            self._disconnect()
            for file in (self._places.wal, self._places.shm, main):
                with contextlib.suppress(FileNotFoundError):
                    file.rename(f"{apart}{file.name.removeprefix(main.name)}")
        self._forget_files()
        self._is_checked = self._has_run_before = False
        self._last_trade_id_written = self._anonymous_clients_written = 0
        self.forget()
        return apart

    def forget(self) -> None:
        """Forget what was recorded since the last commit: it is not booked."""
        self._accounts.clear()
        self._last_trade_id = self._last_trade_id_written
        self._forget_recorded()

    def commit(
        self, place: JournalPlace | None = None, anonymous_clients: int | None = None
    ) -> None:
        """Write what was recorded. When it returns, all of it is on disk; if it raises, none is.

        With it the place in the journal that this is from, and how many clients without a logon
        there are by that.

        (If the disk fails during the commit itself, that is unknown; then the order is found when
        it is sent again.) It also checks that everything looked up since the last commit came from
        the ledger that is at its path now.
        """
        failure, self._failure = self._failure, None
        if failure:
            self.forget()
            raise failure
        if not self._is_used and place is None:
            return
        self._is_used = False
        try:
            with self._failing():
                connection = self._opened()
                self._check_files(connection)
                if self._rows or place:
                    self._write(connection, place, anonymous_clients)
        except LedgerError:
            self._failure = None
            self.forget()
            raise
        self._forget_recorded()
        # Only now: while something is recorded, the accounts know more than the file.
        while len(self._accounts) > MAX_ACCOUNTS:
            del self._accounts[next(iter(self._accounts))]

    def _write(
        self,
        connection: sqlite3.Connection,
        place: JournalPlace | None,
        anonymous_clients: int | None,
    ) -> None:
        if anonymous_clients is None:
            anonymous_clients = self._anonymous_clients
        if place is None and self._place:
            raise LedgerError(
                f"ledger {self.path}: is made of a cluster's stream, which would not have this "
                "order: put [cluster] into the settings, or move the ledger away"
            )
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT_ORDER, self._rows)
        connection.executemany(_UPSERT_POSITION, _position_rows(self._moved))
        connection.executemany(
            _UPSERT_FACT,
            ((fact_name(one), fact_value(mark)) for one, mark in self._marked.items()),
        )
        if anonymous_clients != self._anonymous_clients_written:
            connection.execute(_UPSERT_FACT, ("anonymous_clients", anonymous_clients))
        if place:
            connection.execute(_UPSERT_FACT, (SEQUENCE_FACT, place.sequence))
            connection.execute(_UPSERT_FACT, (DIGEST_FACT, place.digest))
        connection.execute(COUNT_COMMIT)
        connection.execute("COMMIT")
        self._last_trade_id_written = self._last_trade_id
        self._anonymous_clients_written = anonymous_clients
        # Those that this process has assigned may be in use.
        self._anonymous_clients = max(self._anonymous_clients, anonymous_clients)
        self._place = place or self._place

    def _check_files(self, connection: sqlite3.Connection) -> None:
        """Raise LedgerError if a file was removed or replaced; bound the WAL."""
        self._look_for_main()
        if self._files and (change := self._files.change_of_others()):
            if why_not := self._rescue():
                raise UnsavedLedgerError(
                    f"ledger {self.path}: {change}, and {self._unsaved(why_not)}; no order is "
                    "booked until it is"
                )
            raise LedgerError(f"ledger {self.path}: {change}")
        if size_of(self._places.wal) > MAX_WAL_BYTES:
            self._empty_wal(connection)

    def _look_for_main(self) -> None:
        """Raise LedgerLostError if the file that was opened first is not at its path."""
        if self._files and (change := self._files.change_of_main()):
            if self.lost is None:
                self._loss = change
            if why_not := self._rescue():
                way_on = f"{self._unsaved(why_not)}; how the ledger is had again is logged then"
            else:
                way_on = (
                    f"no order is booked until {self._files.way_back()}; a restarted order "
                    "manager goes on with what is at that path then, with a new ledger if nothing "
                    "is"
                )
            self.lost = LedgerLostError(f"ledger {self.path}: {self._loss}; {way_on}")
            raise self.lost

    def _rescue(self) -> str:
        """Checkpoint the WAL into the ledger that it belongs to, wherever that is now.

        Returns why not all of it is there, "" if it is.
        """
        if self._connection is None:
            return ""
        try:
            self._connection.rollback()
            checkpoint = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _, pages, copied = checkpoint.fetchone()
        except FILE_ERRORS as error:
            return printable(str(error))
        # A reader of what was booked last keeps the WAL, but not the pages from being copied.
        return "" if pages == copied >= 0 else "another program is reading it"

    def _unsaved(self, why_not: str) -> str:
        return (
            f"what was booked last is not yet saved ({why_not}): it is lost if this order manager, "
            f"process {os.getpid()}, ends before"
        )

    def _empty_wal(self, connection: sqlite3.Connection) -> None:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            readers = ", ".join(readers_of(self._places)[:MAX_READERS_NAMED])
            raise LedgerError(
                f"ledger {self.path}: its WAL has reached {MAX_WAL_BYTES:,} bytes, because it is "
                "being read all the time" + (f" by {readers}" if readers else "")
            )

    def _opened(self) -> sqlite3.Connection:
        self._is_used = True
        # Raised again and again, an error would keep the frames of each time.
        if self._failure:
            raise self._failure.with_traceback(None)
        if self.lost:
            raise self.lost.with_traceback(None)
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        """Open the file, and check it if it is not checked; create it at the first time only."""
        self._look_for_main()
        places = self._places = files_of(self.path)
        begins = size_of(places.main) == 0
        if begins and self._files:
            raise LedgerError(
                f"ledger {self.path}: is empty now; no order is booked until its content is back; "
                "a restarted order manager begins a new ledger"
            )
        if begins and self.path.is_symlink() and not places.main.exists():
            raise ForeignLedgerError(
                f"ledger {self.path}: nothing is where this link leads to, {places.main}: mount "
                "its disk, or remove the link to begin a new ledger"
            )
        if self._lock is None:
            self._has_run_before = places.lock.exists()
        self._take_lock()
        if not self._is_checked:
            refuse_a_mixture(self.path)
        connection = open_for_writing(self.path)
        try:
            if begins and self._has_run_before:
                reason = (
                    f"an order manager has run here before ({places.lock.name} is there): "
                    "positions and order ids begin anew"
                )
                event = LedgerBegun(ledger=str(self.path), reason=reason)
                log_event(structlog.get_logger(), event)
            self._look_for_main()  # it may have been removed meanwhile, and made anew by this
            if not self._is_checked:
                check_at_start(self.path, connection)
            self._read_counts(connection)
            files = OpenedFiles(self.path, places)
        except BaseException:
            connection.close()
            raise
        self._forget_files()
        self._files, self._is_checked = files, True
        return connection

    def _read_counts(self, connection: sqlite3.Connection) -> None:
        (trade_id,) = connection.execute("SELECT max(trade_id) FROM orders").fetchone()
        last = booked_count(trade_id, "trade_id")
        if last < self._last_trade_id_written:
            raise DamagedLedgerError(
                f"ledger {self.path}: ends with trade_id {last}, and this order manager has booked "
                f"{self._last_trade_id_written}",
                "put the file back that has them, or restart the order manager to go on without "
                "them",
            )
        self._last_trade_id = self._last_trade_id_written = last
        (anonymous_clients,) = connection.execute(
            "SELECT max(value) FROM facts WHERE name = 'anonymous_clients'"
        ).fetchone()
        # Numbers that were assigned and not committed were never sent to a client; but those that
        # this process assigned may be in use.
        self._anonymous_clients_written = booked_count(anonymous_clients, "anonymous_clients")
        self._anonymous_clients = max(self._anonymous_clients, self._anonymous_clients_written)
        self._place = place_in(connection)

    def _take_lock(self) -> None:
        """Take the lock that excludes every other order manager."""
        if self._lock is not None:
            if is_still_at(self._lock, self._places.lock):
                return
            os.close(self._lock)
            self._lock = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = lock_file(self._places.lock, str(os.getpid()))
        except LockHeldError as held:
            raise LedgerError(
                f"ledger {self.path}: another order manager writes it, process {held.note}"
            ) from None

    def _account(self, client_id: str) -> _Account:
        self._is_used = True
        account = self._accounts.get(client_id)
        if account is None or self._failure:
            with self._failing():
                account = self._accounts[client_id] = self._read_account(client_id)
        return account

    def _read_account(self, client_id: str) -> _Account:
        connection = self._opened()
        (last,) = connection.execute(
            "SELECT max(order_id) FROM orders WHERE client_id = ?", (client_id,)
        ).fetchone()
        rows = connection.execute(f"{SELECT_POSITIONS} WHERE client_id = ?", (client_id,))
        (mark,) = connection.execute(
            "SELECT max(value) FROM facts WHERE name = ?", (fact_name(client_id),)
        ).fetchone()
        return _Account(
            booked_count(last, f"the last order_id of {client_id}"),
            {
                booked.symbol: Position(booked.position, booked.cost, booked.realised_profit)
                for booked in map(booked_position, rows)
            },
            loss_mark(mark),
        )

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn any failure of the file into a LedgerError that lasts until the next commit."""
        try:
            yield
        except (LedgerLostError, UnsavedLedgerError) as error:
            self._fail(error)  # it stays open, so that what is in it can be saved
        except LedgerError as error:
            self._save_and_disconnect()
            self._fail(error)
        except FILE_ERRORS as error:
            # Closing would free the space of the WAL and of its index. On a full disk another
            # program would take it, and then the ledger could not even be read.
            is_full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
            if not is_full or not self._rolled_back():
                self._save_and_disconnect()
            self._fail(ledger_error(self.path, error))
        except DamagedRowError as error:
            self._save_and_disconnect()
            self._fail(DamagedLedgerError(f"ledger {self.path}: damaged: {error}"))

    def _fail(self, failure: LedgerError) -> NoReturn:
        self._failure = failure
        raise failure

    def _rolled_back(self) -> bool:
        """Roll back; return whether that worked and the file can stay open."""
        try:
            if self._connection:
                self._connection.rollback()
        except sqlite3.Error:
            return False
        return True

    def _save_and_disconnect(self) -> None:
        """Close the file, unless what is in a WAL that was removed would be lost."""
        if self._files and self._files.change_of_others() and self._rescue():
            return
        self._disconnect()

    def _disconnect(self) -> None:
        """Close the file, which rolls back what is not committed."""
        connection, self._connection = self._connection, None
        if connection:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _forget_files(self) -> None:
        if self._files:
            self._files.close()
        self._files = self.lost = None

    def _forget_recorded(self) -> None:
        self._rows.clear()
        self._reports.clear()
        self._moved.clear()
        self._marked.clear()


def _position_rows(
    positions: dict[tuple[str, str], Position],
) -> Iterator[tuple[str, str, int, str, str | None, str]]:
    for (client_id, symbol), position in positions.items():
        average = position.average_price
        yield (
            client_id,
            symbol,
            position.quantity,
            decimal_text(position.cost),
            None if average is None else decimal_text(average),
            decimal_text(position.realised),
        )


def report_of(order: BookedOrder) -> ExecutionReport:
    """Return the final answer to a booked order. Raises DamagedRowError if it has no price."""
    if not 0 < order.price <= MAX_PRICE:
        raise DamagedRowError(f"order {order.order_id} of {order.client_id!r} has no price")
    return ExecutionReport(
        client_id=order.client_id,
        order_id=order.order_id,
        status=order.status,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        raw_price=Raw(json_price(order.price)),
        trade_id=order.trade_id,
        position=order.position,
        reason=order.reason,
    )
