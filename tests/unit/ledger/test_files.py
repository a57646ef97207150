"""The files of a ledger: where they are, who may read them, and who reads them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from lib.ledger.files import files_of, readers_of
from lib.ledger.schema import ForeignLedgerError, LedgerError, open_for_writing
from lib.ledger.writer import Ledger
from tests.ledgers import write_ledger


@pytest.fixture
def umask_of_many_users():
    before = os.umask(0o002)
    yield
    os.umask(before)


def modes(path: Path) -> set[str]:
    return {f"{stat.S_IMODE(file.stat().st_mode):04o}" for file in files_of(path)}


@pytest.mark.usefixtures("umask_of_many_users")
@pytest.mark.parametrize("before", [None, 0o644])
def test_all_files_of_a_ledger_are_ours_alone(tmp_path, before):
    path = tmp_path / "orders.sqlite"
    if before:  # as an earlier version made them
        write_ledger(path)
        for file in files_of(path):
            file.touch()
            file.chmod(before)
    with closing(Ledger(path)) as ledger:
        ledger.open()
        assert modes(path) == {"0600"}


def plant_fifo(path: Path) -> str:
    os.mkfifo(path)
    return "it is a FIFO, not a regular file: remove it"


def plant_directory(path: Path) -> str:
    path.mkdir()
    return "it is a directory, not a regular file: remove it"


def plant_link(path: Path) -> str:
    path.symlink_to("elsewhere")
    return "it is a symbolic link, not a regular file: remove it"


def open_to_others(path: Path) -> str:
    path.touch()
    path.chmod(0o666)
    return r"others may write to it \(mode 0666\)"


def give_away(path: Path) -> str:
    path.touch()
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534)
    return "it belongs to user .*65534"


def plant_foreign_link(path: Path) -> str:
    if os.geteuid():
        pytest.skip("only root can give a link away")
    (path.parent / "elsewhere").touch(0o600)
    path.symlink_to("elsewhere")
    os.lchown(path, 65534, 65534)
    return "it belongs to user .*65534"


@pytest.mark.parametrize(
    ("plant", "suffix"),
    [
        (plant_foreign_link, ""),
        *product([plant_fifo, plant_directory, open_to_others, give_away], ["", "-wal", "-shm"]),
        *product([plant_link], ["-wal", "-shm"]),
    ],
)
def test_what_others_may_have_planted_is_refused_with_one_line(
    tmp_path, plant: Callable[[Path], str], suffix: str
):
    path = tmp_path / "orders.sqlite"
    if suffix:
        write_ledger(path)
    planted = tmp_path / f"orders.sqlite{suffix}"
    why = plant(planted)
    with pytest.raises(ForeignLedgerError, match=f"ledger {path}: {planted}: {why}"):
        Ledger(path).open()


def test_a_link_that_leads_elsewhere_meanwhile_is_a_lost_ledger(tmp_path):
    path = tmp_path / "orders.sqlite"
    path.symlink_to(write_ledger(tmp_path / "first.sqlite").name)
    with closing(Ledger(path)) as ledger:
        ledger.open()
        path.unlink()
        path.symlink_to("second.sqlite")
        with pytest.raises(LedgerError, match=f"was removed.* back from {tmp_path}/first.sqlite"):
            ledger.look()
        write_ledger(tmp_path / "second.sqlite")
        with pytest.raises(LedgerError, match="until it is back from"):
            ledger.look()


def test_a_directory_that_is_no_longer_one_is_a_lost_ledger(tmp_path):
    directory, moved = tmp_path / "var", tmp_path / "moved"
    directory.mkdir()
    with closing(Ledger(directory / "orders.sqlite")) as ledger:
        ledger.open()
        directory.rename(moved)
        directory.touch()
        why = rf"cannot be looked at \(Not a directory\); .* back from {moved}/orders.sqlite; "
        for use in (ledger.look, ledger.look, lambda: ledger.position("x", "AAPL")):
            with pytest.raises(LedgerError, match=why):
                use()
        with pytest.raises(LedgerError, match=why):
            ledger.commit()
        directory.unlink()
        moved.rename(directory)
        ledger.look()


@pytest.mark.parametrize("is_empty", [False, True], ids=["no disk", "an empty mount point"])
def test_no_ledger_is_begun_at_the_end_of_a_link_whose_disk_is_not_mounted(tmp_path, is_empty):
    disk = tmp_path / "disk"
    if is_empty:
        disk.mkdir()
    path = tmp_path / "orders.sqlite"
    path.symlink_to("disk/orders.sqlite")
    why = f"nothing is where this link leads to, {disk}/orders.sqlite: mount its disk, or remove "
    with pytest.raises(ForeignLedgerError, match=why):
        Ledger(path).open()
    assert not is_empty or list(disk.iterdir()) == []


def test_a_link_to_itself_is_refused(tmp_path):
    path = tmp_path / "orders.sqlite"
    path.symlink_to(path)
    with pytest.raises(LedgerError, match="Too many levels of symbolic links"):
        Ledger(path).open()


READER = """
import sqlite3, sys
for path in sys.argv[1:]:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("BEGIN", "SELECT * FROM orders", "COMMIT"):
        connection.execute(statement).fetchall()
        print(statement, flush=True)
        sys.stdin.readline()
"""


def test_processes_that_have_a_read_open_are_named(tmp_path):
    other, path = (write_ledger(tmp_path / name) for name in ("other", "orders.sqlite"))
    seen = []
    with (
        closing(open_for_writing(other)),
        closing(open_for_writing(path)),
        subprocess.Popen(
            [sys.executable, "-c", READER, other, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as reader,
    ):
        comm = Path(f"/proc/{reader.pid}/comm").read_text().strip()
        for _ in range(6):
            statement = reader.stdout.readline().strip()
            seen += [(statement, name) for name in readers_of(files_of(path))]
            print(file=reader.stdin, flush=True)
    assert seen == [("SELECT * FROM orders", f"process {reader.pid} ({comm})")]
