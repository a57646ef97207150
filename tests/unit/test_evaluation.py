"""The evaluation: each tick once, through restarts, laps of the ring and changes of tape."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from lib import evaluation
from lib.evaluation import Evaluator, LastEvaluated
from lib.order_client import OrderClient
from lib.settings import StrategySettings
from lib.shared_memory_utils import PriceBookReader, SharedPriceBook
from lib.stream_client import Frames, StreamClient
from lib.tally import Tally
from lib.trader import Trader

SYMBOLS = ("AAPL", "MSFT")
RING = 8


class Noting:
    """A signal that notes what it sees and always buys."""

    seen: list[tuple[int, int | None]]

    def __init__(self, settings: StrategySettings) -> None:
        Noting.seen = []

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> str:
        Noting.seen.append((price, sentiment))
        return "BUY"


class Desk:
    """An evaluator on a price book of its own; what it sends and logs is kept."""

    def __init__(self, book: SharedPriceBook, path: Path) -> None:
        self.book = book
        self.path = path
        self.sent: list[bytes] = []
        self.sequence = 0
        self.book.begin_epoch("one")
        self.restart()

    def restart(self) -> None:
        """A new life of the strategy, attached."""
        client = OrderClient("strategy")
        trader = Trader(SYMBOLS, StrategySettings(max_tick_age=1e6), Noting, client)
        self.news = StreamClient(may_be_plain=False)
        self.evaluated = LastEvaluated(self.path)
        self.evaluator = Evaluator(
            trader,
            client,
            self.news,
            self.evaluated,
            Tally(stream="news"),
            send=self._send,
            clock=lambda: 1000,
        )
        self.reader: PriceBookReader = self.evaluator.attach(self.book)
        self.refilled = self.run_until_attached()

    def run_until_attached(self) -> int:
        """Refill the windows, pass after pass. Returns with how many ticks."""
        with capture_logs() as logs:
            while not (attached := [log for log in logs if log["event"] == "attached"]):
                self.evaluator.evaluate_all(self.reader)
        return attached[0]["refilled"]

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

    def evaluate(self) -> list[dict]:
        """One batch. Returns what was logged, orders aside."""
        with capture_logs() as logs:
            self.evaluator.evaluate_all(self.reader)
        kept = ("evaluation_started", "ticks_missed")
        return [log for log in logs if log["event"] in kept]


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    name = f"test-evaluation-{uuid.uuid4().hex}"
    with SharedPriceBook(SYMBOLS, name, ring_capacity=RING) as book:
        try:
            yield Desk(book, tmp_path / "strategy.state")
        finally:
            book.unlink()


def missed(logs: list[dict]) -> list[tuple]:
    return [
        (log["where"], log["tape"], log["first"], log["last"])
        for log in logs
        if log["event"] == "ticks_missed"
    ]


def prices_seen() -> list[int]:
    return [price // 100 for price, _ in Noting.seen]


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


def test_a_strategy_that_is_lapped_before_its_first_tick_refills_anew_and_tells_it_once(desk):
    desk.book_ticks(3)
    desk.evaluate()
    desk.book_ticks(2)
    desk.restart()
    desk.book_ticks(RING + 4)
    with capture_logs() as logs:
        desk.evaluator.evaluate_all(desk.reader)
    assert [(log["event"], log["lapped_by"]) for log in logs] == [("refill_begun_anew", 4)]
    assert desk.run_until_attached() == RING
    desk.book_ticks(2)
    assert missed(desk.evaluate()) == [("strategy", "one", 4, RING + 9)]
    # What the signal saw has no hole: the windows of before the lap are gone.
    assert prices_seen() == [*range(10, RING + 12)]
    assert len(desk.sent) == 2


def test_a_strategy_that_is_lapped_while_it_refills_begins_anew(desk, monkeypatch):
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", 2)
    desk.book_ticks(RING)
    desk.refilled = 0
    desk.reader = desk.evaluator.attach(desk.book)
    desk.evaluator.evaluate_all(desk.reader)
    assert prices_seen() == [1, 2]
    desk.book_ticks(4)
    assert desk.run_until_attached() == RING
    assert prices_seen() == [*range(5, RING + 5)]


def test_the_windows_are_refilled_in_slices_so_that_the_loop_comes_round(desk, monkeypatch):
    monkeypatch.setattr(evaluation, "TICKS_A_PASS", 3)
    desk.book_ticks(RING)
    desk.reader = desk.evaluator.attach(desk.book)
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


def test_a_tape_that_came_and_went_in_a_lap_is_told_too(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.begin_tape("two")
    desk.book_ticks(2)
    desk.begin_tape("three")
    desk.book_ticks(RING + 1)
    assert missed(desk.evaluate()) == [
        ("ring", "one", 5, None),
        ("ring", "two", 1, None),
        ("ring", "three", 1, 1),
    ]


def test_where_a_tape_began_in_a_lap_the_gap_is_told_of_both_tapes(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(RING + 3)
    assert missed(desk.evaluate()) == [("ring", "one", 5, None), ("ring", "two", 1, 3)]
    assert prices_seen() == list(range(4, RING + 4))


def test_where_only_the_old_tape_was_lapped_the_new_one_lacks_nothing(desk):
    desk.book_ticks(4)
    desk.evaluate()
    desk.book_ticks(2)
    desk.begin_tape("two")
    desk.book_ticks(RING)
    assert missed(desk.evaluate()) == [("ring", "one", 5, None)]


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
    desk.evaluator.take_news(Frames(1, 3, b"30*70*101*", 1000))
    desk.book_ticks(1)
    desk.evaluate()
    assert Noting.seen == [(100, 70)]
