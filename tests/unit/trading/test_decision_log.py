"""The decision log: what was decided when, for a reader who may be late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from lib.trading import decision_log
from lib.trading.decision_log import (
    RING_RECORDS,
    Decided,
    DecisionLog,
    DecisionReader,
    decided_at,
    decision_log_path,
)


@pytest.fixture
def path(tmp_path) -> Path:
    return decision_log_path(tmp_path, "strategy")


def add(log: DecisionLog, first: int, count: int, tape: str = "tape") -> None:
    """Records of ten ticks each, decided at a hundred times their first."""
    for number in range(first, first + count):
        log.add(tape, 10 * number, 10 * number + 9, 1000 * number)


def firsts(reader: DecisionReader) -> tuple[list[int], int]:
    decided = reader.read()
    assert (decided.last - decided.first == 9).all()
    assert (decided.decided_ns == 100 * decided.first).all()
    return (decided.first // 10).tolist(), decided.missed


def test_a_reader_gets_every_record_from_now_on_once_also_of_a_restarted_strategy(path):
    log = DecisionLog(path)
    add(log, 0, 1)  # before it is opened
    reader = DecisionReader.open(path)
    assert reader.tape == "tape"
    add(log, 1, 2)
    assert firsts(reader) == ([1, 2], 0)
    assert firsts(reader) == ([], 0)
    add(DecisionLog(path), 3, 1)
    assert firsts(reader) == ([3], 0)


def test_a_late_reader_knows_how_many_records_it_missed(path):
    log = DecisionLog(path)
    add(log, 0, 1)
    reader = DecisionReader.open(path)
    add(log, 1, RING_RECORDS + 3)
    # The oldest record still there could be being overwritten: it counts as missed.
    assert firsts(reader) == (list(range(5, RING_RECORDS + 4)), 4)


def test_what_is_overwritten_during_the_copy_is_not_taken_for_true(path, monkeypatch):
    log = DecisionLog(path)
    add(log, 0, 1)
    reader = DecisionReader.open(path)
    add(log, 1, RING_RECORDS)
    arange = decision_log.np.arange

    def late(*span):
        add(log, RING_RECORDS + 1, 7)  # the writer goes on before the copy is made
        return arange(*span)

    monkeypatch.setattr(decision_log.np, "arange", late)
    records, missed = firsts(reader)
    assert missed == 8
    assert records == list(range(9, RING_RECORDS + 1))
    monkeypatch.undo()
    assert firsts(reader) == (list(range(RING_RECORDS + 1, RING_RECORDS + 8)), 0)


def test_a_new_tape_is_a_new_file(path):
    log = DecisionLog(path)
    add(log, 0, 1)
    old = DecisionReader.open(path)
    add(log, 1, 3)
    add(log, 1, 1, tape="another")
    assert firsts(old) == ([1, 2, 3], 0)
    new = DecisionReader.open(path)
    assert new.tape == "another"
    add(log, 2, 1, tape="another")
    assert firsts(new) == ([2], 0)


def test_without_its_file_nothing_is_recorded_and_that_is_logged_once(tmp_path):
    (tmp_path / "file").touch()
    log = DecisionLog(tmp_path / "file" / "decisions")
    with capture_logs() as logs:
        add(log, 1, 3)
        add(log, 1, 1, tape="another")
    assert [entry["event"] for entry in logs] == ["decisions_not_recorded"]


def test_a_file_that_could_not_be_created_is_created_for_the_same_tape_later(tmp_path):
    (tmp_path / "var").touch()
    path = tmp_path / "var" / "decisions"
    log = DecisionLog(path)
    with capture_logs() as logs:
        add(log, 1, 3)
        assert not log.is_in_place()
        with pytest.raises(FileExistsError):
            log.put_back()
        (tmp_path / "var").unlink()
        log.put_back()
    assert [entry["event"] for entry in logs] == ["decisions_not_recorded"]
    assert log.is_in_place()
    reader = DecisionReader.open(path)
    assert reader.tape == "tape"
    add(log, 4, 2)
    assert firsts(reader) == ([4, 5], 0)


@pytest.mark.parametrize(
    ("records", "decided"),
    [
        ([], [0, 0, 0, 0]),
        ([(1, 4, 100), (5, 6, 200), (7, 9, 300)], [100, 200, 200, 300]),
        ([(1, 4, 100), (6, 6, 200)], [100, 0, 200, 0]),
        ([(5, 9, 100)], [0, 100, 100, 100]),
    ],
    ids=["nothing decided", "with its batch", "some left out", "one before the first decision"],
)
def test_a_tick_was_decided_with_its_batch_or_never(records, decided):
    first, last, decided_ns = np.array(records, np.int64).reshape(-1, 3).T
    decisions = Decided(first, last, decided_ns, 0)
    assert decided_at(np.array([4, 5, 6, 7]), decisions).tolist() == decided


def test_a_log_that_was_removed_is_put_back_with_its_records_and_a_reader_sees_the_loss(path):
    log = DecisionLog(path)
    assert log.is_in_place()  # there is none yet
    log.put_back()
    add(log, 0, 1)
    reader = DecisionReader.open(path)
    path.unlink()
    add(log, 1, 1)
    assert not log.is_in_place()
    assert not reader.is_in_place()
    assert firsts(reader) == ([1], 0)
    log.put_back()
    assert log.is_in_place()
    reader = DecisionReader.open(path)
    add(log, 2, 1)
    assert firsts(reader) == ([2], 0)
    add(DecisionLog(path), 3, 1)  # a successor goes on
    assert firsts(reader) == ([3], 0)
