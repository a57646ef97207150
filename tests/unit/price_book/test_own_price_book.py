"""The price book that a process attaches to, and the problem of one that it does not take."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from lib.price_book import own_price_book
from lib.price_book.book import PriceBookError
from lib.price_book.own_price_book import LOOK_NS, NAME_LOOK_NS, OwnPriceBook, RolePriceBook
from lib.price_book.segment_files import SHM_DIR, segment_path
from lib.process.run_identity import Run, run_of
from lib.shared_memory_utils import SharedPriceBook, remove_segments

SYMBOLS = ("AAPL", "MSFT")
OURS = Run(os.getpid(), run_of(os.getpid()).start_ticks)
DEAD = Run(os.getpid(), OURS.start_ticks - 1)


@pytest.fixture
def supervised(monkeypatch) -> None:
    """We are a role of the run `OURS`."""
    monkeypatch.setattr(own_price_book, "is_supervised", lambda: True)
    monkeypatch.setattr(own_price_book, "current_run", lambda: OURS)


@pytest.fixture
def by_hand(monkeypatch) -> None:
    monkeypatch.setattr(own_price_book, "is_supervised", lambda: False)


@pytest.fixture
def other_run() -> Iterator[Run]:
    """Another stack that is running."""
    process = subprocess.Popen(["sleep", "300"])
    yield run_of(process.pid)
    process.kill()
    process.wait()


def make_book(name: str, run: Run | None, symbols: tuple[str, ...] = SYMBOLS) -> SharedPriceBook:
    return SharedPriceBook(symbols, name, ring_capacity=10, run=run)


def test_a_role_attaches_to_the_price_book_of_its_run_and_has_the_slots_of_the_roles(
    name, supervised
):
    own = OwnPriceBook(name, SYMBOLS)
    assert own.look(0) is None
    assert own.problem == ""
    with make_book(name, OURS) as book:
        book.update("AAPL", 1)
        assert own.look(LOOK_NS).read("AAPL") == 1
        assert own.look(LOOK_NS) is own.book
        with own.book.reader() as reader:
            reader.fileno()
            assert (SHM_DIR / f"{name}.reader-00").exists()


def test_a_role_leaves_the_price_book_of_a_running_stack_alone_and_logs_it_once(
    name, supervised, other_run
):
    make_book(name, other_run).close()
    own = RolePriceBook(name)
    with capture_logs() as logs:
        assert own.look(0) is None
        assert own.look(LOOK_NS) is None
    assert [(e["event"], e["reason"]) for e in logs] == [("price_book_unusable", own.problem)]
    for part in (name, f"process {other_run.pid})", "set [price_book] name"):
        assert part in own.problem
    # When that stack has ended, the name can be ours; and what comes after that is logged again.
    remove_segments(name)
    with capture_logs() as logs:
        assert own.look(2 * LOOK_NS) is None
        assert own.problem == ""
        make_book(name, OURS).close()
        assert own.look(3 * LOOK_NS) is not None
        own.let_go()
        remove_segments(name)
        make_book(name, other_run).close()
        assert own.look(3 * LOOK_NS) is None
    assert [e["event"] for e in logs] == ["detached", "price_book_unusable"]


def test_a_price_book_that_is_found_damaged_or_is_none_is_logged_once(name, by_hand):
    own = RolePriceBook(name)
    make_book(name, None).close()
    with capture_logs() as logs:
        assert own.look(0) is not None
        for _ in range(2):
            own.damaged(PriceBookError("torn"))
        own.let_go()
        segment_path(name).write_bytes(b"nonsense" * 100)
        assert own.look(0) is None
    assert [e["event"] for e in logs] == [
        *("price_book_unusable", "detached", "price_book_unusable"),
    ]
    assert logs[0]["reason"] == "torn"
    assert f"segment {name} is no price book" in own.problem == logs[2]["reason"]


def test_a_lost_price_book_is_retired_at_the_second_look_and_logged_once(name, by_hand):
    first, second = RolePriceBook(name), RolePriceBook(name)
    with make_book(name, None):
        assert None not in (first.look(0), second.look(0))
        segment_path(name).unlink()
        now_ns = LOOK_NS
        with capture_logs() as logs:
            first.look(now_ns)
            assert not first.book.retired  # the orderbook comes first, if it is alive
            for _ in range(2):
                now_ns += NAME_LOOK_NS
                first.look(now_ns)
                second.look(now_ns)
            assert first.book.retired
            first.let_go()
    assert [(e["event"], e["log_level"]) for e in logs] == [
        ("price_book_lost", "error"),
        ("detached", "info"),
    ]
    assert f"{name} was removed" in logs[0]["reason"]
    with make_book(name, None):
        assert first.look(now_ns) is not None
        first.look(now_ns + LOOK_NS)
        assert not first.book.retired


def test_a_lost_price_book_that_is_let_go_before_anybody_has_retired_it_is_logged(name, by_hand):
    own = RolePriceBook(name)
    with make_book(name, None) as book, capture_logs() as logs:
        own.look(0)
        segment_path(name).unlink()
        own.let_go()
        assert not book.retired
    assert [e["event"] for e in logs] == ["price_book_lost", "detached"]
    assert f"{name} was removed" in logs[0]["reason"]


def test_an_observer_that_loses_its_price_book_leaves_it_as_it_is(name, by_hand):
    own = OwnPriceBook(name)
    with make_book(name, None) as book:
        own.look(0)
        segment_path(name).unlink()
        for number in range(1, 3):
            assert not own.is_lost
            own.look(number * NAME_LOOK_NS)
        assert own.is_lost
        assert not book.retired
    own.let_go()
    with make_book(name, None):
        assert own.look(3 * NAME_LOOK_NS) is not None
        assert not own.is_lost


def test_a_lost_price_book_that_its_orderbook_has_retired_is_not_logged_again(name, by_hand):
    own = RolePriceBook(name)
    with make_book(name, None) as book, capture_logs() as logs:
        own.look(0)
        segment_path(name).unlink()
        book.retire()
        for number in range(1, 4):
            own.look(number * NAME_LOOK_NS)
    assert logs == []


@pytest.mark.parametrize("run", [None, DEAD])
def test_a_role_leaves_a_price_book_of_no_live_run_alone_until_its_orderbook_takes_over(
    name, supervised, run
):
    with make_book(name, run) as book:
        book.update("AAPL", 1)
    own = RolePriceBook(name)
    with capture_logs() as logs:
        assert own.look(0) is None
        assert logs == []  # its orderbook may be taking it over
        assert own.look(LOOK_NS) is None
    (line,) = logs
    assert f"price book {name} is not this stack's" in line["reason"]
    with make_book(name, OURS) as book:
        assert own.look(2 * LOOK_NS) is None
        book.become_writer()
        assert own.look(3 * LOOK_NS).read("AAPL") == 1


@pytest.mark.parametrize("run", [None, DEAD, OURS])
def test_a_role_started_by_hand_attaches_to_whatever_is_there(name, by_hand, run):
    make_book(name, run).close()
    assert OwnPriceBook(name).look(0) is not None


def test_other_symbols_are_named_and_not_all_of_them(name, by_hand):
    make_book(name, None, tuple(f"SYMBOL{number}" for number in range(1000))).close()
    own = OwnPriceBook(name, SYMBOLS)
    assert own.look(0) is None
    assert "SYMBOL4 and 995 more" in own.problem
    assert OwnPriceBook(name).look(0) is not None  # it takes any symbols


def test_a_price_book_is_looked_for_now_and_then_and_at_once_after_one_was_let_go(name, by_hand):
    own = OwnPriceBook(name)
    assert own.look(1) is None
    make_book(name, None).close()
    assert own.look(LOOK_NS) is None
    assert own.next_look_ns == 1 + LOOK_NS
    first = own.look(1 + LOOK_NS)
    assert first is not None
    own.let_go()
    own.let_go()
    assert own.look(1 + LOOK_NS) not in (None, first)
