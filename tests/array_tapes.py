"""A tape that a test writes down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.prices import PRICE_SCALE


class ArrayTape:
    """A `Tape` of these symbol indices and prices (whole numbers, or decimals of few digits)."""

    identity = "array"

    def __init__(self, symbols: Sequence[int], prices: Sequence[float]) -> None:
        self._symbols = np.array(symbols, np.int32)
        self._prices = np.array([round(price * PRICE_SCALE) for price in prices], np.int64)
        self.length = len(self._prices)
        self.reads: list[int] = []
        """How many ticks were asked for at a time."""

    def read(self, first: int, count: int):
        self.reads.append(count)
        span = slice(first - 1, first - 1 + count)
        return self._symbols[span], self._prices[span]
