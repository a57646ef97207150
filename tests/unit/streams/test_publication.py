"""Publication: the state is ahead of the wire, and a successor goes on with the same tape."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.process.state_file import StateFile
from lib.streams.publication import (
    Pacer,
    Tapes,
    continue_or_begin,
    news_publication,
    price_publication,
)
from lib.streams.schedule import Schedule
from lib.tapes.csv_file import RandomSentiments, RandomWalkTape

SYMBOLS = ("AAPL", "MSFT")
RUN = (4711, 12345)
TAPES = Tapes(RandomWalkTape(SYMBOLS, 7), RandomSentiments(7))


class Short(RandomWalkTape):
    """A tape that ends."""

    length = 5  # type: ignore[misc]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "gateway.state"


def begin(
    path: Path, run: tuple[int, int] = RUN, tapes: Tapes = TAPES, name: str = "t"
) -> StateFile:
    return continue_or_begin(path, run, tapes, lambda: name)


def test_a_new_tape_begins_at_its_first_tick_with_the_first_news_published(path):
    state = begin(path)
    assert price_publication(state, TAPES, SYMBOLS).stream.next_sequence == 1
    assert news_publication(state, TAPES).stream.next_sequence == 2


def test_a_successor_goes_on_where_the_state_ends(path):
    price_publication(begin(path), TAPES, SYMBOLS).publish(40)
    stream = price_publication(begin(path, name="never used"), TAPES, SYMBOLS).stream
    assert (stream.tape, stream.next_sequence) == ("t", 41)


def test_prices_and_news_have_a_word_each(path):
    state = begin(path)
    price_publication(state, TAPES, SYMBOLS).publish(3)
    news_publication(state, TAPES).publish(5)
    assert list(state.words) == [4, 7]


@pytest.mark.parametrize(
    ("run", "tapes"),
    [
        ((4711, 99999), TAPES),
        (RUN, Tapes(RandomWalkTape(SYMBOLS, 8), TAPES.sentiments)),
        (RUN, Tapes(TAPES.ticks, RandomSentiments(8))),
    ],
)
def test_another_run_or_another_content_is_another_tape(path, run, tapes):
    price_publication(begin(path), TAPES, SYMBOLS).publish(40)
    state = begin(path, run, tapes, "other")
    assert (state.header["tape"], list(state.words)) == ("other", [1, 2])


def test_a_tape_is_published_up_to_its_end(path):
    tapes = Tapes(Short(SYMBOLS, 7), TAPES.sentiments)
    publication = price_publication(begin(path, tapes=tapes), tapes, SYMBOLS)
    assert (publication.publish(3), publication.ended) == (3, False)
    assert (publication.publish(3), publication.ended) == (2, True)
    assert publication.publish(1) == 0


def test_nothing_is_published_for_a_count_below_one(path):
    publication = price_publication(begin(path), TAPES, SYMBOLS)
    assert publication.publish(-4) == 0
    assert publication.stream.next_sequence == 1


def test_a_pacer_asks_for_what_is_due_and_is_silent_after_the_end():
    counts: list[int] = []
    left = [3]

    def publish(count: int) -> int:
        counts.append(count)
        published = min(count, left[0])
        left[0] -= published
        return published

    pacer = Pacer("price", Schedule(10, 0), publish)
    pacer.on_time(SECOND_NS // 5)
    assert pacer.next_deadline_ns() is not None
    pacer.on_time(SECOND_NS // 2)
    assert counts == [2, 3]
    assert pacer.next_deadline_ns() is None


def test_a_schedule_that_is_shifted_says_by_how_much():
    counts = []

    def publish(count: int) -> int:
        counts.append(count)
        return count

    schedule = Schedule(10, 0)
    pacer = Pacer("price", schedule, publish)
    due_ns = schedule.next_ns()
    with capture_logs() as logs:
        pacer.on_time(due_ns + 3 * SECOND_NS)
    assert counts == [1]
    assert [(log["event"], log["stream"], log["shift_ns"], log["late_s"]) for log in logs] == [
        ("schedule_shifted", "price", 3 * SECOND_NS, 3.0)
    ]
