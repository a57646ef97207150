"""Latest prices, signals and courses are those of the ticks that were seen."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np

from lib.dashboard.prices import COURSE_POINTS, MAX_COURSES, Prices
from lib.prices import PRICE_SCALE

SYMBOLS = ("AAPL", "MSFT")


def take(prices: Prices, *ticks: tuple[int, float]) -> None:
    symbols, dollars = zip(*ticks, strict=True)
    prices.take(
        np.array(symbols, np.int32), np.array([round(d * PRICE_SCALE) for d in dollars], np.int64)
    )


def test_the_latest_price_and_the_change_since_the_first():
    prices = Prices(SYMBOLS, 2, 3)
    take(prices, (0, 100.0), (0, 101.0))
    take(prices, (0, 103.0))
    assert (prices.latest("AAPL"), prices.change("AAPL")) == (103.0, 0.03)
    prices.sample(1.0)
    # Before its first tick a symbol has nothing.
    assert (prices.latest("MSFT"), prices.change("MSFT"), prices.trend("MSFT")) == (None, None, 0)
    assert prices.course("MSFT").at == []
    assert prices.course("NVDA") is None


def test_the_course_has_averages_once_their_windows_are_full():
    prices = Prices(SYMBOLS, 2, 3)
    for second, price in enumerate((100.0, 102.0, 107.0)):
        take(prices, (0, price))
        prices.sample(float(second))
    course = prices.course("AAPL")
    assert course.at == [0.0, 1.0, 2.0]
    assert course.price == [100.0, 102.0, 107.0]
    assert course.short_mean == [None, 101.0, 104.5]
    assert course.long_mean == [None, None, 103.0]
    assert prices.trend("AAPL") == 1


def test_after_ticks_that_were_not_seen_the_windows_restart_and_prices_stay():
    prices = Prices(SYMBOLS, 1, 2)
    take(prices, (0, 100.0), (0, 101.0))
    assert prices.trend("AAPL") == 1
    prices.miss_ticks()
    assert (prices.trend("AAPL"), prices.latest("AAPL")) == (0, 101.0)
    take(prices, (0, 99.0))
    assert prices.trend("AAPL") == 0
    take(prices, (0, 98.0))
    assert prices.trend("AAPL") == -1


def test_averages_over_what_came_after_a_gap_are_those_of_a_beginner():
    dollars = np.random.default_rng(7).integers(90, 110, 40).astype(float).tolist()
    old, new = Prices(SYMBOLS, 3, 8), Prices(SYMBOLS, 3, 8)
    take(old, *[(number % 2, 100.0 + number) for number in range(21)])
    old.miss_ticks()
    for number, price in enumerate(dollars):
        for prices in (old, new):
            take(prices, (number % 2, price))
            prices.sample(float(number))
        assert [old.trend(one) for one in SYMBOLS] == [new.trend(one) for one in SYMBOLS]
    for symbol in SYMBOLS:
        course, expected = old.course(symbol), new.course(symbol)
        # The old one has a point of its earlier price more.
        since = -len(expected.at)
        assert course.short_mean[since:] == expected.short_mean
        assert course.long_mean[since:] == expected.long_mean
        assert None not in course.long_mean[-10:]


def test_memory_is_flat_however_often_ticks_are_missed():
    long_window = 50_000
    prices = Prices(SYMBOLS, 10, long_window)
    gc.disable()  # what is in a cycle shows
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(2):
            for _ in range(10):
                prices.miss_ticks()
                take(prices, *[(0, 100.0)] * 10)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.enable()
    assert sizes[1] - sizes[0] < 8 * long_window  # less than the window of one symbol


def test_another_tape_has_a_first_price_of_its_own():
    prices = Prices(SYMBOLS, 1, 2)
    take(prices, (0, 100.0))
    prices.sample(1.0)
    prices.begin_tape()
    assert prices.latest("AAPL") is None
    take(prices, (0, 50.0), (0, 51.0))
    assert prices.change("AAPL") == 0.02
    assert prices.course("AAPL").at == []


def test_a_course_is_bounded_and_so_is_their_number():
    symbols = tuple(f"S{number}" for number in range(MAX_COURSES + 2))
    prices = Prices(symbols, 1, 2)
    take(prices, (0, 1.0), (MAX_COURSES + 1, 2.0))
    for second in range(COURSE_POINTS + 7):
        prices.sample(float(second))
    assert prices.course("S0").at[0] == 7.0
    assert len(prices.course("S0").at) == COURSE_POINTS
    last = symbols[-1]
    assert prices.course(last).at == []  # kept from now on …
    prices.sample(1000.0)
    assert prices.course(last).price == [2.0]
    assert len(prices._courses) == MAX_COURSES
    assert prices.course("S1").at == []  # … in the place of the one that was asked for longest ago
