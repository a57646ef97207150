"""Reading a ledger: all of it as it was written, at one moment, and one line if it cannot be."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime

import pytest

from lib.ledger import reader
from lib.ledger.reader import MAX_DAMAGES, read_ledger
from lib.ledger.schema import DamagedLedgerError, LedgerError, open_for_writing
from lib.prices import to_float
from tests.ledgers import insert, make_an_index_lie, orders, positions, write_ledger

DAVES_ORDER = orders("dave 1 BUY 1 AAPL @ 1", first_trade_id=99)


@pytest.fixture
def path(tmp_path):
    return write_ledger(tmp_path / "orders.sqlite")


@pytest.fixture
def writer(path):
    connection = open_for_writing(path)
    yield connection
    connection.close()


def read_everything(path) -> None:
    with read_ledger(path) as snapshot:
        for read in (snapshot.orders, snapshot.fills, snapshot.positions):
            list(read())


def refusal(path) -> str:
    """What is said of a ledger that cannot be read."""
    with pytest.raises((LedgerError, FileNotFoundError)) as caught:
        read_everything(path)
    text = str(caught.value)
    assert text.startswith(f"ledger {path}: ")
    assert text.isprintable()
    return text.removeprefix(f"ledger {path}: ")


def test_everything_is_read_as_it_was_written(path):
    with read_ledger(path) as snapshot:
        assert snapshot.created_utc == datetime(2025, 11, 3, 14, 30, 0, 1, tzinfo=UTC)
        assert snapshot.order_count() == 8
        assert list(snapshot.orders()) == sorted(orders())
        assert list(snapshot.fills()) == [o for o in orders() if o.status == "FILLED"]
        assert list(snapshot.positions()) == positions(orders())
        assert snapshot.damages() == []


def test_positions_are_read_in_slices_as_floats(path):
    exact = [
        (one.client_id, one.symbol, one.position, to_float(one.cost), to_float(one.realised_profit))
        for one in positions(orders())
    ]
    with read_ledger(path) as snapshot:
        first = snapshot.holdings(("", ""), 1)
        rest = snapshot.holdings(first[-1][:2], 100)
        assert snapshot.holdings(rest[-1][:2], 100) == []
    assert [*first, *rest] == [pytest.approx(one) for one in exact]


@pytest.mark.parametrize("value", ["'many'", "x'00'", "1.5"])
def test_holdings_with_a_damaged_position_are_an_error_of_the_ledger(path, writer, value):
    writer.execute(f"UPDATE positions SET position = {value} WHERE client_id = 'bob'")
    with (
        pytest.raises(LedgerError, match="a position is not as an order manager books: Expected"),
        read_ledger(path) as snapshot,
    ):
        snapshot.holdings(("", ""), 100)


def test_orders_are_counted_in_slices_each_fill_and_each_rejection_once(path):
    with read_ledger(path) as snapshot:
        assert snapshot.fill_count() == 6
        assert sorted(snapshot.count_fills(0, 3)) == [("alice", 2, 3), ("bob", 1, 2)]
        assert sorted(snapshot.count_fills(3, 100)) == [("alice", 2, 6), ("bob", 1, 5)]
        assert snapshot.count_fills(6, 100) == []
        assert snapshot.count_rejections(("", 0), 1) == [("alice", 1, 3)]
        assert snapshot.count_rejections(("alice", 3), 1) == [("carol", 1, 1)]
        assert snapshot.count_rejections(("", 0), 100) == [("alice", 1, 3), ("carol", 1, 1)]
        assert snapshot.count_rejections(("carol", 1), 100) == []


def test_a_read_that_takes_too_long_is_ended_and_says_so(path, monkeypatch):
    monkeypatch.setattr(reader, "STEPS_A_CHECK", 1)
    with (
        pytest.raises(LedgerError, match="takes too long to read"),
        read_ledger(path, time_limit_s=0) as snapshot,
    ):
        snapshot.holdings(("", ""), 100)


def test_the_latest_orders_are_those_received_last(path):
    with read_ledger(path) as snapshot:
        assert snapshot.latest_orders(3) == orders()[-3:]
        assert snapshot.latest_orders(100) == orders()


def test_orders_and_positions_are_of_one_moment(path, writer):
    with read_ledger(path) as snapshot:
        writer.execute("BEGIN IMMEDIATE")
        insert(writer, DAVES_ORDER)
        writer.execute("DELETE FROM positions")
        writer.execute("COMMIT")
        assert list(snapshot.orders()) == sorted(orders())
        assert list(snapshot.positions()) == positions(orders())
    with read_ledger(path) as snapshot:
        assert snapshot.order_count() == 9
        assert list(snapshot.positions()) == []


def overwrite_all_pages_but_the_first(path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096))


def make_a_database_of_another_program(path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE orders (x)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "not there; the order manager makes one when it starts"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"what a day\n" * 1000), "damaged (file is not a database)"),
        (make_a_database_of_another_program, "an SQLite file of another program"),
        (overwrite_all_pages_but_the_first, "damaged (database disk image is malformed)"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "no file"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "Too many levels of symbolic links"),
    ],
    ids=["missing", "empty", "text", "foreign", "overwritten", "pipe", "link to itself"],
)
def test_what_is_no_ledger_is_refused_and_left_as_it_is(path, spoil, said):
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    cure = str(DamagedLedgerError("")) if said.startswith("damaged") else ""
    assert refusal(path) == f"{said}{cure}"
    assert (path.read_bytes() if path.is_file() else None) == before


def test_an_index_that_lies_is_a_damage(path):
    make_an_index_lie(path)
    with read_ledger(path) as snapshot:
        damages = snapshot.damages()
    assert any("missing from index" in damage for damage in damages)
    assert len(damages) <= MAX_DAMAGES
    assert all(damage.isprintable() for damage in damages)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("PRAGMA user_version = 99", "of version 99"),
        ("UPDATE facts SET value = 'once'", "does not say when it was created"),
        ("UPDATE facts SET value = '2025-11-03T14:30:00'", "does not say when it was created"),
        ("DELETE FROM facts", "does not say when it was created"),
        ("UPDATE orders SET price = '1e3' WHERE client_id = 'bob'", "order 1 of 'bob' "),
        (
            "UPDATE orders SET quantity = 'a\nlot' WHERE client_id = 'bob'",
            "order 1 of 'bob' is not as an order manager books: Expected `int`, got `str`",
        ),
        ("UPDATE orders SET price = x'00' WHERE client_id = 'carol'", "order 1 of 'carol' "),
        ("UPDATE positions SET cost = 'a lot'", "the position of 'alice' in 'AAPL' "),
        ("UPDATE positions SET cost = x'00'", "the position of 'alice' in 'AAPL' "),
        ("UPDATE positions SET position = 0.5", "the position of 'alice' in 'AAPL' "),
        ("UPDATE orders SET symbol = CAST(x'ff' AS TEXT)", "Could not decode to UTF-8"),
        ("DROP TABLE positions", "no such table: positions"),
    ],
)
def test_what_no_order_manager_writes_is_reported_in_one_line(path, writer, change, said):
    writer.execute(change)
    assert refusal(path).startswith(said)
