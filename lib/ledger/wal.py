"""Whether a WAL belongs to the file that it lies beside.

SQLite plays back any WAL that is complete. It cannot know that the main file was exchanged for a
backup; what it then reads is neither the one nor the other, and need not even look damaged. So the
order manager counts its commits, in the ledger, in the same transactions. The main file alone has
the count of the moment to which it is checkpointed: not before the WAL began, not after it ended.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from lib.ledger.files import LedgerFiles

COUNT_COMMIT: Final = (
    "INSERT INTO facts VALUES ('commits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
)
"""Part of each transaction of the order manager."""

# https://sqlite.org/fileformat2.html#the_write_ahead_log
_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24


class _State(NamedTuple):
    """Which ledger, and at which of its commits."""

    created_utc: object
    commits: int


def mixture(files: LedgerFiles, connection: sqlite3.Connection) -> str:
    """Return why the WAL does not belong to the main file, "" if it does.

    `connection` is to this ledger and in a read transaction, so that no checkpoint of a running
    order manager goes beyond what it reads. Ledgers of versions that did not count pass.
    """
    whole = _state(connection)
    try:
        alone = _state_of_main_file(files.main)
    except (sqlite3.Error, UnicodeDecodeError):
        # A checkpoint may have been interrupted: the WAL has the pages that are half written, and
        # SQLite quotes from them.
        return ""
    if alone.created_utc != whole.created_utc:
        return "the WAL is another ledger's"
    if alone.commits > whole.commits:
        return (
            f"the WAL is older than the main file: it ends with commit {whole.commits:,}, and the "
            f"main file has {alone.commits:,}"
        )
    first = whole.commits - _commits_in(files.wal)
    if alone.commits < first:
        return (
            f"the main file is older than the WAL: it ends with commit {alone.commits:,}, and the "
            f"WAL begins after commit {first:,}"
        )
    return ""


def _state_of_main_file(main: Path) -> _State:
    uri = f"file:{quote(str(main))}?immutable=1"  # that is: without its WAL
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return _state(connection)


def _state(connection: sqlite3.Connection) -> _State:
    facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    commits = facts.get("commits", 0)
    return _State(facts.get("created_utc"), commits if isinstance(commits, int) else 0)


def _commits_in(wal: Path) -> int:
    """Return how many transactions a WAL has, 0 if there is none.

    One of another program counts too, and then more is taken for right.
    """
    if not wal.exists():
        return 0
    commits = 0
    with wal.open("rb", buffering=0) as file:  # to read it all would take ten times as long
        header = file.read(_HEADER_BYTES)
        page_bytes, salts = int.from_bytes(header[8:12]), header[16:24]
        while len(frame := file.read(_FRAME_HEADER_BYTES)) == _FRAME_HEADER_BYTES:
            if frame[8:16] != salts:  # what follows is left of an earlier WAL
                break
            commits += any(frame[4:8])  # the last frame of a transaction has the ledger's size
            file.seek(page_bytes, 1)
    return commits
