"""Latest prices, averages and the recent course of each symbol, from the ticks of the price book.

Pure: ticks and times go in. The averages are the strategy's own (`lib.moving_averages`), over the
same ticks, so the signal shown is the strategy's. A caller that has missed ticks must say so: then
the windows start again.

At full speed ticks are missed at each look. The averages are made once and move on over what is
missed: they are differences of running sums, so a window that has filled up since has none of the
earlier prices in it. Made anew each time, 8 bytes x symbols x window would be garbage at each look.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.dashboard.view import PriceHistory
from lib.moving_averages import MovingAverages
from lib.prices import to_float

COURSE_POINTS: Final = 300
"""How many points a course has, one a second."""
MAX_COURSES: Final = 64
"""How many courses are kept: those of the first symbols, until others are requested."""

_Point = tuple[float, float, float | None, float | None]


class Prices:
    """The prices of one set of symbols."""

    def __init__(self, symbols: tuple[str, ...], short_window: int, long_window: int) -> None:
        self._index = {symbol: index for index, symbol in enumerate(symbols)}
        self._windows = short_window, long_window
        self._averages = MovingAverages(short_window, long_window)
        self._courses: OrderedDict[int, deque[_Point]] = OrderedDict()
        for index in range(min(len(symbols), MAX_COURSES)):
            self._courses[index] = deque(maxlen=COURSE_POINTS)
        self.begin_tape()

    def begin_tape(self) -> None:
        """Start again: ticks of another tape follow."""
        self._first = np.zeros(len(self._index), np.int64)
        self._latest = np.zeros(len(self._index), np.int64)
        for course in self._courses.values():
            course.clear()
        self.miss_ticks()

    def miss_ticks(self) -> None:
        """Empty the windows after missed ticks: averages are unknown until they are full again."""
        self._seen = np.zeros(len(self._index), np.int64)
        """The ticks of each symbol since then."""
        self._trends = np.zeros(len(self._index), np.int8)

    def take(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> None:
        """Take ticks, in order; `symbols` are indices, `prices` in units of 10⁻⁸."""
        if not len(symbols):
            return
        trends = self._averages.add_batch(symbols, prices)
        self._latest[symbols] = prices  # where an index repeats, the last one stays
        self._trends[symbols] = trends
        self._seen += np.bincount(symbols, minlength=len(self._seen))
        _, long_window = self._windows
        self._trends[self._seen < long_window] = 0
        present, firsts = np.unique(symbols, return_index=True)
        new = self._first[present] == 0
        self._first[present[new]] = prices[firsts[new]]

    def sample(self, at: float) -> None:
        """A second has passed: enter a point into each course."""
        for index, course in self._courses.items():
            if self._latest[index]:
                course.append((at, to_float(int(self._latest[index])), *self._means(index)))

    def latest(self, symbol: str) -> float | None:
        """Return the latest price in dollars; None before the first, and for no symbol of ours."""
        index = self._index.get(symbol)
        price = 0 if index is None else int(self._latest[index])
        return to_float(price) if price else None

    def change(self, symbol: str) -> float | None:
        """Return the change since the first price that was seen, as a share of it."""
        index = self._index.get(symbol)
        first = 0 if index is None else int(self._first[index])
        return (int(self._latest[index]) - first) / first if first else None

    def trend(self, symbol: str) -> int:
        """Return the price signal: 1 buy, -1 sell, 0 none."""
        index = self._index.get(symbol)
        return 0 if index is None else int(self._trends[index])

    def course(self, symbol: str) -> PriceHistory | None:
        """Return the course of a symbol, from now on if it was not kept; None for no symbol."""
        index = self._index.get(symbol)
        if index is None:
            return None
        if index not in self._courses:
            self._courses.popitem(last=False)
            self._courses[index] = deque(maxlen=COURSE_POINTS)
        self._courses.move_to_end(index)
        points = self._courses[index]
        return PriceHistory(
            symbol,
            [point[0] for point in points],
            [point[1] for point in points],
            [point[2] for point in points],
            [point[3] for point in points],
        )

    def _means(self, index: int) -> tuple[float | None, float | None]:
        """Return both averages as far as their windows are full."""
        seen, (short_window, long_window) = int(self._seen[index]), self._windows
        if not seen:
            return None, None
        short, long = self._averages.means(index)
        return short if seen >= short_window else None, long if seen >= long_window else None
