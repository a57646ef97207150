"""The strategy and the first sentiment: the first tick waits for it, and not for ever."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daemons.strategy import FIRST_NEWS_NS, Strategy
from lib.net.event_loop import EventLoop
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook, remove_segments
from lib.streams.stream_client import Frames
from tests.helpers import wait_until


class Desk:
    """A strategy that knows its positions, on a price book of its own; time is the test's."""

    def __init__(self, path: Path, name: str) -> None:
        replace, defaults = msgspec.structs.replace, Settings()
        settings = replace(
            defaults, var_dir=path, price_book=replace(defaults.price_book, name=name)
        )
        self.book = SharedPriceBook(settings.symbols, name)
        self.now_ns = 10**12
        loop = EventLoop()
        loop.clock = lambda: self.now_ns
        loop._longest_sleep_ns = 0
        self.strategy = Strategy(settings, loop)
        self.strategy._orders.knows_positions = True

    def attach(self) -> None:
        def is_ready() -> bool:
            self.strategy.step()
            return self.strategy._evaluator.is_ready

        wait_until(is_ready, "it is attached")

    def has_evaluated(self) -> bool:
        for _ in range(5):
            self.strategy.step()
        return not self.strategy._evaluator.is_ready

    def hear(self, sentiment: int) -> None:
        self.strategy._evaluator.take_news([Frames(1, 1, b"%d*" % sentiment, 0)])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    name = f"test-strategy-{os.getpid()}-{secrets.token_hex(4)}"
    desk = Desk(tmp_path, name)
    yield desk
    desk.strategy.close()
    desk.book.close()
    remove_segments(name)


def test_the_first_tick_waits_for_the_first_sentiment(desk: Desk) -> None:
    desk.attach()
    desk.now_ns += 10 * FIRST_NEWS_NS  # without a tick nothing is waited for
    desk.book.update("AAPL", 1.5)
    assert not desk.has_evaluated()
    desk.now_ns += FIRST_NEWS_NS - 1
    assert not desk.has_evaluated()
    desk.hear(80)
    assert desk.has_evaluated()


def test_without_news_the_first_tick_waits_for_a_second(desk: Desk) -> None:
    desk.attach()
    desk.book.update("AAPL", 1.5)
    assert not desk.has_evaluated()
    desk.now_ns += FIRST_NEWS_NS
    assert desk.has_evaluated()


def test_a_loop_with_a_tick_that_waits_sleeps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.attach()
    desk.book.update("AAPL", 1.5)
    sleeps: list[bool] = []
    poll = EventLoop.poll

    def noted_poll(loop: EventLoop, may_sleep: bool = True) -> None:
        sleeps.append(may_sleep)
        poll(loop, may_sleep)

    monkeypatch.setattr(EventLoop, "poll", noted_poll)
    assert not desk.has_evaluated()
    assert all(sleeps)
