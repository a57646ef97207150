"""The last evaluated tick: what a successor finds of it, and what a new price book means to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lib.trading.checkpoint import LastEvaluated, read_last_evaluated
from lib.wire.ticks import PLAIN_TAPE


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "strategy.state"


def test_a_successor_goes_on_behind_the_last_tick_that_was_stored_of_the_last_tape(path):
    assert read_last_evaluated(path) == ("", 0)
    evaluated = LastEvaluated(path)
    assert evaluated.last("one") == 0
    for tape, sequence in (("one", 7), ("one", 9), ("two", 3)):
        evaluated.store(tape, sequence)
        for each in (evaluated, LastEvaluated(path)):
            assert each.last(tape) == sequence
        assert read_last_evaluated(path) == (tape, sequence)
    assert LastEvaluated(path).last("one") == 0


@pytest.mark.parametrize(("tape", "last"), [(PLAIN_TAPE, 0), ("one", 7)])
def test_another_price_book_numbers_a_plain_stream_anew_and_no_tape(path, tape, last):
    evaluated = LastEvaluated(path)
    evaluated.begin_book(1)
    evaluated.store(tape, 7)
    evaluated.begin_book(1)
    assert evaluated.last(tape) == 7
    evaluated.begin_book(2)
    for one in (evaluated, LastEvaluated(path)):
        assert one.last(tape) == last


def test_a_file_that_cannot_be_written_stops_nothing_and_is_logged_once(path, monkeypatch):
    evaluated = LastEvaluated(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.trading.checkpoint.create_state", full)
    with capture_logs() as logs:
        evaluated.store("one", 1)
        evaluated.store("one", 2)
    assert evaluated.last("one") == 2
    assert [log["event"] for log in logs] == ["state_not_written"]


def test_a_file_that_was_removed_is_put_back_with_the_last_tick(path):
    evaluated = LastEvaluated(path)
    evaluated.store("one", 7)
    assert evaluated.is_in_place()
    path.unlink()
    evaluated.store("one", 8)
    assert not evaluated.is_in_place()
    evaluated.put_back()
    evaluated.store("one", 9)
    assert evaluated.is_in_place()
    assert LastEvaluated(path).last("one") == 9
