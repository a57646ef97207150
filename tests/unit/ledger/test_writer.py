"""Booking: what was recorded is found again, by every process, once it is committed."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lib.ledger import writer as writer_module
from lib.ledger.schema import (
    DamagedLedgerError,
    ForeignLedgerError,
    LedgerError,
    open_for_reading,
    open_for_writing,
)
from lib.ledger.writer import Ledger, LedgerLostError
from lib.prices import parse_price
from lib.wire.order_messages import ExecutionReport, encode, make_order
from tests.helpers import fresh_ledger, locked
from tests.processes import run_python


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with fresh_ledger() as ledger:
        yield ledger


def book(
    ledger: Ledger,
    client_id: str,
    order_id: int,
    reason: str | None = None,
    *,
    price: bytes = b"173.2",
    **changes: Any,
) -> ExecutionReport:
    """Record an order that the ledger does not know; return what it is answered."""
    fields = {"symbol": "AAPL", "side": "BUY", "quantity": 10, **changes}
    order = make_order(price=parse_price(price), order_id=order_id, **fields)
    position = ledger.position(client_id, order.symbol)
    report = ExecutionReport(
        client_id=client_id,
        order_id=order_id,
        status="REJECTED" if reason else "FILLED",
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        raw_price=order.raw_price,
        trade_id=None if reason else ledger.next_trade_id(),
        position=position if reason else position + order.signed_quantity,
        reason=reason,
    )
    ledger.record(order, report, 5_000, "2026-11-22T10:00:00.000000Z")
    return report


def commit(ledger: Ledger, *order_ids: int) -> None:
    """Book orders of x, and commit them."""
    for order_id in order_ids:
        book(ledger, "x", order_id)
    ledger.commit()


def again(ledger: Ledger) -> Ledger:
    """What a restarted order manager has."""
    ledger.close()
    return Ledger(ledger.path)


def seen_by_others(ledger: Ledger, query: str = "SELECT order_id FROM orders") -> list[tuple]:
    with closing(open_for_reading(ledger.path)) as connection:
        return connection.execute(query).fetchall()


# What is looked up.


@pytest.mark.parametrize("restarted", [False, True])
def test_an_order_is_found_by_client_and_number_and_by_nothing_less(ledger, restarted):
    assert ledger.find("x", 7) is None
    filled, rejected = book(ledger, "x", 7), book(ledger, "x", 9, "unknown symbol X", symbol="X")
    assert ledger.find("x", 7) is filled
    ledger.commit()
    with closing(again(ledger) if restarted else ledger) as ledger:
        for report in (filled, rejected):
            found = ledger.find("x", report.order_id)
            assert encode(found) == encode(report)
        for client_id, order_id in (("x", 8), ("x", 10), ("x", 1), ("y", 7), ("", 7)):
            assert ledger.find(client_id, order_id) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_positions_and_numbers_are_as_they_were(ledger, restarted):
    book(ledger, "x", 9)
    book(ledger, "x", 4, side="SELL", quantity=25)
    book(ledger, "x", 10, symbol="MSFT")
    book(ledger, "x", 11, symbol="MSFT", side="SELL")
    book(ledger, "y", 2, "halted")
    first, second = ledger.next_anonymous_client(), ledger.next_anonymous_client()
    ledger.commit()
    with closing(again(ledger) if restarted else ledger) as ledger:
        assert ledger.position("x", "AAPL") == -15
        assert ledger.position("x", "MSFT") == ledger.position("x", "GOOG") == 0
        assert ledger.positions("x") == {"AAPL": -15}
        assert ledger.positions("y") == {}
        assert (ledger.last_order_id("x"), ledger.last_order_id("y")) == (11, 2)
        assert ledger.next_trade_id() == 5
        assert (first, second, ledger.next_anonymous_client()) == (1, 2, 3)


def test_clients_that_have_left_memory_are_read_again_and_none_leaves_uncommitted(
    ledger, monkeypatch
):
    monkeypatch.setattr(writer_module, "MAX_ACCOUNTS", 2)
    for number in range(1, 4):
        for client in "abcde":
            assert ledger.last_order_id(client) == number - 1
            book(ledger, client, number)
        for client in "abcde":
            assert ledger.position(client, "AAPL") == 10 * number
            assert ledger.find(client, number) is not None
        ledger.commit()
        assert len(ledger._accounts) <= 2


# What is written.


def test_an_order_is_written_with_everything_that_is_known_of_it(ledger):
    book(ledger, "x", 7, tape="walk-1", tick_sequence=12, sent_ns=4_000, price=b"0.00000001")
    book(ledger, "x", 8, "halted", side="SELL", symbol="a\x00*")
    ledger.commit()
    assert seen_by_others(ledger, "SELECT * FROM orders") == [
        ("x", 7, "AAPL", "BUY", 10, "0.00000001", "FILLED", None, 1, 10, "walk-1", 12, 4_000, 5_000,
         "2026-11-22T10:00:00.000000Z"),
        ("x", 8, "a\x00*", "SELL", 10, "173.2", "REJECTED", "halted", None, 0, None, None, None,
         5_000, "2026-11-22T10:00:00.000000Z"),
    ]  # fmt: skip


def test_a_position_is_written_with_its_cost_and_its_profit(ledger):
    book(ledger, "x", 1, price=b"100")
    ledger.commit()
    book(ledger, "x", 2, price=b"101", quantity=20)
    book(ledger, "x", 3, price=b"110.5", quantity=15, side="SELL")
    book(ledger, "y", 1, symbol="MSFT")
    book(ledger, "y", 2, symbol="MSFT", side="SELL")
    ledger.commit()
    assert seen_by_others(ledger, "SELECT * FROM positions") == [
        ("x", "AAPL", 15, "1510", "100.66666667", "147.5"),
        ("y", "MSFT", 0, "0", None, "0"),
    ]


def test_the_cost_of_a_position_survives_a_restart_to_the_last_digit(ledger):
    book(ledger, "x", 1, price=b"0.00000001", quantity=3)
    book(ledger, "x", 2, price=b"9000000000", quantity=2**53 - 10)
    ledger.commit()
    with closing(again(ledger)) as ledger:
        book(ledger, "x", 3, price=b"9000000000", quantity=2**53 - 7, side="SELL")
        ledger.commit()
        ((profit,),) = seen_by_others(ledger, "SELECT realised_profit FROM positions")
    assert profit == "26999999999.99999997"


def test_a_commit_returns_when_it_is_on_disk(ledger):
    with closing(open_for_writing(ledger.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        assert synchronous == 2  # FULL: the WAL is synchronised at each commit


# One writer, many readers.


def book_many(ledger: Ledger, commits: int) -> None:
    """Book so many times a hundred orders."""
    for _ in range(commits):
        last = ledger.last_order_id("x")
        commit(ledger, *range(last + 1, last + 101))


def test_a_reader_that_stays_can_make_the_wal_grow_to_its_bound_and_no_further(ledger, monkeypatch):
    bound = 1024 * 1024
    monkeypatch.setattr(writer_module, "MAX_WAL_BYTES", bound)
    book_many(ledger, 1)
    with closing(open_for_reading(ledger.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM orders").fetchall()
        with pytest.raises(LedgerError, match="1,048,576 bytes, because it is being read"):
            book_many(ledger, 1000)
        booked = ledger.last_order_id("x")
        for _ in range(3):
            book(ledger, "x", booked + 1)
            with pytest.raises(LedgerError, match="1,048,576 bytes"):
                ledger.commit()
        assert bound < Path(f"{ledger.path}-wal").stat().st_size < 2 * bound
    book_many(ledger, 1)
    assert ledger.last_order_id("x") == booked + 100
    assert len(seen_by_others(ledger)) == booked + 100


# What goes wrong.


def test_a_commit_that_fails_books_nothing_and_the_next_one_works(ledger):
    commit(ledger, 1)
    book(ledger, "x", 2)
    book(ledger, "y", 1)
    with locked(ledger), pytest.raises(LedgerError, match="locked by another writer"):
        ledger.commit()
    assert ledger.last_order_id("x") == 1
    assert ledger.position("y", "AAPL") == 0
    assert ledger.find("x", 2) is None
    assert book(ledger, "x", 2, side="SELL").trade_id == 2
    ledger.commit()
    assert seen_by_others(ledger, "SELECT client_id, order_id, side FROM orders") == [
        ("x", 1, "BUY"), ("x", 2, "SELL"),
    ]  # fmt: skip


def test_a_full_disk_uses_up_no_trade_id(ledger):
    commit(ledger, 1)
    ledger._connection.execute("PRAGMA max_page_count = 1")  # that is: no page more
    for number in range(2, 500):
        book(ledger, "x", number)
    with pytest.raises(LedgerError, match="disk full"):
        ledger.commit()
    ledger._connection.execute("PRAGMA max_page_count = 1000000")
    assert book(ledger, "x", 2).trade_id == 2
    ledger.commit()
    assert seen_by_others(ledger) == [(1,), (2,)]


def test_after_a_failure_nothing_works_until_the_commit_has_failed_too(ledger):
    """So an order is never half recorded and then committed."""
    commit(ledger, 1)
    book(ledger, "x", 2)
    with pytest.raises(LedgerError), ledger._failing():
        raise sqlite3.OperationalError("disk I/O error")
    for use in (
        lambda: ledger.find("x", 1),
        lambda: ledger.position("x", "AAPL"),
        ledger.next_trade_id,
        ledger.next_anonymous_client,
        ledger.commit,
    ):
        with pytest.raises(LedgerError):
            use()
    assert ledger.last_order_id("x") == 1
    assert ledger.find("x", 1) is not None


SIDE_FILES = ("-wal", "-shm", ".lock")


def move(ledger: Ledger, suffixes: tuple[str, ...]) -> Path:
    """Move files of the ledger away; return where its main file is then."""
    moved = ledger.path.with_name("moved.sqlite")
    for suffix in suffixes:
        Path(f"{ledger.path}{suffix}").rename(f"{moved}{suffix}")
    return moved


def assert_nothing_is_booked(ledger: Ledger, why: str) -> None:
    """Neither by an order nor by a look, and the reason stays the same."""
    for _ in range(2):
        with contextlib.suppress(LedgerLostError):
            book(ledger, "x", 2)
        for use in (ledger.commit, ledger.look):
            with pytest.raises(LedgerLostError, match=why):
                use()
    assert isinstance(ledger.lost, LedgerLostError)


@pytest.mark.parametrize("suffixes", [("",), ("", *SIDE_FILES)], ids=["alone", "with all others"])
@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("by_look", [False, True])
def test_a_ledger_that_is_moved_away_is_lost_until_it_is_back(ledger, suffixes, replaced, by_look):
    commit(ledger, 1)
    book(ledger, "x", 2)
    if by_look:
        ledger.commit()
    moved = move(ledger, suffixes)
    if replaced:
        ledger.path.touch()
    why = f"{'is another file now' if replaced else 'was removed'}; .* it is back from {moved}; "
    if by_look:
        with pytest.raises(LedgerLostError, match=why):
            ledger.look()
    assert_nothing_is_booked(ledger, why)
    # All that was booked is in the file, wherever it is.
    with closing(sqlite3.connect(f"file:{moved}?immutable=1", uri=True)) as alone:
        count = 2 if by_look else 1
        assert alone.execute("SELECT count(*) FROM orders").fetchone() == (count,)
    for suffix in suffixes:
        Path(f"{moved}{suffix}").rename(f"{ledger.path}{suffix}")
    ledger.look()
    assert ledger.lost is None
    book(ledger, "x", 3)
    ledger.commit()
    assert ledger.next_trade_id() == count + 2
    assert len(seen_by_others(ledger)) == count + 1


def test_what_is_refused_for_hours_leaves_nothing_in_memory(ledger):
    commit(ledger, 1)
    move(ledger, ("",))
    with pytest.raises(LedgerLostError):
        ledger.look()
    frames: list[int] = []
    for _ in range(50):
        for use in (lambda: ledger.find("x", 2), lambda: ledger.find("y", 2), ledger.commit):
            with pytest.raises(LedgerLostError) as refused:
                use()
        frames.append(len(refused.traceback))
    assert len(set(frames)) == 1


def test_a_ledger_that_was_changed_while_it_was_away_is_checked_before_it_is_used(ledger):
    commit(ledger, 1)
    moved = move(ledger, ("",))
    with pytest.raises(LedgerLostError):
        ledger.look()
    with closing(sqlite3.connect(moved)) as connection:
        connection.execute("UPDATE positions SET position = 11")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    moved.rename(ledger.path)
    for _ in range(2):
        with pytest.raises(DamagedLedgerError, match="position is 11, the fills say 10"):
            ledger.look()
    # It was opened by this process, so no other one takes its place without a restart.
    ledger.path.rename(moved)
    assert_nothing_is_booked(ledger, "was removed; ")
    assert not ledger.path.exists()
    with closing(sqlite3.connect(moved)) as connection:
        connection.execute("UPDATE positions SET position = 10")
        connection.commit()
    moved.rename(ledger.path)
    ledger.look()
    commit(ledger, 2)
    assert seen_by_others(ledger) == [(1,), (2,)]


def test_a_ledger_that_is_emptied_in_its_place_is_not_begun_anew(ledger):
    commit(ledger, 1)
    with locked(ledger), pytest.raises(LedgerError, match="locked"):
        commit(ledger, 2)
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(LedgerError, match="is empty now; no order is booked until"):
            ledger.look()
    assert ledger.path.read_bytes() == b""
    ledger.path.write_bytes(content)
    commit(ledger, 2)
    assert seen_by_others(ledger) == [(1,), (2,)]


def test_a_removed_ledger_is_copied_back_by_the_command_that_its_error_names(ledger):
    commit(ledger, 1, 2, 3)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{ledger.path}{suffix}").unlink()
    with pytest.raises(LedgerLostError, match="was removed") as lost:
        ledger.look()
    _, command, _ = str(lost.value).split("`")
    subprocess.run(command, shell=True, check=True)
    # It is not the file that was open, so a restart takes it up.
    assert_nothing_is_booked(ledger, "was removed")
    with closing(again(ledger)) as restarted:
        commit(restarted, 4)
        assert [number for (number,) in seen_by_others(ledger)] == [1, 2, 3, 4]


def test_a_ledger_that_is_a_link_to_another_disk_is_written_and_read_there(ledger, tmp_path):
    link = tmp_path / "orders.sqlite"
    ledger.path.touch(0o600)
    link.symlink_to(ledger.path)
    with closing(Ledger(link)) as linked:
        for number in (1, 2, 3):
            commit(linked, number)
            linked.look()
        assert seen_by_others(linked) == seen_by_others(ledger) == [(1,), (2,), (3,)]
        assert [file.name for file in tmp_path.iterdir()] == ["orders.sqlite"]
        with pytest.raises(LedgerError, match="another order manager"):
            Ledger(ledger.path).open()
    commit(ledger, 4)


@contextlib.contextmanager
def read_by_another(ledger: Ledger) -> Iterator[None]:
    """A time in which an earlier moment of the ledger is being read."""
    with closing(open_for_reading(ledger.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM orders").fetchall()
        yield


NOT_SAVED = (
    r"what was booked last is not yet saved \(another program is reading it\): it is lost if this "
    r"order manager, process \d+, ends before"
)


def test_a_reader_of_a_removed_ledger_delays_only_how_soon_all_of_it_can_be_copied(ledger):
    commit(ledger, 1)
    with read_by_another(ledger):
        commit(ledger, 2, 3)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{ledger.path}{suffix}").unlink()
        for _ in range(2):
            with pytest.raises(LedgerLostError, match=NOT_SAVED) as lost:
                ledger.look()
            assert "`" not in str(lost.value)
    with pytest.raises(LedgerLostError) as lost:
        ledger.look()
    subprocess.run(str(lost.value).split("`")[1], shell=True, check=True)
    assert seen_by_others(ledger) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("suffixes", [("-wal",), SIDE_FILES], ids=["the WAL", "all side files"])
@pytest.mark.parametrize("found_by", ["a look", "an order", "a failed query"])
def test_no_order_in_a_removed_wal_is_lost_to_a_reader(ledger, suffixes, found_by):
    commit(ledger, 1)
    with read_by_another(ledger):
        commit(ledger, 2, 3)
        for suffix in suffixes:
            Path(f"{ledger.path}{suffix}").unlink()
        if found_by == "an order":
            book(ledger, "x", 4)
        elif found_by == "a failed query":
            with pytest.raises(LedgerError), ledger._failing():
                raise sqlite3.OperationalError("of any kind")
            with pytest.raises(LedgerError, match="of any kind"):
                ledger.commit()
        for _ in range(2):
            with pytest.raises(LedgerError, match=f"sqlite-wal was removed, and {NOT_SAVED}"):
                ledger.look()
            assert ledger.find("x", 3) is not None
            assert ledger.last_order_id("y") == 0
    with pytest.raises(LedgerError, match=r"orders\.sqlite-wal was removed$"):
        ledger.commit()
    ledger.look()
    commit(ledger, 4)
    assert ledger.next_trade_id() == 5
    with closing(again(ledger)) as restarted:
        restarted.open()
        assert seen_by_others(ledger) == [(1,), (2,), (3,), (4,)]


def test_an_order_manager_that_ends_saves_a_removed_wal_beside_a_reader_of_all_of_it(ledger):
    commit(ledger, 1, 2, 3)
    with read_by_another(ledger):
        Path(f"{ledger.path}-wal").unlink()
        ledger.close()
    assert seen_by_others(ledger) == [(1,), (2,), (3,)]


def test_what_a_file_is_moved_to_may_be_removed_and_then_the_way_back_is_another(ledger):
    commit(ledger, 1)
    moved = move(ledger, ("",))
    with pytest.raises(LedgerLostError, match=f"it is back from {moved};"):
        ledger.look()
    moved.unlink()
    with pytest.raises(LedgerLostError, match=r"it is copied back .`cp /proc/"):
        ledger.look()


def test_a_file_with_fewer_orders_than_this_process_has_booked_is_refused(ledger):
    commit(ledger, 1)
    ledger.close()
    backup = ledger.path.read_bytes()
    with closing(Ledger(ledger.path)) as ledger:
        commit(ledger, 2, 3)
        with locked(ledger), pytest.raises(LedgerError, match="locked"):
            commit(ledger, 4)
        whole = ledger.path.read_bytes()
        ledger.path.write_bytes(backup)
        for _ in range(2):
            with pytest.raises(
                DamagedLedgerError, match=r"ends with trade_id 1, .* order manager has booked 3"
            ):
                ledger.look()
        ledger.path.write_bytes(whole)
        commit(ledger, 4)
        assert len(seen_by_others(ledger)) == 4


def test_a_backup_beside_the_wal_of_later_orders_is_recognised(ledger):
    path = ledger.path
    copy = path.with_name("copy.sqlite")
    for number in (1, 2, 3):
        commit(ledger, number)
        if number < 3:
            ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if number == 1:
            shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    with pytest.raises(DamagedLedgerError, match=r"ends with commit 1, .* after commit 2"):
        Ledger(copy).open()


def test_a_ledger_removed_while_it_was_closed_after_a_failure_is_lost_too(ledger):
    commit(ledger, 1)
    with locked(ledger), pytest.raises(LedgerError, match="locked"):
        commit(ledger, 2)
    assert ledger._connection is None
    ledger.path.unlink()
    assert_nothing_is_booked(ledger, "was removed; .*`cp /proc/")
    assert not ledger.path.exists()


@pytest.mark.parametrize("evidence", ["none", "a lock", "a link to an empty file"])
def test_a_new_ledger_is_a_warning_where_there_may_have_been_one(ledger, evidence):
    if evidence == "a lock":
        ledger.path.with_name("orders.sqlite.lock").touch(0o600)
    elif evidence == "a link to an empty file":
        ledger.path.with_name("elsewhere.sqlite").touch()
        ledger.path.symlink_to("elsewhere.sqlite")
    with capture_logs() as logged:
        commit(ledger, 1)
        commit(again(ledger), 2)
    reasons = [line["reason"] for line in logged if line["event"] == "ledger_begun"]
    reason = (
        "an order manager has run here before (orders.sqlite.lock is there): positions and order "
        "ids begin anew"
    )
    assert reasons == ([reason] if evidence == "a lock" else [])


def test_a_new_ledger_is_a_warning_also_after_a_start_that_failed(ledger):
    ledger.path.with_name("orders.sqlite.lock").touch(0o600)
    wal = ledger.path.with_name("orders.sqlite-wal")
    wal.write_bytes(b"of a ledger that was moved away")
    with pytest.raises(LedgerError, match="with orders in it"):
        ledger.look()
    wal.unlink()
    with capture_logs() as logged:
        ledger.look()
    assert [line["event"] for line in logged] == ["ledger_begun"]


@pytest.mark.parametrize("suffixes", [("-wal", "-shm"), ("-shm",), (".lock",)])
def test_no_file_of_the_ledger_can_be_exchanged_unnoticed(ledger, suffixes):
    commit(ledger, 1, 2, 3)
    for suffix in suffixes:
        Path(f"{ledger.path}{suffix}").unlink()
    if suffixes != (".lock",):
        # Another process makes them anew. (In this one, SQLite still has the old ones.)
        read = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM orders')"
        assert run_python(read, str(ledger.path)).returncode == 0
    book(ledger, "x", 4)
    with pytest.raises(LedgerError, match=f"orders.sqlite{suffixes[0]} "):
        ledger.commit()
    assert book(ledger, "x", 4).trade_id == 4
    ledger.commit()
    assert [number for (number,) in seen_by_others(ledger)] == [1, 2, 3, 4]
    with closing(Ledger(ledger.path)) as second, pytest.raises(LedgerError, match="another order"):
        second.open()


def test_no_ledger_is_made_beside_the_wal_of_one_that_was_moved_away(ledger):
    commit(ledger, 1)
    wal = Path(f"{ledger.path}-wal")
    orphan = wal.read_bytes()
    ledger.close()
    moved = ledger.path.rename(ledger.path.with_name("moved.sqlite"))
    wal.write_bytes(orphan)
    with pytest.raises(
        LedgerError, match=r"not there, but orders\.sqlite-wal is, with orders in it"
    ):
        ledger.open()
    with pytest.raises(LedgerError):
        ledger.commit()
    assert wal.read_bytes() == orphan
    moved.rename(ledger.path)
    assert ledger.last_order_id("x") == 1


DAMAGES = {
    "UPDATE positions SET cost = '1O'": "damaged: the position of 'x' in 'AAPL'",
    "UPDATE positions SET realised_profit = x'00'": "damaged: the position of 'x' in 'AAPL'",
    "UPDATE positions SET position = 'ten'": "damaged: the position of 'x' in 'AAPL'",
    "UPDATE positions SET position = 11": "position of x in AAPL: position is 11, the fills say 10",
    "UPDATE orders SET price = '173.2.1'": "damaged: order 1 of 'x'",
    "UPDATE orders SET price = '-173.2'": "position of x in AAPL: cost is 1732, the fills say -1",
    "UPDATE orders SET position = 'ten'": "damaged: order 1 of 'x'",
    "UPDATE orders SET trade_id = 'one'": "damaged: trade_id",
    "UPDATE orders SET order_id = 'one'": "damaged: order 'one' of 'x'",
    "INSERT INTO facts VALUES ('anonymous_clients', 'x')": "damaged: anonymous_clients",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_value_that_no_order_manager_wrote_is_named(ledger, damage):
    def look() -> None:
        ledger.positions("x")
        ledger.find("x", 1)

    commit(ledger, 1)
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute(damage)
        connection.commit()
    ledger = Ledger(ledger.path)
    for _ in range(2):
        with pytest.raises(DamagedLedgerError, match=DAMAGES[damage]):
            look()
        with pytest.raises(LedgerError, match=DAMAGES[damage]):
            ledger.commit()
    ledger.close()


@pytest.mark.parametrize("what", ["another program's", "a later version"])
def test_a_file_that_is_something_else_is_refused_and_not_touched(ledger, what):
    with closing(sqlite3.connect(ledger.path)) as connection:
        if what == "a later version":
            connection.execute("PRAGMA application_id = 0x54574C47")
            connection.execute("PRAGMA user_version = 2")
        connection.execute("CREATE TABLE things (name)")
        connection.commit()
    before = ledger.path.read_bytes()
    expected = "versions up to 1" if what == "a later version" else "of another program"
    with pytest.raises(ForeignLedgerError, match=expected):
        ledger.open()
    assert ledger.path.read_bytes() == before
