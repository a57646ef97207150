"""The random-walk tape: endless, and yet any place of it is reached at once.

It is made in layers, each drawn from a counter-based generator (Philox), which gives the numbers of
one place without those before it:

- every symbol has a start;
- round its start the price wanders, as a sum of waves: random heights, joined by straight lines. In
  the longest wave they are 2 to the power LONGEST_WAVE_BITS of the symbol's ticks apart, in the
  next half as far, and so on; the farther apart, the higher;
- between the closest of those heights, one block apart, it is a random walk of whole cents, bent
  to begin and end on them exactly (a bridge). So blocks join without a jump.

Up to the length of the longest wave this moves like a random walk. Over longer times it stays in
a band of about 25 round its start, where a true random walk would come to zero sooner or later.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.prices import PRICE_SCALE
from lib.tapes.random_numbers import START_STREAM, STEP_STREAM, random_words
from lib.tapes.tape import check_span, digest, frozen

CENT: Final = PRICE_SCALE // 100
BLOCK_TICKS: Final = 16384
"""The most ticks that are made at once (or one tick a symbol, if there are more symbols)."""
CACHED_BLOCKS: Final = 4
"""Blocks kept: a reader of live ticks and one that replays older ticks are in different blocks."""
CACHED_HEIGHTS: Final = 64
"""Heights of waves kept."""
LOWEST_START_CENTS: Final = 50_00
HIGHEST_START_CENTS: Final = 500_00
LONGEST_WAVE_BITS: Final = 16
"""The longest wave spans 2 to this power ticks of a symbol. One twice as long is 1.4 times as high,
and a price that starts at LOWEST_START_CENTS would come near zero."""


class RandomWalkTape:
    """An endless `Tape`: symbols take turns, prices are whole cents and never below one cent.

    Tick n belongs to symbol (n - 1) % len(symbols). Prices depend on the seed (any int), the number
    of symbols and the position only. From one tick of a symbol to its next the price moves by
    3.2 cents (standard deviation).
    """

    length: Final = None

    def __init__(self, symbols: tuple[str, ...], seed: int) -> None:
        self.identity: Final = f"random-walk-{digest(repr((seed, symbols)).encode())}"
        self._seed = seed
        self._symbol_count = len(symbols)
        # A block is 2**bits rows of one tick a symbol.
        self._row_bits = min(
            LONGEST_WAVE_BITS, max(1, BLOCK_TICKS // len(symbols)).bit_length() - 1
        )
        rows = 1 << self._row_bits
        self._block_ticks = rows * len(symbols)
        self._row_numbers = np.arange(rows, dtype=np.int64)[:, np.newaxis]
        self._block_symbols = frozen(np.tile(np.arange(len(symbols), dtype=np.int32), rows))
        self._starts = self._draw(START_STREAM, 0, LOWEST_START_CENTS, HIGHEST_START_CENTS)
        # A few blocks, so that a reader of single ticks and one that replays older ticks do not
        # make each other's blocks again. Caches of this object: they end with it.
        self._block = lru_cache(CACHED_BLOCKS)(self._make_block)
        self._heights = lru_cache(CACHED_HEIGHTS)(self._make_heights)

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """See `Tape.read`. It always returns `count` ticks."""
        check_span(first, count)
        symbols, prices = [], []
        block, begin = divmod(first - 1, self._block_ticks)
        while True:
            end = min(begin + count, self._block_ticks)
            symbols.append(self._block_symbols[begin:end])
            prices.append(self._block(block)[begin:end])
            count -= end - begin
            if count == 0:
                break
            block, begin = block + 1, 0
        if len(prices) == 1:
            return symbols[0], prices[0]
        return frozen(np.concatenate(symbols)), frozen(np.concatenate(prices))

    def _make_block(self, block: int) -> NDArray[np.int64]:
        """Make the prices of one block: the bridge between two waypoints."""
        begin, end = self._waypoint(block), self._waypoint(block + 1)
        ticks = self._block_ticks
        noise = random_words(self._seed, STEP_STREAM, block, -(-ticks // 8)).view(np.uint8)
        noise = noise[:ticks].reshape(-1, self._symbol_count)
        # The sum of two draws from 0 to 7: most steps are small, as in a market.
        steps = ((noise & 7) + (noise >> 3 & 7)).astype(np.int64) - 7
        walk = steps.cumsum(axis=0)
        bend = end - begin - walk[-1]
        walk -= steps  # a row is the sum of the steps before it: the first lies on the waypoint
        walk += begin
        walk += self._row_numbers * bend >> self._row_bits
        # Waypoints are at least 25.00 above zero, and at its widest the bridge has a standard
        # deviation of 2.07. That makes zero unthinkable, not impossible.
        np.maximum(walk, 1, out=walk)
        walk *= CENT
        return frozen(walk.reshape(-1))

    def _waypoint(self, block: int) -> NDArray[np.int64]:
        """Return where every symbol is at the beginning of a block, in cents."""
        row = block << self._row_bits
        cents = self._starts.copy()
        for bits in range(self._row_bits, LONGEST_WAVE_BITS + 1):
            index, part = row >> bits, row & ((1 << bits) - 1)
            left, right = self._heights(bits, index), self._heights(bits, index + 1)
            cents += left + ((right - left) * part >> bits)
        return cents

    def _make_heights(self, bits: int, index: int) -> NDArray[np.int64]:
        # 2.8 cents times the square root of the distance: what the steps themselves would give.
        highest = isqrt(8 << bits)
        return self._draw(bits, index, -highest, highest)

    def _draw(self, stream: int, index: int, lowest: int, highest: int) -> NDArray[np.int64]:
        """Draw an integer for every symbol, `highest` included."""
        words = random_words(self._seed, stream, index, self._symbol_count)
        return (words % np.uint64(highest - lowest + 1)).astype(np.int64) + lowest
