"""Signals: what prices and news say about a symbol, tick by tick.

Copy `MovingAverageAndNews`, change what you like, and name your class in `etc/trading.toml`:

    [strategy]
    class = "lib.my_signals:MySignal"

A signal is a class with one method. It is constructed for each tape, with the `[strategy]`
settings, and called for every tick once, in order, from one thread. It says what the market looks
like; the strategy decides whether that becomes an order (there may be a position already, or the
tick is old, or the order manager is away).

A signal may be slow: the strategy then falls behind and logs it. Only a single call that takes
longer than `[watchdog] hang_after` counts as a hang. So does the constructor between two tapes;
when the strategy starts, it may take longer.

    class MySignal:
        def __init__(self, settings):
            self.last = {}

        def on_tick(self, symbol, price, sentiment):
            before, self.last[symbol] = self.last.get(symbol, price), price
            if sentiment is not None and price > before and sentiment > 60:
                return "BUY"
            return None

Optional are `explain` (figures for the log of an order), and for speed `on_batch` with
`explain_batch` (many ticks at once, as arrays; must return exactly what `on_tick` would).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lib.moving_averages import Means, MovingAverages
from lib.settings import StrategySettings
from lib.wire.tick_codec import MAX_SENTIMENT

Side = Literal["BUY", "SELL"]


class Signal(Protocol):
    """The interface of a signal: the class that `[strategy] class` names."""

    def __init__(self, settings: StrategySettings) -> None: ...

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        """Take the next tick of `symbol` and say what to do: "BUY", "SELL" or None.

        `price` is a whole number of 1e-8 (172.53 is 17_253_000_000), so that sums and comparisons
        are exact. `sentiment` is the news in force, 0 to 100, or None for no news.
        """


@runtime_checkable
class BatchSignal(Protocol):
    """A signal that can also take many ticks at once."""

    def on_batch(
        self,
        symbols: NDArray[np.int32],
        prices: NDArray[np.int64],
        sentiment: int | None,
        names: tuple[str, ...],
    ) -> NDArray[np.int8]:
        """Take the next ticks, in order; answer each with 1 (buy), -1 (sell) or 0.

        `symbols` are indices into `names`. The answers, and what is remembered for later ticks,
        must be exactly those of `on_tick` for one tick after the other.
        """

    def explain_batch(self, tick: int) -> dict[str, float]:
        """Return figures for the log: why the `tick`-th tick of the last batch got its answer."""


@runtime_checkable
class ExplainedSignal(Protocol):
    """A signal that explains its answers in the log."""

    def explain(self, symbol: str) -> dict[str, float]:
        """Return figures for the log: why the last tick of `symbol` got its answer."""


class MovingAverageAndNews:
    """Buy when the short average is above the long one and the news is good; sell the opposite.

    Averages are over the last `short_window` and `long_window` ticks of a symbol; before there
    are `long_window` of them there is no signal. Good news is a sentiment above
    `bullish_threshold`, bad news one below `bearish_threshold`.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._averages = MovingAverages(settings.short_window, settings.long_window)
        self._numbers: dict[str, int] = defaultdict(count().__next__)
        """Numbers of the symbols in the averages: in the order of their first ticks."""
        self._names: tuple[str, ...] = ()
        self._numbers_of_names = np.zeros(0, np.int32)
        """The same numbers, by index into the last batch's `names`."""
        self._news: dict[int | None, int] = {None: 0} | {
            sentiment: (sentiment > settings.bullish_threshold)
            - (sentiment < settings.bearish_threshold)
            for sentiment in range(MAX_SENTIMENT + 1)
        }
        """By sentiment: 1 for good news, -1 for bad, 0 for neutral or no news."""

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        """Return "BUY" or "SELL" if the averages and the news agree, None otherwise."""
        trend = self._averages.add(self._numbers[symbol], price)
        return _SIDES[trend] if trend == self._news[sentiment] else None

    def on_batch(
        self,
        symbols: NDArray[np.int32],
        prices: NDArray[np.int64],
        sentiment: int | None,
        names: tuple[str, ...],
    ) -> NDArray[np.int8]:
        """Do what `on_tick` does for many ticks."""
        if names is not self._names:
            self._names = names
            self._numbers_of_names = np.array([self._numbers[name] for name in names], np.int32)
        trends = self._averages.add_batch(self._numbers_of_names.take(symbols), prices)
        says: NDArray[np.int8] = trends * (trends == self._news[sentiment])
        return says

    def explain(self, symbol: str) -> dict[str, float]:
        """Return the two averages after the last tick of `symbol`, as prices."""
        return _explanation(self._averages.means(self._numbers[symbol]))

    def explain_batch(self, tick: int) -> dict[str, float]:
        """Return the two averages after the `tick`-th tick of the last batch, as prices."""
        return _explanation(self._averages.batch_means(tick))


_SIDES: dict[int, Side | None] = {1: "BUY", -1: "SELL", 0: None}


def _explanation(means: Means) -> dict[str, float]:
    return {"short_mean": means.short, "long_mean": means.long}
