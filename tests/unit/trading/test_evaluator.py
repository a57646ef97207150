"""The evaluation: each tick once, through restarts, laps of the ring and changes of tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
    Evaluator,
)
from lib.trading.order_client import OrderClient
from lib.trading.refill import JUDGE_REFILL_NS, MAX_REFILL_NS
from lib.trading.signal_pace import PASS_NS
from lib.trading.trader import Trader
from lib.wire.ticks import TICK

SYMBOLS = ("AAPL", "MSFT")
RING = 8
MAX_PASSES = 1000
LAST_NS = 10**15
"""A time after that of any test."""


def clock() -> int:
    return Noting.now_ns


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
        self.sent: list[int] = []
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
        settings = StrategySettings(max_tick_age=1e6)
        self.news = StreamClient(may_be_plain=False)
        self.evaluated = LastEvaluated(self.path)
        self.evaluator = Evaluator(
            Trader(SYMBOLS, settings, self.signal_class, clock=clock),
            OrderClient("strategy"),
            self.news,
            self.evaluated,
            ThrottledLog(stream="news", peer="127.0.0.1:5002"),
            send=self._send,
            on_decided=lambda *decided: self.decided.append(decided),
            clock=clock,
        )
        self.attach(self.book)

    def attach(self, book: SharedPriceBook) -> None:
        self.book = book
        self.reader: PriceBookReader = self.evaluator.attach(book)

    def move_to(self, book: SharedPriceBook) -> None:
        """Another book replaces this one."""
        self.attach(book)
        self.run_until_attached()

    def run_until_attached(self) -> None:
        """Refill the windows, pass after pass."""
        with capture_logs() as logs:
            run_passes(self, lambda: of(logs, "attached"))
        attached = logs[-1]
        self.attached = attached["tape"], attached["sequence"]
        self.refilled = attached["refilled"]

    def _send(self, frames: list[bytes]) -> None:
        # No order may leave before its tick is known as evaluated.
        self.sent.append(LastEvaluated(self.path).last("one"))

    def book_ticks(self, count: int) -> None:
        numbers = np.arange(self.sequence + 1, self.sequence + 1 + count)
        self.sequence += count
        self.book.update_batch(np.zeros(count, np.int32), numbers * 100, numbers, 1000)

    def begin_tape(self, tape: str) -> None:
        self.book.begin_epoch(tape)
        self.sequence = 0

    def book_unreadable_tick(self) -> None:
        """As if the writer had been killed while it stored."""
        self.book_ticks(1)
        ring = self.book._segment.ring
        ring[self.book.reader().position % len(ring), 5] ^= np.uint64(1)

    def evaluate(self, new_ticks: int = 0) -> list[dict]:
        """So many ticks come, and one batch is evaluated. Returns what was logged, orders aside."""
        self.book_ticks(new_ticks)
        with capture_logs() as logs:
            self.evaluator.evaluate_all(self.reader)
        kept = ("evaluation_started", "ticks_missed")
        return [log for log in logs if log["event"] in kept]


@pytest.fixture
def new_book() -> Iterator[Callable[..., SharedPriceBook]]:
    with ExitStack() as books:
        yield lambda ring=RING: books.enter_context(SharedPriceBook(SYMBOLS, ring_capacity=ring))


@pytest.fixture(params=["plain", "in arrays"], autouse=True)
def few_ticks(request, monkeypatch):
    """Whether a few ticks come plain or in an array must make no difference."""
    if request.param == "in arrays":
        monkeypatch.setattr(PriceBookReader, "read_few", lambda _reader: [])


@pytest.fixture(autouse=True)
def a_clock_of_its_own(monkeypatch):
    monkeypatch.setattr(Noting, "now_ns", 1000)


@pytest.fixture
def new_desk(new_book, tmp_path) -> Callable[..., Desk]:
    def make(ring: int = RING, signal_class: type[Noting] = Noting) -> Desk:
        return Desk(new_book(ring), tmp_path / "strategy.state", signal_class)

    return make


@pytest.fixture
def desk(new_desk) -> Desk:
    return new_desk()


@pytest.fixture
def other_book(new_book) -> SharedPriceBook:
    return new_book()


def of(logs: list[dict], event: str) -> list[dict]:
    return [log for log in logs if log["event"] == event]


def missed(logs: list[dict]) -> list[tuple]:
    gaps = of(logs, "ticks_missed")
    return [(log["where"], log["tape"], log["first"], log["last"]) for log in gaps]


def prices_seen() -> list[int]:
    return [price // 100 for price, _ in Noting.seen]


def test_every_tick_is_evaluated_once_and_stored_before_its_orders_leave(desk):
    (started,) = desk.evaluate(3)
    assert (started["tape"], started["last_evaluated"], started["first_evaluated"]) == ("one", 0, 1)
    assert desk.sent == [3]
    assert desk.evaluate(2) == []
    assert prices_seen() == [1, 2, 3, 4, 5]
    assert desk.decided == [("one", 1, 3, 1000), ("one", 4, 5, 1000)]


def test_a_restarted_strategy_refills_its_windows_and_reports_what_it_was_not_there_for(desk):
    desk.evaluate(3)
    desk.book_ticks(2)
    desk.restart()
    assert desk.refilled == 5
    assert desk.attached == ("one", 5)
    assert missed(desk.evaluate(1)) == [("strategy", "one", 4, 5)]
    assert prices_seen() == [1, 2, 3, 4, 5, 6]
    assert len(desk.sent) == 2


def test_a_lapped_strategy_says_which_ticks_it_missed(desk):
    desk.evaluate(2)
    assert missed(desk.evaluate(RING + 3)) == [("ring", "one", 3, 5)]
    assert prices_seen() == [1, 2, *range(6, RING + 6)]


def test_a_strategy_that_is_lapped_before_its_first_tick_refills_again_and_logs_it_once(desk):
    desk.evaluate(3)
    desk.book_ticks(2)
    desk.restart()
    desk.book_ticks(RING + 4)
    with capture_logs() as logs:
        desk.evaluator.evaluate_all(desk.reader)
    assert [(log["event"], log["lapped_by"]) for log in logs] == [("refill_begun_anew", 4)]
    desk.run_until_attached()
    assert desk.refilled == 3
    assert missed(desk.evaluate(2)) == [("strategy", "one", 4, RING + 9)]
    # What the signal saw has no hole: the windows of before the lap are gone.
    assert prices_seen() == [*range(RING + 7, RING + 12)]
    assert len(desk.sent) == 2


@pytest.mark.parametrize("speed", [1, 2, 3, 10, 1000])
def test_however_quick_the_writer_is_the_refill_ends(new_desk, monkeypatch, speed):
    """`speed` ticks come while the signal looks at one."""
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", 4)
    ring = 256
    desk = new_desk(ring)
    desk.book_ticks(2 * ring)
    desk.attach(desk.book)
    monkeypatch.setattr(Noting, "on_seen", lambda: desk.book_ticks(speed))
    with capture_logs() as logs:
        run_passes(desk, lambda: desk.evaluated.last("one"))
    first, last = of(logs, "evaluation_started")[0]["first_evaluated"], desk.evaluated.last("one")
    # One that is twice as fast laps it once at most, and has not half of the ring then.
    assert len(of(logs, "refill_begun_anew")) == (speed > 1)
    refilled = [log["refilled"] for log in of(logs, "attached")]
    if speed <= 2:
        assert refilled == [ring * 7 // (8 * speed)]
    # The windows have no gap, and the ticks not evaluated since it attached are logged, once.
    seen = prices_seen()
    assert seen == [*range(seen[0], last + 1)]
    assert seen[0] == first - (refilled[-1] if speed < 1000 else 0)
    unseen = of(logs, "attached")[0]["sequence"] + 1
    assert missed(logs) == ([("strategy", "one", unseen, first - 1)] if unseen < first else [])


@pytest.mark.parametrize("ticks_a_pass", [2, RING])
def test_one_that_is_lapped_in_every_pass_evaluates_all_the_same_and_logs_the_rest(
    desk, monkeypatch, ticks_a_pass
):
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", ticks_a_pass)
    logs = []
    while not desk.sent and desk.sequence < 10 * RING:
        logs += desk.evaluate(RING + 3)
    oldest = desk.sequence - RING + 1
    assert prices_seen() == [*range(oldest, oldest + ticks_a_pass)]
    assert missed(logs) == [("strategy", "one", 1, oldest - 1)]


@pytest.mark.parametrize(
    ("held", "more", "tape", "ended"),
    [
        (2, 0, "one", []),
        (2, 0, "two", []),
        (2, 2, "two", [("ring", "one", 3, None)]),
        (0, 3, "two", [("ring", "", 1, None)]),
    ],
    ids=["of the tape", "of the next tape", "of both", "of a tape that it never saw"],
)
def test_without_a_predecessor_too_it_logs_what_came_after_it_had_attached_and_was_lapped(
    desk, held, more, tape, ended
):
    desk.book_ticks(held)
    desk.restart()
    desk.book_ticks(more)
    if tape == "two":
        desk.begin_tape(tape)
        held = 0
    desk.evaluate(RING + 3)
    desk.run_until_attached()
    logs = desk.evaluate(1)
    assert missed(logs) == [*ended, ("strategy", tape, held + 1, held + RING + 3)]
    assert [log["ticks"] for log in logs if "ticks" in log] == [more] * len(ended)
    assert desk.evaluate(1) == []


def test_of_a_book_that_replaces_another_only_the_ticks_that_are_new_are_evaluated(
    desk, other_book
):
    desk.evaluate(5)
    desk.move_to(other_book)
    assert desk.attached == ("", 0)
    desk.begin_tape("one")
    assert desk.evaluate(3) == []
    (started,) = desk.evaluate(5)
    assert (started["last_evaluated"], started["first_evaluated"]) == (5, 6)
    assert desk.evaluated.last("one") == 8
    # The others are in the windows all the same.
    assert prices_seen() == [*range(1, 9)]


# A plain stream has no tape: each price book numbers its ticks anew.


@pytest.mark.parametrize("way", ["restarted", "attached"])
@pytest.mark.parametrize("held", [0, 8])
def test_of_a_plain_stream_all_ticks_of_another_book_are_new(desk, other_book, way, held):
    desk.begin_tape("")
    desk.evaluate(5)
    desk.book = other_book
    desk.begin_tape("")
    desk.book_ticks(held)
    if way == "restarted":  # in another run, or in this one
        for _ in range(2):  # and again before it has evaluated anything
            desk.restart()
    else:
        desk.move_to(other_book)
    (started,) = desk.evaluate(3)
    assert (started["last_evaluated"], started["first_evaluated"]) == (0, held + 1)
    assert desk.decided[-1][:3] == ("", held + 1, held + 3)


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
    desk.book_unreadable_tick()
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
    assert missed(desk.evaluate(1)) == []


def test_what_was_destroyed_of_a_tape_just_begun_is_not_taken_for_a_plain_streams(desk, other_book):
    desk.book_unreadable_tick()
    desk.evaluate()
    with capture_logs() as logs:
        desk.move_to(other_book)
    desk.begin_tape("one")
    desk.book_ticks(2)
    assert missed([*logs, *desk.evaluate()]) == []
    assert prices_seen() == [1, 2]


def test_ticks_that_were_destroyed_are_logged_with_the_next_that_can_be_read(desk):
    desk.evaluate(2)
    for _ in range(2):
        desk.book_unreadable_tick()
        assert desk.evaluate() == []
    desk.begin_tape("two")
    lapped, started = desk.evaluate(1)
    assert missed([lapped]) == [("ring", "one", 3, None)]
    assert lapped["ticks"] == 2
    assert (started["tape"], started["first_evaluated"]) == ("two", 1)
    assert desk.evaluate(1) == []


@pytest.mark.parametrize("tape", ["one", "two"])
def test_so_are_those_of_a_book_that_was_replaced_before_there_was_a_next_one(
    desk, other_book, tape
):
    desk.evaluate(2)
    desk.book_unreadable_tick()
    desk.evaluate()
    desk.move_to(other_book)
    # As long as its tape is played, the new book may have it still.
    first = 3 if tape == "one" else 1
    desk.begin_tape(tape)
    desk.sequence = first - 1
    desk.book_ticks(2)
    ended = [("ring", "one", 3, None)] if tape == "two" else []
    assert missed(desk.evaluate()) == ended
    assert desk.evaluated.last(tape) == first + 1


@pytest.mark.parametrize(
    ("booked", "gaps"),
    [
        ([("one", 2), ("two", RING + 3)], {("one", 5, None): 2, ("two", 1, 3): 3}),
        ([("one", 2), ("two", RING)], {("one", 5, None): 2}),
        ([("two", RING + 3)], {("two", 1, 3): 3}),
        (
            [("two", 2), ("three", RING + 1)],
            {("one", 5, None): 2, ("two", 1, None): 0, ("three", 1, 1): 1},
        ),
    ],
    ids=["of both", "of the old one", "of the new one", "with a whole tape in it"],
)
def test_a_lap_in_which_a_tape_began_is_logged_of_each_tape_and_each_tick_counted_once(
    desk, booked, gaps
):
    desk.evaluate(4)
    for tape, count in booked:
        if tape != "one":
            desk.begin_tape(tape)
        desk.book_ticks(count)
    logs = of(desk.evaluate(), "ticks_missed")
    assert missed(logs) == [("ring", *gap) for gap in gaps]
    assert [log["ticks"] for log in logs] == list(gaps.values())
    assert prices_seen() == list(range(desk.sequence - RING + 1, desk.sequence + 1))


def test_a_new_tape_in_the_middle_of_a_batch_begins_with_empty_windows(desk):
    desk.book_ticks(2)
    desk.begin_tape("two")
    logs = desk.evaluate(3)
    assert [(log["tape"], log["first_evaluated"]) for log in logs] == [("one", 1), ("two", 1)]
    assert prices_seen() == [1, 2, 3]
    assert (desk.evaluated.last("one"), desk.evaluated.last("two")) == (0, 3)


def test_the_last_sentiment_counts_and_one_that_is_none_does_not(desk):
    desk.news.heard_ns = 1000
    desk.evaluator.take_news([Frames(1, 2, b"30*70*", 1000), Frames(3, 1, b"101*", 1001)])
    desk.evaluate(1)
    assert Noting.seen == [(100, 70)]


def test_a_refill_that_cannot_go_on_has_read_all_there_is_to_read(desk, monkeypatch):
    desk.book_ticks(5)
    desk.attach(desk.book)
    with monkeypatch.context() as damaged:  # as behind a header that makes no sense
        damaged.setattr(desk.reader, "read", lambda _count: Batch(np.zeros(0, TICK), None))
        assert desk.evaluator.evaluate_all(desk.reader)
    assert not desk.evaluator.evaluate_all(desk.reader)
    assert desk.evaluator.evaluate_all(desk.reader)


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
    new_desk, monkeypatch, takes_ms, batches
):
    tick_ns = int(takes_ms * MILLISECOND_NS)
    desk = new_desk(64)
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


def test_a_signal_that_takes_long_to_be_made_for_a_new_tape_has_a_pass_for_it(desk, monkeypatch):
    takes(monkeypatch, lambda _tick: SECOND_NS)
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(2)
    lengths = run_passes(desk, lambda: desk.evaluated.last("two") == 2)
    assert lengths == [SECOND_NS] * 5
    assert missed(desk.evaluate()) == []


def test_a_new_tick_has_a_pass_of_its_own_where_the_known_ones_before_it_took_long(
    desk, other_book, monkeypatch
):
    desk.evaluate(3)
    desk.move_to(other_book)
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


def test_of_two_tapes_in_the_ring_only_the_newer_one_is_refilled_from(desk, monkeypatch):
    made = []
    desk.book_ticks(3)
    desk.begin_tape("two")
    desk.book_ticks(2)
    takes(monkeypatch, lambda tick: 0 if tick else made.append(tick) or 0)
    desk.restart()
    assert desk.refilled == 2
    assert desk.attached == ("two", 2)
    assert prices_seen() == [1, 2]
    assert len(made) == 1


def begin_slowly(desk: Desk, monkeypatch: pytest.MonkeyPatch, tape: str, ticks: int) -> list[dict]:
    """A tape begins, and making its signal takes a whole pass. Returns what was logged."""
    takes(monkeypatch, lambda tick: 0 if tick else SECOND_NS)
    desk.begin_tape(tape)
    logs = desk.evaluate(ticks)
    assert prices_seen() == []
    return logs


def test_of_a_tape_that_is_lapped_while_its_signal_is_made_only_what_is_gone_is_missed(
    desk, monkeypatch
):
    desk.book_ticks(6)
    desk.restart()
    desk.evaluate(6)
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
    desk.evaluate(2)
    logs = begin_slowly(desk, monkeypatch, "two", RING + 3)
    assert missed(logs) == [("ring", "two", 1, 3)]
    assert missed(desk.evaluate(2)) == [("ring", "two", 4, 5)]
    assert desk.evaluated.last("two") == RING + 5


def test_one_that_ended_while_its_signal_was_made_is_reported_from_its_first_tick(
    desk, monkeypatch
):
    desk.evaluate(2)
    begin_slowly(desk, monkeypatch, "two", 4)
    desk.begin_tape("three")
    logs = desk.evaluate(RING + 1)
    assert missed(logs) == [("ring", "two", 1, None), ("ring", "three", 1, 1)]
    assert [log["ticks"] for log in logs[:2]] == [4, 1]


def hear_news(desk: Desk) -> None:
    """A sentiment is in force from now on."""
    desk.news.heard_ns = LAST_NS
    desk.evaluator.take_news([Frames(1, 1, b"70*", LAST_NS)])


def test_what_a_tick_took_without_news_says_nothing_of_one_with_news(new_desk):
    ticks, more = 4000, 1000
    desk = new_desk(8192, SlowWithNews)
    desk.book_ticks(ticks)
    run_passes(desk, lambda: len(Noting.seen) == ticks)
    desk.book_ticks(more)
    hear_news(desk)
    lengths = run_passes(desk, lambda: desk.evaluated.last("one") == ticks + more)
    assert [sentiment for _, sentiment in Noting.seen][-more:] == [70] * more
    assert max(lengths) <= PASS_NS + SlowWithNews.TICK_NS


def test_nor_does_what_filling_the_windows_took_where_the_news_had_come_before(new_desk, new_book):
    ticks, more = 4000, 1000
    Noting.now_ns = 10 * SECOND_NS
    desk = new_desk(8192, SlowWithNews)
    hear_news(desk)
    desk.evaluate(1)
    desk.book = new_book(8192)
    desk.begin_tape("one")
    desk.book_ticks(ticks)
    desk.move_to(desk.book)
    assert desk.refilled == ticks
    desk.book_ticks(more)
    lengths = run_passes(desk, lambda: desk.evaluated.last("one") == ticks + more)
    assert len(Noting.seen) == ticks + more
    assert max(lengths) <= PASS_NS + SlowWithNews.TICK_NS


@pytest.fixture
def lapped_desk(new_desk, monkeypatch) -> Desk:
    """It was lapped in its refill, because its signal is slow; the ring is half a thousand."""
    ring = 512
    desk = new_desk(ring, SlowWithNews)
    desk.book_ticks(ring)
    takes(monkeypatch, lambda tick: PASS_NS if tick else 0)
    desk.restart_without_refill()
    run_passes(desk, lambda: len(Noting.seen) == 3)
    desk.book_ticks(ring // 2)
    with capture_logs() as logs:
        run_passes(desk, lambda: bool(logs))
    assert logs[0]["event"] == "refill_begun_anew"
    return desk


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


@pytest.fixture
def slow_desk(new_desk, monkeypatch) -> Desk:
    """Its signal takes 10 ms a tick; 520 ticks wait, and are some seconds old."""
    desk = new_desk(4096)
    Noting.now_ns = 10 * SECOND_NS
    monkeypatch.setattr(desk.evaluator._trader, "_max_tick_age_ns", SECOND_NS)
    takes(monkeypatch, lambda tick: 10 * MILLISECOND_NS if tick else 0)
    desk.book_ticks(520)
    return desk


def test_a_signal_that_is_too_slow_is_logged_and_so_is_that_it_has_caught_up(slow_desk):
    with capture_logs() as logs:
        run_passes(slow_desk, lambda: len(Noting.seen) == 520)
        for _ in range(3):
            slow_desk.evaluator.evaluate_all(slow_desk.reader)
    too_slow, _ = [log for log in logs if log["event"].startswith("signal_")]
    assert logs[-1]["event"] == "signal_keeps_up"
    assert too_slow["signal_us"] == 10_000
    assert too_slow["behind_s"] > 1
    for part in ("the signal takes 10.0 ms a tick", "catching up", "no orders"):
        assert part in too_slow["reason"]


def test_a_slow_signal_has_not_caught_up_where_ticks_are_missed(slow_desk):
    run_passes(slow_desk, lambda: len(Noting.seen) == 520)
    slow_desk.book_unreadable_tick()
    for said in ([], ["signal_keeps_up"]):
        with capture_logs() as logs:
            slow_desk.evaluator.evaluate_all(slow_desk.reader)
        assert [log["event"] for log in logs] == said


@pytest.fixture
def refilled(new_desk, monkeypatch) -> Callable[..., tuple[Desk, list[dict]]]:
    """Refill a new process of a strategy with so slow a signal. Returns also what it logs."""

    def refill(ticks: int, tick_ns: int) -> tuple[Desk, list[dict]]:
        desk = new_desk(4096)
        desk.book_ticks(ticks)
        takes(monkeypatch, lambda tick: tick_ns if tick else 0)
        with capture_logs() as logs:
            desk.restart_without_refill()
            run_passes(desk, lambda: of(logs, "attached"))
        return desk, logs

    return refill


def test_a_refill_that_would_take_too_long_begins_anew_with_the_latest_ticks(refilled):
    tick_ns = 30 * MILLISECOND_NS
    began_ns = Noting.now_ns
    desk, logs = refilled(300, tick_ns)
    assert Noting.now_ns - began_ns <= JUDGE_REFILL_NS + MAX_REFILL_NS + 2 * PASS_NS
    count = MAX_REFILL_NS // tick_ns
    assert [(log["event"], log.get("ticks")) for log in logs] == [
        ("refill_shortened", count),
        ("attached", None),
    ]
    assert "30.0 ms a tick" in logs[0]["reason"]
    assert prices_seen() == list(range(301 - count, 301))
    assert missed(desk.evaluate(1)) == []


def test_a_refill_that_is_nearly_done_is_not_begun_anew(refilled):
    _, logs = refilled(118, 50 * MILLISECOND_NS)
    assert [log["event"] for log in logs] == ["refill_takes_long", "attached"]
    assert prices_seen() == list(range(1, 119))


def test_a_refill_that_takes_long_says_how_far_it_is(refilled):
    _, (shortened, *said, attached) = refilled(300, 200 * MILLISECOND_NS)
    windows = len(SYMBOLS) * StrategySettings().long_window
    assert shortened["ticks"] == attached["refilled"] == windows
    assert [(log["refilled"], log["of"], log["left_s"]) for log in said] == [
        (25, windows, 15.0),
        (50, windows, 10.0),
        (75, windows, 5.0),
    ]


def test_a_signal_that_the_ring_laps_again_and_again_misses_a_part_of_it_at_once(
    new_desk, monkeypatch
):
    ring, passes, ticks_a_pass = 512, 60, 50
    desk = new_desk(ring)
    takes(monkeypatch, lambda tick: 10 * MILLISECOND_NS if tick else 0)
    with capture_logs() as logs:
        for _ in range(passes):
            desk.book_ticks(ticks_a_pass)
            desk.evaluator.evaluate_all(desk.reader)
    gaps = [(first, last) for _, _, first, last in missed(logs)]
    # Once the ring has come round, some 45 ticks of it are overwritten in each pass.
    assert len(gaps) <= passes * ticks_a_pass // (ring // REFILL_MARGIN) // 2 + 2
    unseen = {tick for first, last in gaps for tick in range(first, last + 1)}
    seen = prices_seen()
    assert unseen.isdisjoint(seen)
    assert sorted(unseen | set(seen)) == list(range(1, seen[-1] + 1))


def test_what_is_passed_over_then_is_missed_of_each_tape(new_desk):
    ring = 512
    desk = new_desk(ring)
    for count in (5, ring + 10):
        desk.book_ticks(count)
        run_passes(desk, lambda: desk.reader.position == desk.book.reader().position)
    evaluated = desk.sequence
    desk.book_ticks(100)
    desk.begin_tape("two")
    desk.book_ticks(ring - 30)  # so of the margin, 30 are of the older tape
    with capture_logs() as logs:
        run_passes(desk, lambda: desk.reader.position == desk.book.reader().position)
    gaps = of(logs, "ticks_missed")
    margin = ring // REFILL_MARGIN
    assert missed(gaps) == [
        ("ring", "one", evaluated + 1, None),
        ("ring", "two", 1, margin - 30),
    ]
    assert [log["ticks"] for log in gaps] == [100, margin - 30]
