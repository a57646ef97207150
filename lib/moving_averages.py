"""Moving averages over ticks: a short and a long one for each of many symbols, exact. Pure.

A symbol's state is not its last prices but their running sums: the sum of the last w prices is the
difference of two running sums, so a tick costs the same for any window. The running sums count
modulo 2**64: they may wrap round, as long as the sum of a window fits. After a price so high that
it might not (3.7 billion dollars, if a window has 50 ticks), the sums of the symbol's windows are
Python integers until the price has left them, and blocks with that symbol are processed one tick
after the other, at 2 µs each.

A single tick costs 0.6 µs. Many ticks are sorted by symbol; then all running sums, all window sums
and all comparisons are one array operation each: 60 µs, and 20 ns a tick if there are few symbols,
60 ns if there are a thousand. Both ways give exactly the same results.

Memory: for each symbol up to the highest one seen, 8 bytes x (the next power of two above the long
window), and 200 bytes for a view of them; up to twice as much, because the capacity doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.prices import to_float

BLOCK_TICKS: Final = 4096
"""The size of the blocks into which a batch is cut, so that they stay in the processor's cache."""

_FIRST_ROOM: Final = 16
"""How many symbols there is room for at first."""
_WORD: Final = 2**64 - 1
"""The largest number of 64 bits, and the mask for it."""


class Means(NamedTuple):
    """The two averages of a symbol, as prices."""

    short: float
    long: float


class _Block(NamedTuple):
    trends: NDArray[np.int8]
    means: Callable[[int], Means]
    """Returns the averages after the n-th tick of the block."""


class _Sums(NamedTuple):
    """The sums of the last prices of a symbol."""

    short: int
    long: int


class MovingAverages:
    """The averages over the last `short` and the last `long` ticks of each symbol.

    Symbols are small integers, prices whole numbers (of 10⁻⁸). The trend of a symbol is 1 where its
    short average is above the long one, -1 where it is below, 0 where they are equal, and as long
    as there have been fewer than `long` ticks. For one thread.
    """

    def __init__(self, short: int, long: int) -> None:
        self._short = short
        self._long = long
        self._ring_size = 1 << long.bit_length()
        self._highest_price = _WORD // long
        """The highest price with which the sum of any window fits a word."""
        self._high_until: dict[int, int] = {}
        """By symbol, the count of ticks at which its last higher price leaves the long window."""
        self._high_sums: dict[int, _Sums] = {}
        """The window sums of the same symbols, which need not fit a word."""
        self._counts = np.zeros(0, np.int64)  # ticks so far, by symbol
        # The sum of a symbol's first n prices is at n modulo the ring's size. Unwritten places hold
        # 0, the sum of no prices.
        self._rings = np.zeros(0, np.uint64)
        self._make_room(_FIRST_ROOM)
        self._batch: list[_Block] = []

    def add(self, symbol: int, price: int) -> int:
        """Add one tick; return the trend after it."""
        if symbol >= len(self._ring_views):
            self._make_room(symbol + 1)
        # Memoryviews take a quarter of the time that arrays take for one number. A negative index
        # is meant: before the ring's first place comes its last one.
        ring = self._ring_views[symbol]
        count = self._count_view[symbol] + 1
        place = count & self._ring_size - 1
        if price > self._highest_price or symbol in self._high_until:
            self._add_high(symbol, price)
        total = ring[place - 1] + price & _WORD
        ring[place] = total
        self._count_view[symbol] = count
        if count < self._long:
            return 0
        if symbol in self._high_until:
            short_sum, long_sum = self._high_sums[symbol]
        else:
            short_sum = total - ring[place - self._short] & _WORD
            long_sum = total - ring[place - self._long] & _WORD
        # The means are compared without a division, so that a flat tape is exactly flat.
        short, long = short_sum * self._long, long_sum * self._short
        return (short > long) - (short < long)

    def add_batch(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> NDArray[np.int8]:
        """Add many ticks, in order; return the trend after each."""
        if len(symbols) and (highest := int(symbols.max())) >= len(self._counts):
            self._make_room(highest + 1)
        self._batch = []
        for begin in range(0, len(symbols), BLOCK_TICKS):
            block = slice(begin, begin + BLOCK_TICKS)
            self._batch.append(self._add_block(symbols[block], prices[block]))
        if len(self._batch) == 1:
            return self._batch[0].trends
        return np.concatenate([np.zeros(0, np.int8), *(block.trends for block in self._batch)])

    def means(self, symbol: int) -> Means:
        """Return the averages after the last tick of a symbol; over fewer ticks if need be."""
        return self._means_of(self._sums(symbol), self._count_view[symbol])

    def batch_means(self, tick: int) -> Means:
        """Return what `means` would have after the `tick`-th tick of the last batch."""
        block, number = divmod(tick, BLOCK_TICKS)
        return self._batch[block].means(number)

    def _add_block(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> _Block:
        words = symbols.astype(self._symbol_word)
        order = words.argsort(kind="stable")
        symbol = words[order]
        (changes,) = (symbol[1:] != symbol[:-1]).nonzero()
        edges = np.concatenate(([0], changes + 1, [len(symbol)]))
        begins, lengths = edges[:-1], edges[1:] - edges[:-1]
        present = symbol[begins].astype(np.int64)
        price = prices[order].view(np.uint64)
        if int(price.max()) > self._highest_price or not self._high_until.keys().isdisjoint(
            present.tolist()
        ):
            return self._add_one_by_one(symbols, prices)

        last_place = self._ring_size - 1
        counts, rings = self._counts[present], present * self._ring_size
        running = price.cumsum()
        before = running[begins] - price[begins]
        running += (self._rings[rings + (counts & last_place)] - before).repeat(lengths)
        place = np.arange(len(order)) - begins.repeat(lengths)  # among its symbol's
        count = place + (counts + 1).repeat(lengths)
        ring = rings.repeat(lengths)

        def sum_of_last(window: int) -> NDArray[np.uint64]:
            """Return the sums of the last `window` prices, or of all if there are fewer."""
            sums = running.copy()
            sums[window:] -= running[:-window]
            (early,) = (place < window).nonzero()  # their windows began before this block
            past = ring[early] + (count[early] - window & last_place)
            sums[early] = running[early] - self._rings[past]
            return sums

        short_sum, long_sum = sum_of_last(self._short), sum_of_last(self._long)
        # If the whole parts of the means are equal, the products differ by less than a word, even
        # if they have wrapped round.
        whole = (short_sum // self._short - long_sum // self._long).view(np.int64)
        rest = (short_sum * self._long - long_sum * self._short).view(np.int64)
        trend = np.sign(np.where(whole, whole, rest))
        trend[count < self._long] = 0
        self._rings[ring + (count & last_place)] = running  # if places repeat, the last one wins
        self._counts[present] = counts + lengths
        trends = np.empty(len(order), np.int8)
        trends[order] = trend.astype(np.int8)

        def means(tick: int) -> Means:
            (at,) = np.flatnonzero(order == tick).tolist()
            return self._means_of(_Sums(int(short_sum[at]), int(long_sum[at])), int(count[at]))

        return _Block(trends, means)

    def _add_one_by_one(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> _Block:
        trends, after = [], []
        for symbol, price in zip(symbols.tolist(), prices.tolist(), strict=True):
            trends.append(self.add(symbol, price))
            after.append((self._sums(symbol), self._count_view[symbol]))
        return _Block(np.array(trends, np.int8), lambda tick: self._means_of(*after[tick]))

    def _add_high(self, symbol: int, price: int) -> None:
        """Update the sums that need not fit a word. Call it before the price is in the ring."""
        count = self._count_view[symbol] + 1
        if price > self._highest_price:
            sums = self._sums(symbol)
            self._high_until[symbol] = count + self._long
        elif count < self._high_until[symbol]:
            sums = self._high_sums[symbol]
        else:
            del self._high_until[symbol], self._high_sums[symbol]
            return
        self._high_sums[symbol] = _Sums(
            sums.short + price - self._price(symbol, count - self._short),
            sums.long + price - self._price(symbol, count - self._long),
        )

    def _price(self, symbol: int, number: int) -> int:
        """Return the n-th price of a symbol, 0 before the first. The ring must still have it."""
        if number < 1:
            return 0
        ring, last_place = self._ring_views[symbol], self._ring_size - 1
        return ring[number & last_place] - ring[number - 1 & last_place] & _WORD

    def _sums(self, symbol: int) -> _Sums:
        """Return the window sums of a symbol, over all prices if there are fewer."""
        if symbol in self._high_sums:
            return self._high_sums[symbol]
        count, ring = self._count_view[symbol], self._ring_views[symbol]
        last_place = self._ring_size - 1
        total = ring[count & last_place]
        short, long = (ring[max(0, count - w) & last_place] for w in (self._short, self._long))
        return _Sums(total - short & _WORD, total - long & _WORD)

    def _means_of(self, sums: _Sums, count: int) -> Means:
        return Means(
            _mean(sums.short, min(count, self._short)), _mean(sums.long, min(count, self._long))
        )

    def _make_room(self, symbols: int) -> None:
        """Grow to so many symbols; the state of the present ones is kept."""
        symbols = max(symbols, 2 * len(self._counts))
        size = self._ring_size
        self._counts = np.pad(self._counts, (0, symbols - len(self._counts)))
        self._rings = np.pad(self._rings, (0, symbols * size - len(self._rings)))
        self._count_view = self._counts.data
        rings = self._rings.data
        self._ring_views = [rings[ring : ring + size] for ring in range(0, len(rings), size)]
        # NumPy sorts words of up to 16 bits by radix, many times as fast as longer ones.
        self._symbol_word = np.min_scalar_type(symbols - 1)


def _mean(prices: int, count: int) -> float:
    return to_float(prices) / count
