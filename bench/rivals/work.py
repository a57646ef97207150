"""The work of a relay and a consumer, which is the same in every alternative.

The relay decodes the text (`PriceBook`), keeps the latest price of every symbol, and passes on the
decoded ticks. The consumer computes two moving averages a symbol, one tick at a time (`Averages`),
and records when it decided (`Decisions`).
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from bench.errors import BenchError
from bench.rivals.load import Load, RivalTape
from bench.rivals.rival import ConsumerResult

SHORT_WINDOW: Final = 20
LONG_WINDOW: Final = 50
"""The windows in ticks, as in the stack's default settings."""


class PriceBook:
    """The work of the relay: decodes the text, and keeps the latest price of every symbol."""

    def __init__(self, load: Load) -> None:
        self._index = {name.encode(): index for index, name in enumerate(RivalTape(load).names)}
        self.latest = [float("nan")] * load.symbols

    def decode(self, body: bytes) -> tuple[list[int], list[float]]:
        """Return symbols and prices of a message's text, in the fastest way without NumPy."""
        if not body:
            return [], []
        texts = body.replace(b",", b"*").split(b"*")
        symbols = [self._index[text] for text in texts[::2]]
        prices = [float(text) for text in texts[1::2]]
        for symbol, price in zip(symbols, prices, strict=True):
            self.latest[symbol] = price
        return symbols, prices


class _SymbolWindows:
    """The latest prices of one symbol, initially zeros, so that the windows are always full."""

    __slots__ = ("long", "long_sum", "seen", "short", "short_sum")

    def __init__(self) -> None:
        self.short = deque([0.0] * SHORT_WINDOW, SHORT_WINDOW)
        self.long = deque([0.0] * LONG_WINDOW, LONG_WINDOW)
        self.short_sum = self.long_sum = 0.0
        self.seen = 0


class Averages:
    """Two moving averages a symbol in the textbook way: a deque and its running sum."""

    def __init__(self, symbols: int) -> None:
        self._windows = [_SymbolWindows() for _ in range(symbols)]

    def decide(self, symbols: Iterable[int], prices: Iterable[float]) -> int:
        """Process ticks one by one; return after how many the short average was above the long.

        A symbol with fewer ticks than the long window counts as not above.
        """
        above = 0
        for symbol, price in zip(symbols, prices, strict=True):
            windows = self._windows[symbol]
            windows.short_sum += price - windows.short[0]
            windows.short.append(price)
            windows.long_sum += price - windows.long[0]
            windows.long.append(price)
            windows.seen += 1
            if (
                windows.seen >= LONG_WINDOW
                and windows.short_sum / SHORT_WINDOW > windows.long_sum / LONG_WINDOW
            ):
                above += 1
        return above


class Decisions:
    """The work of the consumer: decides each tick, and records when."""

    def __init__(self, load: Load) -> None:
        self._averages = Averages(load.symbols)
        self._next = 1
        self._ticks = 0
        self._above = 0
        self._latencies_ns = array("q")
        self._ended_ns = 0

    def take(
        self, first: int, sent_ns: int, symbols: Sequence[int], prices: Sequence[float]
    ) -> bool:
        """Decide the ticks of a message. Returns False for the last one, which has none.

        Raises BenchError for a tick that is repeated or out of order.
        """
        if first < self._next:
            raise BenchError(f"tick {first} came when {self._next} was the next")
        count = len(symbols)
        self._next = first + count
        if not count:
            self._ended_ns = time.monotonic_ns()
            return False
        self._above += self._averages.decide(symbols, prices)
        self._latencies_ns.append(time.monotonic_ns() - sent_ns)
        self._ticks += count
        return True

    def result(self) -> ConsumerResult:
        """Return the result, after the last message."""
        return ConsumerResult(
            self._next - 1, self._ticks, self._latencies_ns, self._ended_ns, self._above
        )
