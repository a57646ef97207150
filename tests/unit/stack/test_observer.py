"""Following a stack: its price book from one segment to the next, its logs in their order."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.price_book.own_price_book import LOOK_NS, NAME_LOOK_NS
from lib.price_book.segment_files import segment_path
from lib.process.log_events import Started
from lib.shared_memory_utils import Batch, PriceBookReader, SharedPriceBook, remove_segments
from lib.stack.log_follower import SPAWNED, SUPERVISORD, SupervisorEvent
from lib.stack.observer import BookFollower, EventFollower


@pytest.fixture
def name() -> Iterator[str]:
    name = f"test-{os.getpid()}-{secrets.token_hex(6)}"
    yield name
    remove_segments(name)


def make_book(name: str, ticks: int = 0) -> SharedPriceBook:
    book = SharedPriceBook(("AAPL",), name, ring_capacity=64)
    book.begin_epoch("tape")
    for _ in range(ticks):
        book.update("AAPL", 1.0)
    return book


def sequences(follower: BookFollower) -> list[int]:
    return follower.read().ticks["sequence"].tolist()


@pytest.mark.parametrize(("earlier", "read"), [(0, []), (2, [4, 5]), (9, [1, 2, 3, 4, 5])])
def test_a_price_book_is_read_from_as_far_back_as_asked_for_to_its_end_and_then_its_successor(
    name, earlier, read
):
    follower = BookFollower(name)
    assert not follower.attach(0, earlier)
    assert sequences(follower) == []
    with make_book(name, 5) as book:
        assert follower.attach(LOOK_NS, earlier)
        assert not follower.attach(LOOK_NS, earlier)
        assert sequences(follower) == read
        book.update("AAPL", 1.0)
        remove_segments(name)  # as after the end of supervisord
        assert sequences(follower) == [6]
        assert sequences(follower) == []
        assert (follower.book, follower.reader) == (None, None)
    with make_book(name, 3):
        assert follower.attach(LOOK_NS, 9)  # at once
        assert sequences(follower) == [1, 2, 3]
    follower.let_go()


def test_a_price_book_whose_file_vanished_is_left_for_its_successor(name):
    follower = BookFollower(name)
    with make_book(name, 2) as lost:
        follower.attach(0, 9)
        segment_path(name).unlink()
        for number in range(1, 3):
            follower.attach(number * NAME_LOOK_NS, 9)
        assert sequences(follower) == [1, 2]
        assert sequences(follower) == []
        assert (follower.book, lost.retired) == (None, False)
    with make_book(name, 3):
        assert follower.attach(3 * NAME_LOOK_NS, 9)
        assert sequences(follower) == [1, 2, 3]
    follower.let_go()


def test_a_tick_just_before_the_end_of_its_price_book_is_read(name, monkeypatch):
    read = PriceBookReader.read

    def before_the_end(reader: PriceBookReader, max_ticks: int) -> Batch:
        batch = read(reader, max_ticks)
        book.update("AAPL", 1.0)
        remove_segments(name)
        return batch

    with make_book(name) as book:
        follower = BookFollower(name)
        follower.attach(0, 9)
        with monkeypatch.context() as patch:
            patch.setattr(PriceBookReader, "read", before_the_end)
            assert sequences(follower) == []
        assert sequences(follower) == [1]
    follower.let_go()


@pytest.fixture
def var_dir(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path


def log_start(var_dir: Path, program: str, pid: int) -> None:
    with (var_dir / "log" / f"{program}.jsonl").open("a") as log:
        log.write(f'{{"event":"started","role":"strategy","pid":{pid}}}\n')


def seen(follower: EventFollower) -> list[tuple[str, Any]]:
    return [
        (program, line if isinstance(line, SupervisorEvent) else line.event)
        for _, program, line in follower.read()
    ]


def test_what_a_program_logs_comes_after_its_start_and_text_that_is_no_event_is_skipped(var_dir):
    follower = EventFollower(var_dir, ["gateway"])
    no_events = b'Traceback (most recent call last):\n[1]\n{"pid":3}\n\xff\n\n'
    (var_dir / "log" / "gateway.jsonl").write_bytes(no_events)
    log_start(var_dir, "gateway", 7)
    spawned = b"2026-01-01 00:00:00,000 INFO spawned: 'gateway' with pid 7\n"
    (var_dir / "supervisord.log").write_bytes(no_events + spawned)
    assert seen(follower) == [
        (SUPERVISORD, SupervisorEvent(SPAWNED, "gateway", "7")),
        ("gateway", Started(pid=7)),
    ]
    assert seen(follower) == []
    follower.close()


def test_all_programs_are_followed_from_as_far_back_as_asked_for_or_those_that_are_named(var_dir):
    for pid in (1, 2, 3):
        log_start(var_dir, "gateway", pid)
        log_start(var_dir, "strategy", pid)
    line_bytes = (var_dir / "log" / "gateway.jsonl").stat().st_size // 3
    everything = EventFollower(var_dir)
    ones = {
        earlier_pids: EventFollower(var_dir, ["gateway"], earlier_bytes=earlier_bytes)
        for earlier_pids, earlier_bytes in (
            ((), 0),
            ((2, 3), 2 * line_bytes + 1),
            ((1, 2, 3), 10**9),
        )
    }
    for program in ("gateway", "strategy", "second"):
        log_start(var_dir, program, 4)
    assert sorted(seen(everything)) == [
        (program, Started(pid=4)) for program in ("gateway", "second", "strategy")
    ]
    for earlier_pids, one in ones.items():
        assert seen(one) == [("gateway", Started(pid=pid)) for pid in (*earlier_pids, 4)]
    for follower in (everything, *ones.values()):
        follower.close()
