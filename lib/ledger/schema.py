"""The ledger file: its tables, its version, and how it is opened.

SQLite in WAL mode: readers and the writer never wait for each other. With synchronous=FULL a
transaction is on disk when its commit returns.
"""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from lib.clock import utc_stamp
from lib.ledger.files import LedgerFiles, files_of, make_own, size_of
from lib.ledger.wal import mixture
from lib.process.own_files import NotOurFileError
from lib.text import printable

APPLICATION_ID: Final = 0x54574C47
"""Identifies a file as a ledger ("TWLG"; SQLite: PRAGMA application_id)."""
VERSION: Final = 1
"""The version of the tables (SQLite: PRAGMA user_version)."""

LOCK_WAIT_S: Final = 0.05
"""How long the order manager waits for another writer's lock. It serves no client meanwhile."""
READ_LOCK_WAIT_S: Final = 5.0
"""How long a reader waits for an exclusive lock."""
MAX_IDLE_WAL_BYTES: Final = 4 * 1024 * 1024
"""The size to which a larger WAL is truncated once its pages are in the ledger itself."""

TABLES: Final = """
CREATE TABLE orders (
    client_id TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('BUY', 'SELL')),
    quantity INTEGER NOT NULL,
    price TEXT NOT NULL,           -- an exact decimal, as in the messages: 173.2
    status TEXT NOT NULL CHECK (status IN ('FILLED', 'REJECTED')),
    reason TEXT,                   -- of a rejection
    trade_id INTEGER UNIQUE,       -- of a fill; counts from 1 over all clients
    position INTEGER NOT NULL,     -- of the client in the symbol, after this order
    tape TEXT,                     -- what the client said it decided on
    tick_sequence INTEGER,
    sent_ns INTEGER,               -- first sending, monotonic clock of the host
    received_ns INTEGER NOT NULL,  -- receipt, monotonic clock of the host
    received_utc TEXT NOT NULL,    -- receipt, ISO 8601
    PRIMARY KEY (client_id, order_id)
) WITHOUT ROWID;

CREATE TABLE positions (
    client_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    position INTEGER NOT NULL,      -- above zero long, below zero short
    cost TEXT NOT NULL,             -- what was paid for the open position, an exact decimal; below
                                    -- zero for a short one: what was received for it
    average_price TEXT,             -- cost / position to 8 decimals; NULL where position is 0
    realised_profit TEXT NOT NULL,  -- an exact decimal
    PRIMARY KEY (client_id, symbol)
) WITHOUT ROWID;

CREATE TABLE facts (               -- about the ledger as a whole
    name TEXT PRIMARY KEY,         -- created_utc, anonymous_clients, commits, loss_mark:CLIENT_ID,
                                   -- and in a cluster journal_sequence, journal_digest
    value NOT NULL
) WITHOUT ROWID;
"""


class LedgerError(Exception):
    """The ledger cannot be read or written for now. The text says why, on one line."""


class ForeignLedgerError(LedgerError):
    """The file is not a ledger of ours, or one of a later version: the operator has to act."""


class NotAcknowledgedError(LedgerError):
    """The journal has not acknowledged what was recorded: another host may have booked since."""


class DamagedLedgerError(LedgerError):
    """The ledger is not as the order manager left it. The text says how the operator can go on."""

    def __init__(
        self, text: str, cure: str = "restore a backup, or recover what can be read"
    ) -> None:
        super().__init__(f"{text}; {cure} (docs/ledger.md)")


FILE_ERRORS: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What working with a ledger's file may raise. (SQLite quotes a damaged file in its messages, which
Python cannot always decode.)"""

_SQLITE_REASONS: Final = {
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_BUSY: "locked by another writer",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_IOERR: "disk error",
    sqlite3.SQLITE_INTERRUPT: "takes too long to read",  # `read_ledger` has a time limit
    # No room for the file that readers and the writer share.
    sqlite3.SQLITE_IOERR_SHMSIZE: "disk full",
}
_SYSTEM_REASONS: Final = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk full",
    errno.EROFS: "read-only",
    errno.EACCES: "read-only",
}


def ledger_error(path: Path, error: sqlite3.Error | OSError | UnicodeDecodeError) -> LedgerError:
    """Convert one of FILE_ERRORS to a LedgerError with a human-readable text."""
    words = str(error)
    if isinstance(error, NotOurFileError):
        return ForeignLedgerError(printable(f"ledger {path}: {error.filename}: {error.strerror}"))
    if isinstance(error, OSError):
        reason = _SYSTEM_REASONS.get(error.errno or 0)
        words = error.strerror or words
        if error.filename not in (None, str(path)):
            words = f"{words}: {error.filename}"
    elif isinstance(error, UnicodeDecodeError):
        reason, words = "damaged", "not UTF-8"
    else:
        code = getattr(error, "sqlite_errorcode", 0)
        reason = _SQLITE_REASONS.get(code, _SQLITE_REASONS.get(code & 0xFF))
    # SQLite's text may quote arbitrary bytes of a damaged file.
    text = printable(f"ledger {path}: {f'{reason} ({words})' if reason else words}")
    return DamagedLedgerError(text) if reason == "damaged" else LedgerError(text)


def command(path: Path, option: str) -> str:
    """Return the command that does something with this stack's ledger, which is at `path`."""
    words = ["python", "-m", "lib.ledger"]
    if config := os.environ.get("TRADING_CONFIG"):  # it has the name of the ledger
        words += ["--config", str(Path(config).absolute())]
    return f"`{shlex.join([*words, '--var-dir', str(path.parent), option])}`"


def refuse_a_mixture(path: Path) -> None:
    """Raise DamagedLedgerError for a main file and a WAL of different moments, or LedgerError.

    To be called before the ledger is opened for writing: that would mix them for good.
    """
    files = files_of(path)
    if size_of(files.main) == 0 or size_of(files.wal) == 0:
        return
    try:
        make_own(path)
        with closing(open_for_reading(path, LOCK_WAIT_S)) as connection:
            connection.execute("BEGIN")
            reason = mixture(files, connection)
    except FILE_ERRORS as error:
        raise ledger_error(path, error) from error
    if reason:
        wal = shlex.quote(str(files.wal))
        raise DamagedLedgerError(
            f"ledger {path}: {reason}",
            "put the two of one moment together, or go on without the orders that are in the WAL: "
            f"`mv {wal} {wal}.apart`",
        )


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a ledger to write to it; create it where there is none. Transactions are the caller's.

    Raises LedgerError, and ForeignLedgerError for a file that is something else.
    """
    files = files_of(path)
    _refuse_to_lose_a_wal(path, files)
    # SQLite would open it all the same, and leave a WAL that is read-only too.
    if files.main.exists() and not os.access(files.main, os.W_OK):
        raise LedgerError(f"ledger {path}: read-only")
    try:
        make_own(path)
        connection = sqlite3.connect(files.main, timeout=LOCK_WAIT_S, isolation_level=None)
        try:
            if _is_new(path, connection):
                _create(connection)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise LedgerError(f"ledger {path}: the file system cannot do WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_WAL_BYTES}")
        except BaseException:
            connection.close()
            raise
    except FILE_ERRORS as error:
        raise ledger_error(path, error) from error
    return connection


def open_for_reading(path: Path, lock_wait_s: float = READ_LOCK_WAIT_S) -> sqlite3.Connection:
    """Open a ledger to read it, whether or not an order manager is running.

    `lock_wait_s` is the longest wait for an exclusive lock of another process. Raises
    FileNotFoundError, LedgerError, and ForeignLedgerError for a file that is something else.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ledger_error(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(f"ledger {path}: no file")
    try:
        uri = f"file:{quote(str(path))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=lock_wait_s)
        try:
            if _is_new(path, connection):
                raise ForeignLedgerError(f"ledger {path}: empty")
        except BaseException:
            connection.close()
            raise
    except FILE_ERRORS as error:
        raise ledger_error(path, error) from error
    return connection


def _is_new(path: Path, connection: sqlite3.Connection) -> bool:
    """Return whether a file is empty, and no ledger. Raises ForeignLedgerError if it is neither."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == version == tables == 0:
        return True
    if application != APPLICATION_ID:
        raise ForeignLedgerError(f"ledger {path}: an SQLite file of another program")
    if version > VERSION:
        raise ForeignLedgerError(
            f"ledger {path}: of version {version}, and this program knows versions up to {VERSION}"
        )
    return False


def _refuse_to_lose_a_wal(path: Path, files: LedgerFiles) -> None:
    """Raise LedgerError for the WAL of a ledger that was moved away: SQLite would delete it."""
    if size_of(files.main) == 0 and size_of(files.wal) > 0:
        raise LedgerError(
            f"ledger {path}: not there, but {files.wal.name} is, with orders in it; put it beside "
            "the ledger that it belongs to, under that one's name, or remove it"
        )


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, all or none."""
    connection.executescript(
        f"BEGIN IMMEDIATE; {TABLES}"
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    )
    connection.execute("INSERT INTO facts VALUES ('created_utc', ?)", (utc_stamp(),))
    connection.execute("COMMIT")
