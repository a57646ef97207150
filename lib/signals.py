"""Signals: what a price series and the news say about a symbol, tick by tick.

Copy `MovingAverageAndNews`, change what you like, and name your class in `etc/trading.toml`:

    [strategy]
    class = "lib.my_signals:MySignal"

A signal is a class with one method. It is made anew for each tape and gets the `[strategy]`
settings; it is called for every tick once, in order, from one thread. It says what the market
looks like; whether that becomes an order (there is a position already, the tick is old, the order
manager is away) is the strategy's business.

    class MySignal:
        def __init__(self, settings):
            self.last = {}

        def on_tick(self, symbol, price, sentiment):
            before, self.last[symbol] = self.last.get(symbol, price), price
            if sentiment is not None and price > before and sentiment > 60:
                return "BUY"
            return None

Optional are `explain` (figures for the log of an order), and for speed `on_batch` with
`explain_batch` (many ticks at once, as arrays; must say exactly what `on_tick` would).
"""

from __future__ import annotations

import importlib
from collections import deque
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lib.prices import to_float
from lib.settings import SettingsError, StrategySettings

Side = Literal["BUY", "SELL"]

MIN_ARRAY_TICKS: Final = 16
"""Ticks of one symbol from which array arithmetic is quicker than a loop."""


class Signal(Protocol):
    """What `[strategy] class` must name."""

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
        """Figures for the log behind what was said of the `tick`-th tick of the last batch."""


@runtime_checkable
class ExplainedSignal(Protocol):
    """A signal that tells, for the log, what it saw."""

    def explain(self, symbol: str) -> dict[str, float]:
        """Figures behind what was said of `symbol` last."""


class MovingAverageAndNews:
    """Buy when the short average is above the long one and the news is good; sell the opposite.

    Averages are over the last `short_window` and `long_window` ticks of a symbol; before there
    are `long_window` of them there is no signal. Good news is a sentiment above
    `bullish_threshold`, bad news one below `bearish_threshold`.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._settings = settings
        self._averages: dict[str, _Averages] = {}
        self._batch_symbols = np.zeros(0, np.int32)
        self._batch: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        """Of each symbol in the last batch: the numbers of its ticks, and its prices up to there,
        beginning with those that its long window held before."""

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        """Say "BUY" or "SELL" when the averages and the news agree, None otherwise."""
        averages = self._averages_of(symbol)
        averages.add(price)
        trend = averages.trend()
        if trend == self._news(sentiment):
            return _SIDES[trend]
        return None

    def on_batch(
        self,
        symbols: NDArray[np.int32],
        prices: NDArray[np.int64],
        sentiment: int | None,
        names: tuple[str, ...],
    ) -> NDArray[np.int8]:
        """Do what `on_tick` does for many ticks, with one pass of array arithmetic a symbol."""
        trends = np.zeros(len(symbols), np.int8)
        by_symbol = np.argsort(symbols, kind="stable")
        present, begins = np.unique(symbols[by_symbol], return_index=True)
        self._batch_symbols = symbols
        self._batch = {}
        pieces = np.split(by_symbol, begins.tolist())[1:]  # what is before the first is nothing
        for index, ticks in zip(present.tolist(), pieces, strict=True):
            averages = self._averages_of(names[index])
            series = np.concatenate((np.array(averages.long.prices, np.int64), prices[ticks]))
            trends[ticks] = averages.add_batch(series, len(ticks))
            self._batch[index] = ticks, series
        news = self._news(sentiment)
        return np.where(trends == news, trends, np.int8(0))

    def explain_batch(self, tick: int) -> dict[str, float]:
        """The two averages after the `tick`-th tick of the last batch, as prices."""
        ticks, series = self._batch[int(self._batch_symbols[tick])]
        after = len(series) - len(ticks) + int(np.searchsorted(ticks, tick)) + 1
        averages = _Averages(self._settings.short_window, self._settings.long_window)
        for price in series[max(0, after - averages.long.size) : after].tolist():
            averages.add(price)
        return averages.means()

    def explain(self, symbol: str) -> dict[str, float]:
        """The two averages after the last tick of `symbol`, as prices."""
        return self._averages_of(symbol).means()

    def _averages_of(self, symbol: str) -> _Averages:
        averages = self._averages.get(symbol)
        if averages is None:
            settings = self._settings
            averages = _Averages(settings.short_window, settings.long_window)
            self._averages[symbol] = averages
        return averages

    def _news(self, sentiment: int | None) -> int:
        """1 for good news, -1 for bad, 0 for neither, and for none."""
        if sentiment is None:
            return 0
        if sentiment > self._settings.bullish_threshold:
            return 1
        return -1 if sentiment < self._settings.bearish_threshold else 0


_SIDES: dict[int, Side | None] = {1: "BUY", -1: "SELL", 0: None}


class _MovingSum:
    """The exact sum of the last `size` prices."""

    def __init__(self, size: int) -> None:
        self.prices: deque[int] = deque(maxlen=size)
        self.size = size
        self.total = 0

    def add(self, price: int) -> None:
        if len(self.prices) == self.size:
            self.total -= self.prices[0]
        self.prices.append(price)
        self.total += price

    def add_batch(self, prices: list[int]) -> None:
        self.prices.extend(prices)
        self.total = sum(self.prices)

    def mean(self) -> float:
        return to_float(self.total) / len(self.prices)


class _Averages:
    """The short and the long window of one symbol.

    The averages themselves are never divided out: `short.total / short.size > long.total /
    long.size` is compared by cross-multiplication of integers, so that a flat tape is flat.
    """

    def __init__(self, short: int, long: int) -> None:
        self.short = _MovingSum(short)
        self.long = _MovingSum(long)

    def add(self, price: int) -> None:
        self.short.add(price)
        self.long.add(price)

    def trend(self) -> int:
        """1 where short is above long, -1 where below, 0 where equal or not yet known."""
        if len(self.long.prices) < self.long.size:
            return 0
        short = self.short.total * self.long.size
        long = self.long.total * self.short.size
        return (short > long) - (short < long)

    def means(self) -> dict[str, float]:
        return {"short_mean": self.short.mean(), "long_mean": self.long.mean()}

    def add_batch(self, series: NDArray[np.int64], count: int) -> NDArray[np.int8]:
        """Add the last `count` prices of `series`; return the trend after each.

        What comes before them in `series` is what the long window held.
        """
        prices = series[-count:].tolist()
        # Arrays count modulo 2**64, so sums and products may wrap around, as long as their
        # difference at the end does not. Where it might, or where the arrays would cost more than
        # they save, one tick after the other is as good.
        spread = int(series.max()) - int(series.min())
        largest_difference = spread * self.short.size * self.long.size
        if largest_difference >= 2**63 or count < MIN_ARRAY_TICKS:
            return np.array([self._add_one(price) for price in prices], np.int8)
        sums = np.zeros(len(series) + 1, np.int64)
        np.cumsum(series, out=sums[1:])
        trends = np.zeros(count, np.int8)
        known = len(series) - count
        unfilled = max(0, self.long.size - known - 1)  # ticks before the long window is full
        ends = np.arange(known + 1 + unfilled, len(sums))
        short = (sums[ends] - sums[ends - self.short.size]) * self.long.size
        long = (sums[ends] - sums[ends - self.long.size]) * self.short.size
        trends[unfilled:] = np.sign(short - long)
        self.short.add_batch(prices)
        self.long.add_batch(prices)
        return trends

    def _add_one(self, price: int) -> int:
        self.add(price)
        return self.trend()


def takes_batches(signal_class: type[Signal]) -> bool:
    """Whether its `on_batch` belongs to its `on_tick`: both are of the same class.

    A class that is derived from another and overrides `on_tick` alone has inherited an `on_batch`
    that says something else.
    """

    def home(method: str) -> type | None:
        return next((c for c in signal_class.__mro__ if method in vars(c)), None)

    return home("on_batch") is not None and home("on_batch") is home("on_tick")


def load_signal_class(name: str) -> type[Signal]:
    """The class that `[strategy] class` names as "module:Name".

    Raises SettingsError if there is no such module or class, or if it has no `on_tick`.
    """
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        signal_class: Any = getattr(module, class_name)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        raise SettingsError(
            "strategy.class", f"cannot load {name}: {type(error).__name__}: {error}"
        ) from None
    if not isinstance(signal_class, type) or not callable(getattr(signal_class, "on_tick", None)):
        raise SettingsError("strategy.class", f"{name} must be a class with an on_tick method")
    return signal_class
