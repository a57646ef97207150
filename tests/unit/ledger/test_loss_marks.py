"""Loss marks: a fact of the ledger that is booked with the orders, or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from lib.ledger.loss_marks import LossMark, fact_value, loss_mark
from lib.ledger.rows import DamagedRowError
from lib.ledger.schema import LedgerError
from lib.ledger.writer import Ledger
from tests.helpers import fresh_ledger, locked
from tests.unit.ledger.test_writer import book

MARK = LossMark(-1_250_000_000, is_reached=True)


@pytest.mark.parametrize("mark", [LossMark(), MARK, LossMark(10**40), LossMark(-1)])
def test_a_mark_is_read_as_it_was_written(mark):
    assert loss_mark(fact_value(mark)) == mark


@pytest.mark.parametrize("value", ["", "reached", " reached", "1.50", "1 reached reached", 7, b"1"])
def test_anything_else_is_a_damaged_row(value):
    with pytest.raises(DamagedRowError, match="a loss mark is not as booked"):
        loss_mark(value)


def test_a_mark_is_committed_with_an_order_and_found_by_the_next_process():
    with fresh_ledger() as ledger:
        assert ledger.loss_mark("x") == LossMark()
        ledger.mark_loss("x", MARK)
        book(ledger, "x", 1, "halted")
        ledger.commit()
        ledger.close()
        with closing(Ledger(ledger.path)) as successor:
            assert successor.loss_mark("x") == MARK
            assert successor.loss_mark("y") == LossMark()


def test_a_mark_of_a_commit_that_failed_is_forgotten():
    with fresh_ledger() as ledger:
        book(ledger, "x", 1)
        ledger.commit()
        ledger.mark_loss("x", MARK)
        book(ledger, "x", 2)
        with locked(ledger), pytest.raises(LedgerError):
            ledger.commit()
        assert ledger.loss_mark("x") == LossMark()
        book(ledger, "x", 3)
        ledger.commit()
        with closing(sqlite3.connect(ledger.path)) as file:
            marks = file.execute("SELECT name FROM facts WHERE name LIKE 'loss_mark%'").fetchall()
    assert marks == []


def test_holdings_are_all_positions_with_their_profit():
    with fresh_ledger() as ledger:
        book(ledger, "x", 1, quantity=2, price=b"100")
        book(ledger, "x", 2, quantity=2, price=b"90", side="SELL")
        ((symbol, position),) = ledger.holdings("x").items()
        assert (symbol, position) == ("AAPL", (0, 0, -20 * 10**8))
        ledger.commit()
