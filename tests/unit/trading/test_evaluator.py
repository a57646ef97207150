"""The evaluation: each tick once, through restarts, laps of the ring and changes of tape."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.throttled_log import ThrottledLog
from lib.settings import StrategySettings
from lib.shared_memory_utils import Batch, PriceBookReader, SharedPriceBook
from lib.streams.stream_client import Frames, StreamClient
from lib.trading import evaluator as evaluation
from lib.trading.checkpoint import LastEvaluated
from lib.trading.evaluator import (
    REFILL_MARGIN,
    TRANSITIONS,
    Evaluator,
    EvaluatorInput,
    EvaluatorState,
)
from lib.trading.order_client import OrderClient
from lib.trading.refill import JUDGE_REFILL_NS, MAX_REFILL_NS
from lib.trading.signal_pace import PASS_NS
from lib.trading.trader import MIN_BATCH_TICKS, Trader
from lib.wire.ticks import TICK

SYMBOLS = ("AAPL", "MSFT")
RING = 8
MAX_PASSES = 1000
LAST_NS = 10**15
"""A time after that of any test."""


class Noting:
    """A signal that notes what it sees and always buys."""

    seen: list[tuple[int, int | None]]
    on_seen: Callable[[], None] = staticmethod(lambda: None)
    """What happens while it looks at a tick."""

    now_ns = 1000
    """What time it is to the strategy: only the signal makes it go on."""
    takes_ns = staticmethod(lambda _seen: 0)
    """How long it takes for a tick; as the constructor, for tick 0."""

    def __init__(self, settings: StrategySettings) -> None:
        Noting.seen = []
        Noting.now_ns += Noting.takes_ns(0)

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> str:
        Noting.seen.append((price, sentiment))
        Noting.now_ns += Noting.takes_ns(price // 100)
        Noting.on_seen()
        return "BUY"


class SlowWithNews(Noting):
    """A signal that takes batches, and time only where there is a sentiment."""

    TICK_NS = 2 * MILLISECOND_NS

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> None:
        Noting.seen.append((price, sentiment))
        Noting.now_ns += self.TICK_NS if sentiment is not None else Noting.takes_ns(price // 100)

    def on_batch(self, symbols, prices, sentiment, names) -> np.ndarray:
        for symbol, price in zip(symbols.tolist(), prices.tolist(), strict=True):
            self.on_tick(names[symbol], price, sentiment)
        return np.zeros(len(prices), np.int8)

    def explain_batch(self, tick: int) -> dict[str, float]:
        return {}


class Desk:
    """An evaluator on a price book of its own; what it sends and logs is kept."""

    def __init__(
        self, book: SharedPriceBook, path: Path, signal_class: type[Noting] = Noting
    ) -> None:
        self.book = book
        self.signal_class = signal_class
        self.path = path
        self.sent: list[bytes] = []
        self.decided: list[tuple[str, int, int, int]] = []
        self.sequence = 0
        self.book.begin_epoch("one")
        self.restart()

    def restart(self) -> None:
        """A new process of the strategy, attached and refilled."""
        self.restart_without_refill()
        self.run_until_attached()

    def restart_without_refill(self) -> None:
        """A new process of the strategy that has attached, and refilled nothing yet."""
        client = OrderClient("strategy")
        trader = Trader(
            SYMBOLS,
            StrategySettings(max_tick_age=1e6),
            self.signal_class,
            clock=lambda: Noting.now_ns,
        )
        self.news = StreamClient(may_be_plain=False)
        self.evaluated = LastEvaluated(self.path)
        self.evaluator = Evaluator(
            trader,
            client,
            self.news,
            self.evaluated,
            ThrottledLog(stream="news", peer="127.0.0.1:5002"),
            send=self._send,
            on_decided=lambda *decided: self.decided.append(decided),
            clock=lambda: Noting.now_ns,
        )
        self.attach(self.book)

    def attach(self, book: SharedPriceBook) -> None:
        self.book = book
        self.reader: PriceBookReader = self.evaluator.attach(book)

    def run_until_attached(self) -> int:
        """Refill the windows, pass after pass. Returns with how many ticks."""
        with capture_logs() as logs:
            for _ in range(MAX_PASSES):
                self.evaluator.evaluate_all(self.reader)
                if any(log["event"] == "attached" for log in logs):
                    break
        *self.begun_anew, attached = logs
        assert attached["event"] == "attached"
        self.attached = attached["tape"], attached["sequence"]
        self.refilled = attached["refilled"]
        return self.refilled

    def _send(self, frames: list[bytes]) -> None:
        # No order may leave before its tick is known as evaluated.
        self.sent.append(LastEvaluated(self.path).last("one").to_bytes(2))

    def book_ticks(self, count: int) -> None:
        numbers = np.arange(self.sequence + 1, self.sequence + 1 + count)
        self.sequence += count
        self.book.update_batch(np.zeros(count, np.int32), numbers * 100, numbers, 1000)

    def begin_tape(self, tape: str) -> None:
        self.book.begin_epoch(tape)
        self.sequence = 0

    def damage_newest(self) -> None:
        """The newest tick is unreadable, as if its writer had been killed while it stored."""
        ring = self.book._segment.ring
        ring[self.book.reader().position % len(ring), 5] ^= np.uint64(1)

    def evaluate(self) -> list[dict]:
        """One batch. Returns what was logged, orders aside."""
        with capture_logs() as logs:
            self.evaluator.evaluate_all(self.reader)
        kept = ("evaluation_started", "ticks_missed")
        return [log for log in logs if log["event"] in kept]


@contextmanager
def a_book(ring_capacity: int = RING) -> Iterator[SharedPriceBook]:
    name = f"test-evaluation-{uuid.uuid4().hex}"
    with SharedPriceBook(SYMBOLS, name, ring_capacity=ring_capacity) as book:
        try:
            yield book
        finally:
            book.unlink()


@pytest.fixture(params=["plain", "in arrays"], autouse=True)
def few_ticks(request, monkeypatch):
    """Whether a few ticks come plain or in an array must make no difference."""
    if request.param == "in arrays":
        monkeypatch.setattr(PriceBookReader, "read_few", lambda _reader: [])


@pytest.fixture(autouse=True)
def a_clock_of_its_own(monkeypatch):
    monkeypatch.setattr(Noting, "now_ns", 1000)


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    with a_book() as book:
        yield Desk(book, tmp_path / "strategy.state")


@pytest.fixture
def other_book() -> Iterator[SharedPriceBook]:
    with a_book() as book:
        yield book


def missed(logs: list[dict]) -> list[tuple]:
    return [
        (log["where"], log["tape"], log["first"], log["last"])
        for log in logs
        if log["event"] == "ticks_missed"
    ]


def prices_seen() -> list[int]:
    return [price // 100 for price, _ in Noting.seen]


def test_each_state_has_its_row_and_all_but_the_first_can_be_reached():
    assert list(TRANSITIONS) == list(EvaluatorState)
    reached = {following for row in TRANSITIONS.values() for following in row.values()}
    assert reached == set(EvaluatorState) - {EvaluatorState.DETACHED}
    assert all(
        row[EvaluatorInput.ATTACHED] is EvaluatorState.REFILLING for row in TRANSITIONS.values()
    )


def test_an_input_that_cannot_come_in_a_state_is_an_error(desk):
    with pytest.raises(AssertionError, match=r"REFILLED cannot come in .*READY"):
        desk.evaluator._move(EvaluatorInput.REFILLED)


def test_the_first_ticks_of_a_tape_begin_its_evaluation(desk):
    desk.book_ticks(3)
    (started,) = desk.evaluate()
    assert (started["tape"], started["last_evaluated"], started["first_evaluated"]) == ("one", 0, 1)
    assert prices_seen() == [1, 2, 3]
    desk.book_ticks(2)
    assert desk.evaluate() == []
    assert prices_seen() == [1, 2, 3, 4, 5]


def test_the_ticks_are_stored_as_evaluated_before_their_orders_leave(desk):
    desk.book_ticks(3)
    desk.evaluate()
    assert desk.sent == [(3).to_bytes(2)]


def test_a_restarted_strategy_refills_its_windows_and_reports_what_it_was_not_there_for(desk):
    desk.book_ticks(3)
    desk.evaluate()
    desk.book_ticks(2)
    desk.restart()
    assert desk.refilled == 5
    desk.book_ticks(1)
    assert missed(desk.evaluate()) == [("strategy", "one", 4, 5)]
    assert prices_seen() == [1, 2, 3, 4, 5, 6]
    assert len(desk.sent) == 2


def test_a_lapped_strategy_says_which_ticks_it_missed(desk):
    desk.book_ticks(2)
    desk.evaluate()
    desk.book_ticks(RING + 3)
    assert missed(desk.evaluate()) == [("ring", "one", 3, 5)]
    assert prices_seen() == [1, 2, *range(6, RING + 6)]


def test_a_strategy_that_is_lapped_before_its_first_tick_refills_again_and_logs_it_once(desk):
    desk.book_ticks(3)
    desk.evaluate()
    desk.book_ticks(2)
    desk.restart()
    desk.book_ticks(RING + 4)
    with capture_logs() as logs:
        desk.evaluator.evaluate_all(desk.reader)
    assert [(log["event"], log["lapped_by"]) for log in logs] == [("refill_begun_anew", 4)]
    assert desk.run_until_attached() == 3
    desk.book_ticks(2)
    assert missed(desk.evaluate()) == [("strategy", "one", 4, RING + 9)]
    # What the signal saw has no hole: the windows of before the lap are gone.
    assert prices_seen() == [*range(RING + 7, RING + 12)]
    assert len(desk.sent) == 2


def test_a_strategy_that_is_lapped_while_it_refills_begins_anew(desk, monkeypatch):
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", 2)
    desk.book_ticks(RING)
    desk.attach(desk.book)
    desk.evaluator.evaluate_all(desk.reader)
    assert prices_seen() == [1, 2]
    desk.book_ticks(4)
    assert desk.run_until_attached() == 3
    assert prices_seen() == [*range(RING + 2, RING + 5)]
    assert desk.attached == ("one", RING + 4)


def test_a_tick_that_comes_while_it_attaches_to_a_full_ring_causes_no_lap(desk):
    desk.book_ticks(RING + 5)
    desk.attach(desk.book)
    desk.book_ticks(1)
    assert desk.run_until_attached() == RING - 1
    assert desk.begun_anew == []


@pytest.mark.parametrize("speed", [1, 2, 3, 10, 1000])
def test_however_quick_the_writer_is_the_refill_ends(tmp_path, monkeypatch, speed):
    """`speed` ticks come while the signal looks at one."""
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", 4)
    ring = 256
    with a_book(ring) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        desk.book_ticks(2 * ring)
        desk.attach(book)
        monkeypatch.setattr(Noting, "on_seen", lambda: desk.book_ticks(speed))
        with capture_logs() as logs:
            for _ in range(MAX_PASSES):
                desk.evaluator.evaluate_all(desk.reader)
                if desk.evaluated.last("one"):
                    break
    by_event: dict[str, list[dict]] = {}
    for log in logs:
        by_event.setdefault(log["event"], []).append(log)
    first, last = by_event["evaluation_started"][0]["first_evaluated"], desk.evaluated.last("one")
    # One that is twice as fast laps it once at most, and has not half of the ring then.
    assert len(by_event.get("refill_begun_anew", ())) == (speed > 1)
    refilled = [log["refilled"] for log in by_event["attached"]]
    if speed <= 2:
        assert refilled == [ring * 7 // (8 * speed)]
    # The windows have no gap, and the ticks not evaluated since it attached are logged, once.
    seen = prices_seen()
    assert seen == [*range(seen[0], last + 1)]
    assert seen[0] == first - (refilled[-1] if speed < 1000 else 0)
    unseen = by_event["attached"][0]["sequence"] + 1
    assert missed(logs) == ([("strategy", "one", unseen, first - 1)] if unseen < first else [])


@pytest.mark.parametrize("ticks_a_pass", [2, RING])
def test_one_that_is_lapped_in_every_pass_evaluates_all_the_same_and_logs_the_rest(
    desk, monkeypatch, ticks_a_pass
):
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", ticks_a_pass)
    logs = []
    while not desk.sent and desk.sequence < 10 * RING:
        desk.book_ticks(RING + 3)
        logs += desk.evaluate()
    oldest = desk.sequence - RING + 1
    assert prices_seen() == [*range(oldest, oldest + ticks_a_pass)]
    assert missed(logs) == [("strategy", "one", 1, oldest - 1)]


def test_without_a_predecessor_too_it_logs_what_came_after_it_had_attached_and_was_lapped(desk):
    desk.book_ticks(2)
    desk.restart()
    assert desk.attached == ("one", 2)
    desk.book_ticks(RING + 3)
    desk.evaluate()
    desk.run_until_attached()
    desk.book_ticks(1)
    assert missed(desk.evaluate()) == [("strategy", "one", 3, RING + 5)]
    desk.book_ticks(1)
    assert desk.evaluate() == []


@pytest.mark.parametrize("more", [0, 2])
def test_of_a_tape_that_ended_in_such_a_lap_too(desk, more):
    desk.book_ticks(2)
    desk.restart()
    desk.book_ticks(more)
    desk.begin_tape("two")
    desk.book_ticks(RING + 3)
    desk.evaluate()
    desk.run_until_attached()
    desk.book_ticks(1)
    logs = desk.evaluate()
    assert missed(logs)[-1:] == [("strategy", "two", 1, RING + 3)]
    assert missed(logs)[:-1] == ([("ring", "one", 3, None)] if more else [])
    assert [log["ticks"] for log in logs if "ticks" in log] == ([more] if more else [])


def test_and_of_one_that_came_and_went_in_such_a_lap_when_the_book_was_empty(desk):
    desk.book_ticks(3)
    desk.begin_tape("two")
    desk.book_ticks(RING + 3)
    desk.evaluate()
    desk.run_until_attached()
    desk.book_ticks(1)
    logs = desk.evaluate()
    assert missed(logs) == [("ring", "", 1, None), ("strategy", "two", 1, RING + 3)]
    assert [log["ticks"] for log in logs if "ticks" in log] == [3]


def test_when_it_attaches_it_says_up_to_which_tick_it_evaluates_nothing(desk, other_book):
    assert desk.attached == ("", 0)
    desk.book_ticks(3)
    desk.begin_tape("two")
    desk.restart()
    assert desk.attached == ("one", 3)
    desk.book_ticks(2)
    desk.restart()
    assert desk.attached == ("two", 2)
    desk.attach(other_book)
    desk.run_until_attached()
    assert desk.attached == ("", 0)


def test_of_a_book_that_replaces_another_only_the_ticks_that_are_new_are_evaluated(
    desk, other_book
):
    desk.book_ticks(5)
    desk.evaluate()
    desk.attach(other_book)
    desk.run_until_attached()
    desk.begin_tape("one")
    desk.book_ticks(3)
    assert desk.evaluate() == []
    desk.book_ticks(5)
    (started,) = desk.evaluate()
    assert (started["last_evaluated"], started["first_evaluated"]) == (5, 6)
    assert desk.evaluated.last("one") == 8
    # The others are in the windows all the same.
    assert prices_seen() == [*range(1, 9)]


# A plain stream has no tape: each price book numbers its ticks anew.


@pytest.mark.parametrize("way", ["restarted", "attached"])
@pytest.mark.parametrize("held", [0, 8])
def test_of_a_plain_stream_all_ticks_of_another_book_are_new(desk, other_book, way, held):
    desk.begin_tape("")
    desk.book_ticks(5)
    desk.evaluate()
    desk.book = other_book
    desk.begin_tape("")
    desk.book_ticks(held)
    if way == "restarted":  # in another run, or in this one
        for _ in range(2):  # and again before it has evaluated anything
            desk.restart()
    else:
        desk.attach(other_book)
        desk.run_until_attached()
    desk.book_ticks(3)
    (started,) = desk.evaluate()
    assert (started["last_evaluated"], started["first_evaluated"]) == (0, held + 1)
    assert desk.decided[-1][:3] == ("", held + 1, held + 3)


def test_of_a_plain_stream_too_a_restarted_strategy_reports_its_absence(desk):
    desk.begin_tape("")
    desk.book_ticks(3)
    desk.evaluate()
    desk.book_ticks(2)
    for _ in range(2):
        desk.restart()
        assert desk.evaluate() == []
    desk.book_ticks(1)
    assert missed(desk.evaluate()) == [("strategy", "", 4, 5)]
    desk.restart()
    desk.book_ticks(1)
    assert missed(desk.evaluate()) == []
    assert [decided[:3] for decided in desk.decided] == [("", 1, 3), ("", 6, 6), ("", 7, 7)]


def test_what_was_evaluated_of_a_tape_is_known_to_a_later_process_with_another_book(
    desk, other_book
):
    desk.book_ticks(5)
    desk.evaluate()
    desk.book = other_book
    desk.restart()
    desk.begin_tape("one")
    desk.book_ticks(7)
    assert desk.evaluate()[0]["first_evaluated"] == 6


@pytest.mark.parametrize("evaluated", [True, False])
def test_what_was_destroyed_of_a_plain_stream_is_logged_when_its_book_is_replaced(
    desk, other_book, evaluated
):
    desk.begin_tape("")
    desk.book_ticks(2)
    if evaluated:
        desk.evaluate()
    else:
        desk.restart()
    desk.book_ticks(1)
    desk.damage_newest()
    if not evaluated:
        desk.book_ticks(1)  # which goes into the windows, now that it was lapped
    desk.evaluate()
    desk.book = other_book
    desk.begin_tape("")
    desk.book_ticks(4)
    with capture_logs() as logs:
        desk.attach(other_book)
    assert missed(logs) == [("ring", "", 3, None)]
    assert logs[0]["ticks"] == (1 if evaluated else 2)
    desk.run_until_attached()
    desk.book_ticks(1)
    assert missed(desk.evaluate()) == []


def test_what_was_destroyed_of_a_tape_just_begun_is_not_taken_for_a_plain_streams(desk, other_book):
    desk.book_ticks(1)
    desk.damage_newest()
    desk.evaluate()
    with capture_logs() as logs:
        desk.attach(other_book)
        desk.run_until_attached()
    desk.begin_tape("one")
    desk.book_ticks(2)
    assert missed([*logs, *desk.evaluate()]) == []
    assert prices_seen() == [1, 2]


def test_ticks_that_were_destroyed_are_logged_with_the_next_that_can_be_read(desk):
    desk.book_ticks(2)
    desk.evaluate()
    for _ in range(2):
        desk.book_ticks(1)
        desk.damage_newest()
        assert desk.evaluate() == []
    desk.begin_tape("two")
    desk.book_ticks(1)
    lapped, started = desk.evaluate()
    assert missed([lapped]) == [("ring", "one", 3, None)]
    assert lapped["ticks"] == 2
    assert (started["tape"], started["first_evaluated"]) == ("two", 1)
    desk.book_ticks(1)
    assert desk.evaluate() == []


@pytest.mark.parametrize("tape", ["one", "two"])
def test_so_are_those_of_a_book_that_was_replaced_before_there_was_a_next_one(
    desk, other_book, tape
):
    desk.book_ticks(2)
    desk.evaluate()
    desk.book_ticks(1)
    desk.damage_newest()
    desk.evaluate()
    desk.attach(other_book)
    desk.run_until_attached()
    # As long as its tape is played, the new book may have it still.
    first = 3 if tape == "one" else 1
    desk.begin_tape(tape)
    desk.sequence = first - 1
    desk.book_ticks(2)
    ended = [("ring", "one", 3, None)] if tape == "two" else []
    assert missed(desk.evaluate()) == ended
    assert desk.evaluated.last(tape) == first + 1


def test_the_windows_are_refilled_in_slices_so_that_the_loop_comes_round(desk, monkeypatch):
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", 3)
    desk.book_ticks(RING)
    desk.attach(desk.book)
    passes = []
    for _ in range(3):
        desk.evaluator.evaluate_all(desk.reader)
        passes.append(len(Noting.seen))
    assert passes == [3, 6, RING]
    desk.book_ticks(5)
    assert desk.evaluate()[0]["first_evaluated"] == RING + 1
    assert prices_seen()[RING:] == [RING + 1, RING + 2, RING + 3]
    assert desk.evaluate() == []
    assert prices_seen()[RING:] == [RING + number for number in range(1, 6)]


def test_a_tape_that_came_and_went_in_a_lap_is_logged_too_and_each_lost_tick_counted_once(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.begin_tape("two")
    desk.book_ticks(2)
    desk.begin_tape("three")
    desk.book_ticks(RING + 1)
    logs = desk.evaluate()
    assert missed(logs) == [
        ("ring", "one", 5, None),
        ("ring", "two", 1, None),
        ("ring", "three", 1, 1),
    ]
    assert [log["ticks"] for log in logs[:3]] == [2, 0, 1]


def test_where_a_tape_began_in_a_lap_the_gap_is_logged_of_both_tapes(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(RING + 3)
    logs = desk.evaluate()
    assert missed(logs) == [("ring", "one", 5, None), ("ring", "two", 1, 3)]
    assert [log["ticks"] for log in logs[:2]] == [2, 3]
    assert prices_seen() == list(range(4, RING + 4))


def test_where_only_the_old_tape_was_lapped_the_new_one_lacks_nothing(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(RING)
    assert missed(desk.evaluate()) == [("ring", "one", 5, None)]


def test_where_only_the_new_tape_was_lapped_the_old_one_lacks_nothing(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.begin_tape("two")
    desk.book_ticks(RING + 3)
    assert missed(desk.evaluate()) == [("ring", "two", 1, 3)]


def test_a_new_tape_in_the_middle_of_a_batch_begins_with_empty_windows(desk):
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(3)
    logs = desk.evaluate()
    assert [(log["tape"], log["first_evaluated"]) for log in logs] == [("one", 1), ("two", 1)]
    assert prices_seen() == [1, 2, 3]
    assert (desk.evaluated.last("one"), desk.evaluated.last("two")) == (0, 3)


def test_the_last_sentiment_counts_and_one_that_is_none_does_not(desk):
    desk.news.heard_ns = 1000
    desk.evaluator.take_news([Frames(1, 2, b"30*70*", 1000), Frames(3, 1, b"101*", 1001)])
    desk.book_ticks(1)
    desk.evaluate()
    assert Noting.seen == [(100, 70)]


def test_a_refill_that_cannot_go_on_has_read_all_there_is_to_read(desk, monkeypatch):
    desk.book_ticks(5)
    desk.attach(desk.book)
    with monkeypatch.context() as damaged:  # as behind a header that makes no sense
        damaged.setattr(desk.reader, "read", lambda _count: Batch(np.zeros(0, TICK), None))
        assert desk.evaluator.evaluate_all(desk.reader)
    assert not desk.evaluator.evaluate_all(desk.reader)
    assert desk.evaluator.evaluate_all(desk.reader)


def test_the_ticks_that_have_been_decided_on_are_reported(desk):
    desk.book_ticks(2)
    desk.evaluate()
    desk.book_ticks(5)
    desk.evaluate()
    assert desk.decided == [("one", 1, 2, 1000), ("one", 3, 7, 1000)]


# A signal that takes its time.


def takes(monkeypatch, takes_ns: Callable[[int], int]) -> None:
    """Let the signal take so long for each tick, by its price; for tick 0, as it is made."""
    monkeypatch.setattr(Noting, "takes_ns", staticmethod(takes_ns))


def run_passes(desk: Desk, until: Callable[[], bool]) -> list[int]:
    """Let passes run until that is so. Returns how long each took."""
    lengths = []
    for _ in range(MAX_PASSES):
        before_ns = Noting.now_ns
        desk.evaluator.evaluate_all(desk.reader)
        lengths.append(Noting.now_ns - before_ns)
        if until():
            return lengths
    raise AssertionError("it never comes to an end")


@pytest.mark.parametrize("batches", [[20], [1] * 20, [7, 13]])
@pytest.mark.parametrize("takes_ms", [0.3, 10, 300, 1900])
def test_a_pass_takes_no_longer_than_its_time_and_one_tick(
    tmp_path, monkeypatch, takes_ms, batches
):
    tick_ns = int(takes_ms * MILLISECOND_NS)
    with a_book(64) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        takes(monkeypatch, lambda tick: tick_ns if tick else 0)
        for count in batches:
            desk.book_ticks(count)
        for again in range(2):  # evaluated, and then refilled from
            if again:
                desk.restart_without_refill()
            lengths = run_passes(desk, lambda: len(Noting.seen) == 20)
            assert max(lengths) < PASS_NS + tick_ns
            assert prices_seen() == [*range(1, 21)]
        assert desk.evaluated.last("one") == 20
        # Each tick once, and what was decided is what was stored.
        covered = [(first, last) for _, first, last, _ in desk.decided]
        assert [first for first, _ in covered] == [1, *(last + 1 for _, last in covered[:-1])]
        assert covered[-1][1] == 20


def test_one_slow_tick_among_quick_ones_ends_its_pass_and_orders_before_it_leave(desk, monkeypatch):
    takes(monkeypatch, lambda tick: SECOND_NS if tick == 4 else 0)
    desk.book_ticks(RING)
    lengths = run_passes(desk, lambda: len(Noting.seen) == RING)
    assert lengths == [SECOND_NS, 0]
    assert [last for _, _, last, _ in desk.decided] == [4, RING]


def test_the_rest_of_a_pass_that_the_ring_laps_is_reported_as_missed(desk, monkeypatch):
    takes(monkeypatch, lambda tick: SECOND_NS if tick == 2 else 0)
    desk.book_ticks(4)
    desk.evaluate()
    assert prices_seen() == [1, 2]
    desk.book_ticks(RING)
    assert missed(desk.evaluate()) == [("ring", "one", 3, 4)]


def test_a_signal_that_takes_long_to_be_made_for_a_new_tape_has_a_pass_for_it(desk, monkeypatch):
    desk.book_ticks(3)
    desk.evaluate()
    takes(monkeypatch, lambda _tick: SECOND_NS)
    desk.begin_tape("two")
    desk.book_ticks(2)
    lengths = run_passes(desk, lambda: len(Noting.seen) == 2)
    assert lengths == [SECOND_NS] * 3
    assert desk.evaluated.last("two") == 2
    assert missed(desk.evaluate()) == []


def test_so_it_has_where_the_last_tick_of_the_tape_before_took_long_too(desk, monkeypatch):
    takes(monkeypatch, lambda _tick: SECOND_NS)
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(2)
    lengths = run_passes(desk, lambda: desk.evaluated.last("two") == 2)
    assert lengths == [SECOND_NS] * 5


def test_a_new_tick_has_a_pass_of_its_own_where_the_known_ones_before_it_took_long(
    desk, other_book, monkeypatch
):
    desk.book_ticks(3)
    desk.evaluate()
    desk.attach(other_book)
    desk.run_until_attached()
    takes(monkeypatch, lambda tick: SECOND_NS if tick in (3, 4) else 0)
    desk.begin_tape("one")
    desk.book_ticks(4)
    lengths = run_passes(desk, lambda: desk.evaluated.last("one") == 4)
    assert lengths == [SECOND_NS] * 2


def test_a_refill_in_which_a_pass_only_makes_the_signal_has_more_to_read(desk, monkeypatch):
    desk.book_ticks(3)
    desk.begin_tape("two")
    desk.sequence = 3  # its first ticks are missing, so the refill begins in the tape before
    desk.book_ticks(2)
    takes(monkeypatch, lambda tick: SECOND_NS if tick in (0, 3) else 0)
    desk.restart_without_refill()
    has_read_all = [desk.evaluator.evaluate_all(desk.reader) for _ in range(4)]
    assert has_read_all == [False, False, False, True]
    assert prices_seen() == [4, 5]


def test_a_signal_is_made_once_where_it_attaches_and_refills(desk, monkeypatch):
    made = []
    desk.book_ticks(3)
    takes(monkeypatch, lambda tick: 0 if tick else made.append(tick) or 0)
    desk.restart()
    assert desk.refilled == 3
    assert len(made) == 1


def test_of_two_tapes_in_the_ring_only_the_newer_one_is_refilled_from(desk, monkeypatch):
    made = []
    desk.book_ticks(3)
    desk.begin_tape("two")
    desk.book_ticks(2)
    takes(monkeypatch, lambda tick: 0 if tick else made.append(tick) or 0)
    desk.restart()
    assert desk.refilled == 2
    assert desk.attached == ("two", 2)
    desk.book_ticks(1)
    desk.evaluate()
    assert prices_seen() == [1, 2, 3]
    assert len(made) == 1


def begin_slowly(desk: Desk, monkeypatch: pytest.MonkeyPatch, tape: str, ticks: int) -> list[dict]:
    """A tape begins, and making its signal takes a whole pass. Returns what was logged."""
    takes(monkeypatch, lambda tick: 0 if tick else SECOND_NS)
    desk.begin_tape(tape)
    desk.book_ticks(ticks)
    logs = desk.evaluate()
    assert prices_seen() == []
    return logs


def test_of_a_tape_that_is_lapped_while_its_signal_is_made_only_what_is_gone_is_missed(
    desk, monkeypatch
):
    desk.book_ticks(6)
    desk.restart()
    desk.book_ticks(6)
    desk.evaluate()
    assert begin_slowly(desk, monkeypatch, "two", 4) == []
    desk.book_ticks(RING)
    with capture_logs() as logs:
        desk.evaluator.evaluate_all(desk.reader)
    assert missed(logs) == [("ring", "two", 1, 4)]
    assert [log["event"] for log in logs if log["event"] != "order_sent"] == [
        "ticks_missed",
        "evaluation_started",
    ]
    assert prices_seen() == [*range(5, 13)]
    assert [decided[:3] for decided in desk.decided] == [("one", 7, 12), ("two", 5, 12)]


def test_what_was_reported_of_it_before_its_signal_was_made_is_not_reported_again(
    desk, monkeypatch
):
    desk.book_ticks(2)
    desk.evaluate()
    logs = begin_slowly(desk, monkeypatch, "two", RING + 3)
    assert missed(logs) == [("ring", "two", 1, 3)]
    desk.book_ticks(2)
    assert missed(desk.evaluate()) == [("ring", "two", 4, 5)]
    assert desk.evaluated.last("two") == RING + 5


def test_one_that_ended_while_its_signal_was_made_is_reported_from_its_first_tick(
    desk, monkeypatch
):
    desk.book_ticks(2)
    desk.evaluate()
    begin_slowly(desk, monkeypatch, "two", 4)
    desk.begin_tape("three")
    desk.book_ticks(RING + 1)
    logs = desk.evaluate()
    assert missed(logs) == [("ring", "two", 1, None), ("ring", "three", 1, 1)]
    assert [log["ticks"] for log in logs[:2]] == [4, 1]


def test_so_is_one_whose_book_was_replaced_then(desk, other_book, monkeypatch):
    desk.book_ticks(2)
    desk.evaluate()
    begin_slowly(desk, monkeypatch, "two", 1)
    desk.damage_newest()
    desk.evaluate()
    desk.attach(other_book)
    desk.run_until_attached()
    desk.begin_tape("three")
    desk.book_ticks(1)
    assert missed(desk.evaluate()) == [("ring", "two", 1, None)]


def hear_news(desk: Desk) -> None:
    """A sentiment is in force from now on."""
    desk.news.heard_ns = LAST_NS
    desk.evaluator.take_news([Frames(1, 1, b"70*", LAST_NS)])


def test_what_a_tick_took_without_news_says_nothing_of_one_with_news(tmp_path):
    ticks, more = 4000, 1000
    with a_book(8192) as book:
        desk = Desk(book, tmp_path / "strategy.state", SlowWithNews)
        desk.book_ticks(ticks)
        run_passes(desk, lambda: len(Noting.seen) == ticks)
        desk.book_ticks(more)
        hear_news(desk)
        lengths = run_passes(desk, lambda: desk.evaluated.last("one") == ticks + more)
    assert [sentiment for _, sentiment in Noting.seen][-more:] == [70] * more
    assert max(lengths) <= PASS_NS + SlowWithNews.TICK_NS


@pytest.mark.parametrize("filled", ["before it attached", "known", "of another tape"])
def test_nor_does_what_filling_the_windows_took_where_the_news_had_come_before(tmp_path, filled):
    ticks, more = 4000, 1000
    with a_book(8192) as book, a_book(8192) as other_book:
        desk = Desk(book, tmp_path / "strategy.state", SlowWithNews)
        hear_news(desk)
        desk.book_ticks(ticks)
        run_passes(desk, lambda: desk.evaluated.last("one") == ticks)
        if filled == "known":
            desk.attach(other_book)
            desk.run_until_attached()
        else:
            desk.book = other_book
        desk.begin_tape("one")
        desk.book_ticks(ticks)
        if filled == "known":
            run_passes(desk, lambda: desk.reader.position == ticks)
        else:
            desk.attach(other_book)
            assert desk.run_until_attached() == ticks
        if filled == "of another tape":
            desk.begin_tape("two")
        desk.book_ticks(more)
        evaluated = len(desk.decided)
        lengths = run_passes(desk, lambda: desk.reader.position == ticks + more)
        assert sum(last - first + 1 for _, first, last, _ in desk.decided[evaluated:]) == more
    assert max(lengths) <= PASS_NS + SlowWithNews.TICK_NS


@pytest.fixture
def lapped_desk(tmp_path, monkeypatch) -> Iterator[Desk]:
    """It was lapped in its refill, because its signal is slow; the ring is half a thousand."""
    ring = 512
    with a_book(ring) as book:
        desk = Desk(book, tmp_path / "strategy.state", SlowWithNews)
        desk.book_ticks(ring)
        takes(monkeypatch, lambda tick: PASS_NS if tick else 0)
        desk.restart_without_refill()
        run_passes(desk, lambda: len(Noting.seen) == 3)
        desk.book_ticks(ring // 2)
        with capture_logs() as logs:
            run_passes(desk, lambda: bool(logs))
        assert logs[0]["event"] == "refill_begun_anew"
        yield desk


def test_however_slow_the_signal_is_after_a_lap_ticks_are_passed_over_at_once(lapped_desk):
    Noting.seen.clear()
    assert len(run_passes(lapped_desk, lambda: bool(Noting.seen))) == 2
    assert prices_seen()[0] > 512


def test_how_long_a_refill_takes_is_not_predicted_before_it_has_begun(lapped_desk):
    Noting.now_ns += 10 * SECOND_NS
    with capture_logs() as logs:
        run_passes(lapped_desk, lambda: bool(logs))
    assert [log["event"] for log in logs] == ["refill_shortened"]  # once a tick was refilled
    assert logs[0]["signal_us"] > 0


def test_one_that_is_lapped_while_it_passes_ticks_over_gives_a_slow_signal_few_at_once(lapped_desk):
    lapped_desk.book_ticks(400)
    Noting.seen.clear()
    lengths = run_passes(lapped_desk, lambda: len(Noting.seen) == 3)
    assert max(lengths) == PASS_NS


def test_known_ticks_go_through_as_many_at_once_as_new_ones(tmp_path, monkeypatch):
    ticks = 20 * MIN_BATCH_TICKS
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", MIN_BATCH_TICKS)
    with a_book(8192) as book, a_book(8192) as other_book:
        desk = Desk(book, tmp_path / "strategy.state", SlowWithNews)
        desk.book_ticks(ticks)
        run_passes(desk, lambda: desk.evaluated.last("one") == ticks)
        desk.attach(other_book)
        desk.run_until_attached()
        desk.begin_tape("one")
        desk.book_ticks(ticks)
        assert len(run_passes(desk, lambda: desk.reader.position == ticks)) == 20


def test_a_signal_that_was_quick_and_is_slow_now_has_one_tick_a_pass(tmp_path, monkeypatch):
    with a_book(4096) as book:
        desk = Desk(book, tmp_path / "strategy.state", SlowWithNews)
        for _ in range(9):
            desk.book_ticks(1)
            desk.evaluate()
        takes(monkeypatch, lambda _tick: PASS_NS)
        desk.book_ticks(MIN_BATCH_TICKS - 1)
        lengths = run_passes(desk, lambda: len(Noting.seen) > 9 + 3)
    assert lengths == [PASS_NS] * 4


def test_what_a_slow_signal_is_given_is_said_and_that_it_has_caught_up(tmp_path, monkeypatch):
    with a_book(4096) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        Noting.now_ns = 10 * SECOND_NS
        takes(monkeypatch, lambda tick: 10 * MILLISECOND_NS if tick else 0)
        desk.book_ticks(520)
        with capture_logs() as logs:
            run_passes(desk, lambda: len(Noting.seen) == 520)
            for _ in range(3):
                desk.evaluator.evaluate_all(desk.reader)
    said = [log for log in logs if log["event"].startswith("signal_")]
    assert [log["event"] for log in said] == ["signal_too_slow", "signal_keeps_up"]
    assert said[0]["signal_us"] == 10_000
    assert said[0]["behind_s"] > 1
    assert "the signal takes 10.0 ms a tick" in said[0]["reason"]


def test_a_slow_signal_has_not_caught_up_where_ticks_are_missed(tmp_path, monkeypatch):
    with a_book(4096) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        Noting.now_ns = 10 * SECOND_NS
        takes(monkeypatch, lambda tick: 10 * MILLISECOND_NS if tick else 0)
        desk.book_ticks(520)
        with capture_logs() as logs:
            run_passes(desk, lambda: len(Noting.seen) == 520)
            desk.book_ticks(1)
            desk.damage_newest()
            for said in (["signal_too_slow"], ["signal_too_slow", "signal_keeps_up"]):
                desk.evaluator.evaluate_all(desk.reader)
                assert [log["event"] for log in logs if log["event"].startswith("sig")] == said


def test_while_it_catches_up_it_is_said_and_so_is_that_nothing_is_ordered(tmp_path, monkeypatch):
    with a_book(4096) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        Noting.now_ns = 10 * SECOND_NS
        monkeypatch.setattr(desk.evaluator._trader, "_max_tick_age_ns", SECOND_NS)
        takes(monkeypatch, lambda tick: 10 * MILLISECOND_NS if tick else 0)
        desk.book_ticks(200)
        with capture_logs() as logs:
            run_passes(desk, lambda: any(log["event"] == "signal_too_slow" for log in logs))
    [reason] = [log["reason"] for log in logs if log["event"] == "signal_too_slow"]
    assert "catching up" in reason
    assert "no orders" in reason


@contextmanager
def refilling(tmp_path, monkeypatch, ticks: int, tick_ns: int) -> Iterator[tuple[Desk, list[dict]]]:
    """A new process of a strategy with so slow a signal, and what it logs while it refills."""
    with a_book(4096) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        desk.book_ticks(ticks)
        takes(monkeypatch, lambda tick: tick_ns if tick else 0)
        with capture_logs() as logs:
            desk.restart_without_refill()
            run_passes(desk, lambda: logs[-1:] and logs[-1]["event"] == "attached")
        yield desk, logs


def test_a_refill_that_would_take_too_long_begins_anew_with_the_latest_ticks(tmp_path, monkeypatch):
    tick_ns = 30 * MILLISECOND_NS
    began_ns = Noting.now_ns
    with refilling(tmp_path, monkeypatch, 300, tick_ns) as (desk, logs):
        assert Noting.now_ns - began_ns <= JUDGE_REFILL_NS + MAX_REFILL_NS + 2 * PASS_NS
        count = MAX_REFILL_NS // tick_ns
        assert [(log["event"], log.get("ticks")) for log in logs] == [
            ("refill_shortened", count),
            ("attached", None),
        ]
        assert "30.0 ms a tick" in logs[0]["reason"]
        assert prices_seen() == list(range(301 - count, 301))
        desk.book_ticks(1)
        assert missed(desk.evaluate()) == []


def test_a_refill_that_is_nearly_done_is_not_begun_anew(tmp_path, monkeypatch):
    with refilling(tmp_path, monkeypatch, 118, 50 * MILLISECOND_NS) as (_, logs):
        assert [log["event"] for log in logs] == ["refill_takes_long", "attached"]
        assert prices_seen() == list(range(1, 119))


def test_a_refill_that_takes_long_says_how_far_it_is(tmp_path, monkeypatch):
    with refilling(tmp_path, monkeypatch, 300, 200 * MILLISECOND_NS) as (_, logs):
        windows = len(SYMBOLS) * StrategySettings().long_window
        shortened, *said, attached = logs
        assert shortened["ticks"] == attached["refilled"] == windows
        assert {log["event"] for log in said} == {"refill_takes_long"}
        assert [(log["refilled"], log["of"], log["left_s"]) for log in said] == [
            (25, windows, 15.0),
            (50, windows, 10.0),
            (75, windows, 5.0),
        ]


def test_a_signal_that_the_ring_laps_again_and_again_misses_a_part_of_it_at_once(
    tmp_path, monkeypatch
):
    ring, passes, ticks_a_pass = 512, 60, 50
    with a_book(ring) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        takes(monkeypatch, lambda tick: 10 * MILLISECOND_NS if tick else 0)
        with capture_logs() as logs:
            for _ in range(passes):
                desk.book_ticks(ticks_a_pass)
                desk.evaluator.evaluate_all(desk.reader)
        gaps = [(log["first"], log["last"]) for log in logs if log["event"] == "ticks_missed"]
        # Once the ring has come round, some 45 ticks of it are overwritten in each pass.
        assert len(gaps) <= passes * ticks_a_pass // (ring // REFILL_MARGIN) // 2 + 2
        unseen = {tick for first, last in gaps for tick in range(first, last + 1)}
        seen = prices_seen()
        assert unseen.isdisjoint(seen)
        assert sorted(unseen | set(seen)) == list(range(1, seen[-1] + 1))


def test_what_is_passed_over_then_is_missed_of_each_tape(tmp_path):
    ring = 512
    with a_book(ring) as book:
        desk = Desk(book, tmp_path / "strategy.state")
        for count in (5, ring + 10):
            desk.book_ticks(count)
            run_passes(desk, lambda: desk.reader.position == desk.book.reader().position)
        evaluated = desk.sequence
        desk.book_ticks(100)
        desk.begin_tape("two")
        desk.book_ticks(ring - 30)  # so of the margin, 30 are of the older tape
        with capture_logs() as logs:
            run_passes(desk, lambda: desk.reader.position == desk.book.reader().position)
    gaps = [log for log in logs if log["event"] == "ticks_missed"]
    margin = ring // REFILL_MARGIN
    assert missed(gaps) == [
        ("ring", "one", evaluated + 1, None),
        ("ring", "two", 1, margin - 30),
    ]
    assert [log["ticks"] for log in gaps] == [100, margin - 30]
