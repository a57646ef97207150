"""The decision log: what was added is read once, in order, and nothing half overwritten is."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from lib.decision_log import (
    CAPACITY,
    DecisionLog,
    DecisionReader,
    new_log,
    open_decision_log,
    tape_mark,
)
from tests.helpers import PROJECT_ROOT

RING = 4
TAPE = "tape-7"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with a small ring."""
    file = tmp_path / "strategy-me.decisions"
    file.write_bytes(new_log(RING))
    return file


def add(log: DecisionLog, *lasts: int, tape: str = TAPE) -> None:
    for last in lasts:
        log.add(tape, last, last, 100 * last)


def read(reader: DecisionReader) -> tuple[list[int], int]:
    """The last sequences, and how many records were missed."""
    records, missed = reader.read()
    assert (records["decided_ns"] == 100 * records["last"]).all()
    return records["last"].tolist(), missed


def test_what_was_added_is_read_once(path: Path) -> None:
    log, reader = open_decision_log(path), DecisionReader(path)
    log.add(TAPE, 1, 3, 1234)
    [record] = reader.read().records.tolist()
    assert record[:4] == (tape_mark(TAPE), 1, 3, 1234)
    assert read(reader) == ([], 0)
    add(log, 4, 5)
    assert read(reader) == ([4, 5], 0)


def test_a_reader_begins_now(path: Path) -> None:
    log = open_decision_log(path)
    add(log, 1, 2)
    reader = DecisionReader(path)
    add(log, 3)
    assert read(reader) == ([3], 0)
    assert reader.count == 3


def test_tapes_are_told_apart(path: Path) -> None:
    log, reader = open_decision_log(path), DecisionReader(path)
    add(log, 8)
    add(log, 1, tape="tape-8")
    assert reader.read().records["tape"].tolist() == [tape_mark("tape-7"), tape_mark("tape-8")]


@pytest.mark.parametrize("before", range(RING))
def test_records_are_read_in_order_where_the_ring_comes_round(path: Path, before: int) -> None:
    log, reader = open_decision_log(path), DecisionReader(path)
    add(log, *range(before))
    read(reader)
    add(log, 101, 102, 103)
    assert read(reader) == ([101, 102, 103], 0)


def test_a_reader_that_was_lapped_knows_how_many_records_it_missed(path: Path) -> None:
    log, reader = open_decision_log(path), DecisionReader(path)
    add(log, *range(1, 11))
    # The one that the writer may be overwriting at this moment is none of those that are left.
    assert read(reader) == ([8, 9, 10], 7)


def test_a_record_that_was_overwritten_in_part_is_missed_and_not_believed(path: Path) -> None:
    log, reader = open_decision_log(path), DecisionReader(path)
    add(log, 1, 2, 3)
    for word in range(5):
        damaged = bytearray(path.read_bytes())
        at = 8 * (8 + 5 * (2 % RING) + word)
        damaged[at] ^= 1
        (path.parent / "damaged").write_bytes(damaged)
        other = DecisionReader(path.parent / "damaged")
        other.count = 0
        records, missed = other.read()
        assert (records["last"].tolist(), missed) == ([1, 3], 1), f"word {word}"
    assert read(reader) == ([1, 2, 3], 0)


def test_no_mixture_of_two_records_of_one_slot_is_believed(path: Path) -> None:
    log = open_decision_log(path)
    add(log, *range(1, 4))
    older = path.read_bytes()
    add(log, *range(4, 8))
    newer = path.read_bytes()
    slots = 8 * 8
    for words in range(1, 31):  # those of bit set come from the older record
        mixed = bytearray(newer)
        for word in range(5):
            if words >> word & 1:
                for slot in range(RING):
                    at = slots + 8 * (5 * slot + word)
                    mixed[at : at + 8] = older[at : at + 8]
        (path.parent / "mixed").write_bytes(mixed)
        reader = DecisionReader(path.parent / "mixed")
        reader.count = 3
        expected = [] if words & 0b11110 else [5, 6, 7]  # the tape is the same in both
        assert reader.read().records["last"].tolist() == expected, bin(words)


def test_a_successor_goes_on_with_the_count(path: Path) -> None:
    reader = DecisionReader(path)
    add(open_decision_log(path), 1, 2)
    add(open_decision_log(path), 3)
    assert read(reader) == ([1, 2, 3], 0)


def test_every_record_before_a_sigkill_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    killed = """
import os, pathlib, signal, sys
from lib.decision_log import open_decision_log
log = open_decision_log(pathlib.Path(sys.argv[1]))
for number in range(1, 70_001):
    log.add("tape-7", number, number, 100 * number)
os.kill(os.getpid(), signal.SIGKILL)
"""
    outcome = subprocess.run([sys.executable, "-c", killed, path], cwd=PROJECT_ROOT, timeout=60)
    assert outcome.returncode == -signal.SIGKILL
    reader = DecisionReader(path)
    assert reader.count == 70_000
    reader.count = 0
    lasts, missed = read(reader)
    assert lasts == list(range(70_000 - CAPACITY + 2, 70_001))
    assert missed == 70_000 - CAPACITY + 1


def test_a_reader_beside_a_writer_at_full_speed_reads_only_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(new_log(16))
    reader = DecisionReader(path)
    writing = """
import pathlib, sys
from lib.decision_log import open_decision_log
log = open_decision_log(pathlib.Path(sys.argv[1]))
for number in range(1, 300_001):
    log.add("tape-7", number, number, 100 * number)
"""
    writer = subprocess.Popen([sys.executable, "-c", writing, path], cwd=PROJECT_ROOT)
    seen = missed = last = 0
    while reader.count < 300_000:
        records, lost = reader.read()
        assert (np.diff(records["last"]) > 0).all()
        assert (records["decided_ns"] == 100 * records["last"]).all()
        if len(records):
            assert records["last"][0] > last
            last = int(records["last"][-1])
        seen, missed = seen + len(records), missed + lost
        if not len(records) and writer.poll() is not None and reader.count < 300_000:
            pytest.fail("the writer has ended early")
    assert writer.wait(60) == 0
    assert seen + missed == 300_000


@pytest.mark.parametrize(
    "content", [b"", b"no log", bytes(new_log(RING))[:-1], bytes(new_log(0)), bytes(4096)]
)
def test_what_is_no_decision_log_is_replaced_and_not_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"log: not a decision log|empty"):
        DecisionReader(path)
    log = open_decision_log(path)
    reader = DecisionReader(path)
    add(log, 1)
    assert read(reader) == ([1], 0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_where_it_cannot_be_written_the_log_says_so_and_trading_goes_on(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with capture_logs() as logs:
        log = open_decision_log(tmp_path / "log")
    add(log, *range(10))
    assert [entry["event"] for entry in logs] == ["decision_log_not_written"]
    assert "Is a directory" in logs[0]["reason"]
