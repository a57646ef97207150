"""Moving averages: what fractions say, tick by tick and as arrays, however the ticks are cut."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import moving_averages
from lib.moving_averages import BLOCK_TICKS, Means, MovingAverages
from lib.prices import MAX_PRICE, PRICE_SCALE

DOLLAR = PRICE_SCALE


class Oracle:
    """The same by lists and fractions."""

    def __init__(self, short: int, long: int) -> None:
        self.short, self.long = short, long
        self.prices: dict[int, list[int]] = defaultdict(list)

    def add(self, symbol: int, price: int) -> int:
        self.prices[symbol].append(price)
        short, long = (Fraction(sum(window), len(window)) for window in self.windows(symbol))
        if len(self.prices[symbol]) < self.long:
            return 0
        return (short > long) - (short < long)

    def windows(self, symbol: int) -> tuple[list[int], list[int]]:
        return self.prices[symbol][-self.short :], self.prices[symbol][-self.long :]

    def means(self, symbol: int) -> Means:
        return Means(*(sum(window) / PRICE_SCALE / len(window) for window in self.windows(symbol)))


def add_batch(averages: MovingAverages, ticks: list[tuple[int, int]]) -> list[int]:
    symbols, prices = np.array(ticks or np.empty((0, 2)), np.int64).T
    return averages.add_batch(symbols.astype(np.int32), prices).tolist()


prices = st.integers(1, 5) | st.integers(170 * DOLLAR, 171 * DOLLAR) | st.integers(1, MAX_PRICE)
windows = st.tuples(st.integers(1, 9), st.integers(1, 60)).map(lambda w: (w[0], w[0] + w[1]))


@given(
    windows,
    st.lists(st.tuples(st.integers(0, 40), prices), max_size=300),
    st.lists(st.tuples(st.booleans(), st.integers(0, 80))),
    st.integers(1, 50),
)
def test_each_tick_gets_what_fractions_say_however_the_ticks_are_cut(windows, ticks, cuts, block):
    averages, oracle = MovingAverages(*windows), Oracle(*windows)
    begin = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving_averages, "BLOCK_TICKS", block)
        for as_batch, size in [*cuts, (True, 300)]:
            part = ticks[begin : begin + size]
            begin += size
            if as_batch:
                trends = add_batch(averages, part)
                expected = []
                for number, (symbol, price) in enumerate(part):
                    expected.append(oracle.add(symbol, price))
                    assert averages.batch_means(number) == oracle.means(symbol)
                assert trends == expected
            else:
                for symbol, price in part:
                    assert averages.add(symbol, price) == oracle.add(symbol, price)
                    assert averages.means(symbol) == oracle.means(symbol)


@pytest.mark.parametrize("symbol_count", [1, 3, 5000, 70_000])
def test_of_many_ticks_in_many_blocks_every_trend_is_right(symbol_count):
    random = np.random.default_rng(7)
    count = 3 * BLOCK_TICKS + 5
    symbols = random.integers(max(0, symbol_count - 50), symbol_count, count)
    ticks = list(
        zip(symbols.tolist(), (170 * DOLLAR + random.integers(0, 99, count)).tolist(), strict=True)
    )
    oracle = Oracle(20, 50)
    assert add_batch(MovingAverages(20, 50), ticks) == [oracle.add(*tick) for tick in ticks]


@pytest.mark.parametrize("as_batch", [False, True])
def test_running_sums_may_wrap_round(as_batch):
    averages, oracle = MovingAverages(2, 5), Oracle(2, 5)
    averages._rings[:] = 2**64 - 2 * DOLLAR  # as after a very long time
    ticks = [(0, DOLLAR + distance) for distance in (0, 7, 9, 4, 3, 8, 1, 7, 7, 5)]
    add_all = add_batch if as_batch else lambda of, ticks: [of.add(*tick) for tick in ticks]
    assert add_all(averages, ticks) == [oracle.add(*tick) for tick in ticks]
    assert averages._rings.min() < 2**63  # they did
    assert averages.means(0) == oracle.means(0)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 25)), max_size=20),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_after_a_price_too_high_for_words_every_trend_is_right(runs, cuts):
    short, long = 4, 30
    highest = (2**64 - 1) // long
    averages, oracle = MovingAverages(short, long), Oracle(short, long)
    ticks = []
    for number, length in runs:
        first = (0, highest + number % 4) if number % 3 else (0, MAX_PRICE - number)
        ticks += [first, *((0, highest - tick * number % 5) for tick in range(length))]
    for size in [*cuts, len(ticks)]:
        part, ticks = ticks[:size], ticks[size:]
        assert add_batch(averages, part) == [oracle.add(*tick) for tick in part]
        if ticks:
            tick, *ticks = ticks
            assert averages.add(*tick) == oracle.add(*tick)
