"""Orders are counted once, in slices, whatever the ledger has."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lib.dashboard import order_counts
from lib.dashboard.order_counts import OrderCounter
from lib.ledger.reader import Snapshot, read_ledger
from lib.ledger.schema import LedgerError, open_for_writing
from tests.ledgers import insert, orders, write_ledger

STEPS = 100
"""How many steps of SQLite's machine are counted as one."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_ledger(tmp_path / "orders.sqlite")


@pytest.fixture
def counts() -> OrderCounter:
    return OrderCounter(["alice", "carol"])


def read(counts: OrderCounter, path: Path, rejections_logged: int = 0) -> int:
    """Let it read; return how many steps of SQLite's machine that took, in hundreds."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with read_ledger(path) as ledger:
        ledger._connection.set_progress_handler(count, STEPS)
        counts.read(ledger, rejections_logged)
    return steps


def book(path: Path, history: str, first_trade_id: int = 1) -> None:
    with closing(open_for_writing(path)) as connection:
        insert(connection, orders(history, first_trade_id))


def counted(counts: OrderCounter) -> tuple:
    return counts.filled, counts.rejected, counts.of_client("alice"), counts.of_client("carol")


def test_all_orders_are_counted_and_those_of_the_clients_that_are_named(counts, path):
    assert counts.awaits
    read(counts, path)
    assert not counts.awaits
    assert counted(counts) == (6, 2, (4, 1), (0, 1))


def test_what_is_booked_later_is_added(counts, path):
    read(counts, path)
    book(path, "alice 6 BUY 1 AAPL @ 1\nalice 7 BUY 1 AAPL @ 1 no\nbob 3 SELL 1 AAPL @ 1", 7)
    read(counts, path)
    assert counted(counts) == (8, 2, (5, 1), (0, 1))  # that one is rejected was not logged
    read(counts, path, rejections_logged=1)
    assert counted(counts) == (8, 3, (5, 2), (0, 1))


@pytest.mark.parametrize("slice_size", [1, 2, 3])
def test_until_all_are_counted_once_nothing_is_said_of_a_client(
    counts, path, monkeypatch, slice_size
):
    monkeypatch.setattr(order_counts, "ORDERS_A_READ", slice_size)
    for _ in range(6 // slice_size):
        assert counts.awaits
        assert counts.of_client("alice") is None
        read(counts, path)
        assert counts.filled == 6
    assert not counts.awaits
    assert counted(counts) == (6, 2, (4, 1), (0, 1))


def test_rejections_that_could_not_be_read_are_counted_by_the_next_read(counts, path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise sqlite3.OperationalError("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr(Snapshot, "count_rejections", interrupted)
        with pytest.raises(LedgerError):
            read(counts, path)
    assert counts.awaits
    read(counts, path)
    assert counted(counts) == (6, 2, (4, 1), (0, 1))


def test_a_ledger_in_the_place_of_another_is_counted_from_its_beginning(counts, path):
    read(counts, path)
    path.unlink()
    write_ledger(path, "alice 1 BUY 1 AAPL @ 1\nalice 2 BUY 1 AAPL @ 1 no")
    read(counts, path)
    assert counted(counts) == (1, 1, (1, 1), (0, 0))


@pytest.fixture
def large(path: Path) -> Path:
    with closing(open_for_writing(path)) as connection:
        connection.execute(
            """WITH RECURSIVE n(n) AS (VALUES (7) UNION ALL SELECT n + 1 FROM n WHERE n < 300000)
            INSERT INTO orders SELECT 'alice', n, 'AAPL', 'BUY', 1, '1', 'FILLED', NULL, n, 1,
            NULL, NULL, NULL, 1, 'x' FROM n"""
        )
    return path


def test_a_look_at_a_large_ledger_reads_what_is_new_and_nothing_else(counts, large):
    first = [read(counts, large) for _ in range(300_000 // order_counts.ORDERS_A_READ)]
    assert not counts.awaits
    assert counted(counts) == (300_000, 2, (299_998, 1), (0, 1))
    nothing_new = read(counts, large)
    book(large, "\n".join(f"carol {n} BUY 1 AAPL @ 1" for n in range(2, 102)), 300_001)
    a_hundred_new = read(counts, large)
    assert counted(counts) == (300_100, 2, (299_998, 1), (100, 1))
    assert nothing_new * 1000 < sum(first)
    assert a_hundred_new * 100 < sum(first)
    assert min(first) * 10 > max(first)  # no slice is much longer than the others
