"""A main file and a WAL of different moments are recognised, and those of one moment never are."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib.ledger.files import files_of
from lib.ledger.reader import read_ledger
from lib.ledger.schema import DamagedLedgerError, open_for_writing
from lib.ledger.wal import COUNT_COMMIT, mixture
from lib.ledger.writer import Ledger


class Moments:
    """A ledger that is written and checkpointed, and copies of its files at any moment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = files_of(directory / "orders.sqlite")
        self.connection = open_for_writing(self.files.main)
        self.connection.execute("CREATE TABLE load (n INTEGER PRIMARY KEY, filler BLOB)")
        self._copies = 0

    def commit(self, count: int = 1) -> None:
        for _ in range(count):
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("INSERT INTO load (filler) VALUES (randomblob(3000))")
            self.connection.execute(COUNT_COMMIT)
            self.connection.execute("COMMIT")

    def checkpoint(self, mode: str = "TRUNCATE") -> None:
        self.connection.execute(f"PRAGMA wal_checkpoint({mode})")

    def copy(self) -> Path:
        """Copy the files as a crash would leave them; return the directory."""
        self._copies += 1
        copy = self.directory / str(self._copies)
        copy.mkdir()
        for file in (self.files.main, self.files.wal):
            shutil.copy(file, copy)
        return copy


@pytest.fixture
def moments(tmp_path: Path) -> Iterator[Moments]:
    moments = Moments(tmp_path)
    with closing(moments.connection):
        yield moments


def judge(main_of: Path, wal_of: Path) -> str:
    """Lay the main file of one moment beside the WAL of another, and look at them."""
    mixed = files_of(main_of.with_name("mixed.sqlite"))
    shutil.copy(main_of / "orders.sqlite", mixed.main)
    shutil.copy(wal_of / "orders.sqlite-wal", mixed.wal)
    mixed.shm.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{mixed.main}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        return mixture(mixed, connection)


@pytest.mark.parametrize("mode", ["TRUNCATE", "RESTART"])
def test_a_backup_of_an_earlier_wal_is_older_than_the_wal(moments, mode):
    moments.commit(5)
    moments.checkpoint()
    backup = moments.copy()
    moments.commit(10)
    moments.checkpoint(mode)  # after RESTART, the file still ends with frames of these commits
    moments.commit(3)
    crashed = moments.copy()
    assert judge(crashed, crashed) == ""
    assert judge(backup, crashed) == (
        "the main file is older than the WAL: it ends with commit 5, and the WAL begins after "
        "commit 15"
    )
    assert judge(backup, backup) == ""


def test_a_wal_of_earlier_is_older_than_the_main_file(moments):
    moments.commit(3)
    before = moments.copy()
    moments.checkpoint()
    moments.commit()
    moments.checkpoint()
    assert judge(moments.copy(), before) == (
        "the WAL is older than the main file: it ends with commit 3, and the main file has 4"
    )


def test_a_wal_of_another_ledger_is_recognised_at_any_count(moments, tmp_path):
    (tmp_path / "other").mkdir()
    other = Moments(tmp_path / "other")
    with closing(other.connection):
        moments.commit(3)
        moments.checkpoint()
        other.commit(5)
        assert judge(moments.copy(), other.copy()) == "the WAL is another ledger's"


def content(main_of: Path, wal_of: Path) -> object:
    """What SQLite reads of a main file beside a WAL."""
    mixed = files_of(main_of.with_name("read.sqlite"))
    shutil.copy(main_of / "orders.sqlite", mixed.main)
    shutil.copy(wal_of / "orders.sqlite-wal", mixed.wal)
    mixed.shm.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{mixed.main}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("SELECT n, hex(filler) FROM load").fetchall()
            return rows, connection.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.DatabaseError as error:
            return str(error)


@pytest.mark.parametrize("seed", range(5))
def test_only_a_main_file_that_the_wal_goes_on_from_is_accepted(moments, seed):
    """Whatever was committed and checkpointed, wholly or in part, and whenever it was copied."""
    rng = random.Random(seed)
    moments.checkpoint()
    moments.connection.execute("PRAGMA busy_timeout = 0")
    copies = []
    with closing(sqlite3.connect(moments.files.main, isolation_level=None)) as reader:
        for _ in range(60):
            match rng.choice(["commit", "commit", "checkpoint", "copy", "copy", "read"]):
                case "commit":
                    moments.commit(rng.randint(1, 3))
                case "checkpoint":
                    moments.checkpoint(rng.choice(["PASSIVE", "RESTART", "TRUNCATE"]))
                case "copy":
                    copies.append(moments.copy())
                case "read" if reader.in_transaction:
                    reader.execute("COMMIT")
                case "read":
                    reader.execute("BEGIN")
                    reader.execute("SELECT count(*) FROM load").fetchall()
        moments.commit()
        crashed = moments.copy()
    right = content(crashed, crashed)
    assert {judge(copy, crashed) == "" for copy in [*copies, crashed]} == {True, False}
    for copy in [*copies, crashed]:
        assert (judge(copy, crashed) == "") == (content(copy, crashed) == right)


def test_ledgers_of_versions_that_did_not_count_pass(moments):
    moments.commit(2)
    moments.checkpoint()
    moments.connection.execute("DELETE FROM facts WHERE name = 'commits'")
    moments.checkpoint()
    for _ in range(3):
        moments.connection.execute("INSERT OR REPLACE INTO facts VALUES ('x', random())")
    assert judge(moments.copy(), moments.copy()) == ""
    moments.commit(2)  # this version goes on with it
    assert judge(moments.copy(), moments.copy()) == ""
    moments.checkpoint()
    moments.commit(2)
    assert judge(moments.copy(), moments.copy()) == ""


def test_a_main_file_that_is_half_written_is_left_to_the_wal(moments):
    """As an interrupted checkpoint leaves it; whatever SQLite quotes from it."""
    moments.checkpoint()
    moments.connection.execute("CREATE TABLE further (n)")  # its page is the one with the tables
    moments.commit()
    crashed = moments.copy()
    main = crashed / "orders.sqlite"
    content = main.read_bytes()
    for torn in (b"CREATE \xff\xfe\xff", b"\xff" * 10):
        main.write_bytes(content.replace(b"CREATE TABLE", torn.ljust(12, b"\xff")))
        assert judge(crashed, crashed) == ""


def test_a_mixture_is_neither_opened_for_writing_nor_passes_a_check(moments):
    moments.checkpoint()
    backup = moments.copy()
    moments.commit()
    moments.checkpoint()
    moments.commit()
    shutil.copy(moments.copy() / "orders.sqlite-wal", backup)
    path = backup / "orders.sqlite"
    before = {file.name: file.read_bytes() for file in files_of(path)[:2]}
    with pytest.raises(DamagedLedgerError, match="main file is older than the WAL") as refused:
        Ledger(path).open()
    assert f"`mv {path}-wal {path}-wal.apart`" in str(refused.value)
    with read_ledger(path) as snapshot:
        assert snapshot.damages()[0].startswith("the main file is older")
    assert {file.name: file.read_bytes() for file in files_of(path)[:2]} == before
    files_of(path).wal.rename(path.with_name("apart"))  # as the cure says
    open_for_writing(path).close()


def test_a_check_beside_a_running_writer_finds_no_mixture(moments):
    """Whatever is committed and checkpointed between the reads of a check."""
    for mode in ("PASSIVE", "RESTART", "TRUNCATE"):
        moments.commit(2)
        with read_ledger(moments.files.main) as snapshot:
            moments.connection.execute("PRAGMA busy_timeout = 0")
            moments.checkpoint(mode)
            moments.commit(3)
            moments.checkpoint(mode)
            assert snapshot.damages() == []
        moments.checkpoint(mode)
        with read_ledger(moments.files.main) as snapshot:
            moments.commit(3)
            moments.checkpoint(mode)
            assert snapshot.damages() == []
