"""Signals: the rule itself, and arrays that say exactly what single ticks say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.settings import StrategySettings
from lib.signals import BatchSignal, ExplainedSignal, MovingAverageAndNews

SYMBOLS = ("AAPL", "MSFT", "BRK-B")
GOOD, BAD = 61, 39


def make(short: int = 2, long: int = 3) -> MovingAverageAndNews:
    return MovingAverageAndNews(StrategySettings(short_window=short, long_window=long))


def say(signal: MovingAverageAndNews, prices: list[int], sentiment: int | None = GOOD) -> list:
    return [signal.on_tick("AAPL", price, sentiment) for price in prices]


# The rule.


def test_a_rising_price_and_good_news_say_buy():
    assert say(make(), [1, 2, 3], GOOD) == [None, None, "BUY"]


def test_a_falling_price_and_bad_news_say_sell():
    assert say(make(), [3, 2, 1], BAD) == [None, None, "SELL"]


def test_price_and_news_that_disagree_say_nothing():
    assert say(make(), [1, 2, 3], BAD) == [None] * 3
    assert say(make(), [3, 2, 1], GOOD) == [None] * 3


def test_nothing_is_said_before_the_long_window_is_full():
    assert say(make(2, 50), list(range(1, 52))) == [None] * 49 + ["BUY"] * 2


@pytest.mark.parametrize(
    ("sentiment", "rising", "falling"),
    [
        (None, None, None),
        *((sentiment, None, "SELL") for sentiment in (0, 39)),
        *((sentiment, None, None) for sentiment in (40, 50, 60)),
        *((sentiment, "BUY", None) for sentiment in (61, 100)),
    ],
)
def test_the_thresholds_are_strict(sentiment, rising, falling):
    assert say(make(), [1, 2, 3], sentiment)[-1] == rising
    assert say(make(), [3, 2, 1], sentiment)[-1] == falling


@pytest.mark.parametrize("price", [1, 10_00000001, 173_53000000, MAX_PRICE])
@pytest.mark.parametrize("sentiment", [GOOD, BAD])
def test_a_flat_tape_is_flat(price, sentiment):
    signal = make(7, 30)
    assert say(signal, [price] * 100, sentiment) == [None] * 100
    assert (
        signal.on_batch(np.zeros(100, np.int32), np.full(100, price), sentiment, SYMBOLS).tolist()
        == [0] * 100
    )


def test_equal_averages_of_different_prices_say_nothing():
    # Means of (1, 3) and (2, 1, 3) are both 2.
    for sentiment in (GOOD, BAD):
        assert say(make(), [2, 1, 3], sentiment)[-1] is None


def test_the_smallest_difference_at_the_highest_price_counts():
    prices = [MAX_PRICE - 1] + [MAX_PRICE] * 2
    assert say(make(), prices, GOOD)[-1] == "BUY"
    assert say(make(), prices[::-1], BAD)[-1] == "SELL"


def test_each_symbol_has_windows_of_its_own():
    signal = make()
    said = []
    for rising, falling in ((1, 9), (2, 8), (3, 7)):
        said.append(signal.on_tick("AAPL", rising, GOOD))
        said.append(signal.on_tick("MSFT", falling, GOOD))
    assert said == [None] * 4 + ["BUY", None]


def test_the_explanation_is_the_two_averages_as_prices():
    signal = make()
    say(signal, [PRICE_SCALE * price for price in (1, 2, 4)])
    assert signal.explain("AAPL") == {"short_mean": 3.0, "long_mean": pytest.approx(7 / 3)}


def rule(prices: list[int], short: int, long: int, sentiment: int | None) -> str | None:
    """The trading rules' signal after the last of `prices`, by fractions."""
    if len(prices) < long or sentiment is None:
        return None
    short_mean = Fraction(sum(prices[-short:]), short)
    long_mean = Fraction(sum(prices[-long:]), long)
    if short_mean > long_mean and sentiment > 60:
        return "BUY"
    return "SELL" if short_mean < long_mean and sentiment < 40 else None


@given(
    st.lists(st.integers(1, 5) | st.integers(MAX_PRICE - 3, MAX_PRICE), max_size=40),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([None, 0, 39, 40, 60, 61, 100]),
)
def test_each_tick_gets_what_the_rule_says(prices, short, more, sentiment):
    signal = make(short, short + more)
    said = say(signal, prices, sentiment)
    expected = [rule(prices[:n], short, short + more, sentiment) for n in range(1, len(prices) + 1)]
    assert said == expected


# Arrays.


def random_prices(random: np.random.Generator, kind: str, count: int, window: int) -> np.ndarray:
    """Prices of every size and spread: to where a window's sum does not fit a word, and beyond."""
    if kind == "flat":
        return np.full(count, random.integers(1, MAX_PRICE), np.int64)
    steps = random.integers(-2, 3, count).cumsum()
    if kind == "walk":
        return np.asarray(17_000_000_000 + 1_000_000 * steps, np.int64)
    if kind == "highest":
        return MAX_PRICE - random.integers(0, 3, count)
    if kind == "border":
        spread = min(MAX_PRICE, 2**64 // window + int(random.integers(-1, 2)))
        return random.choice([1, spread, spread + 1], count).clip(1, MAX_PRICE)
    if kind == "far":
        return random.integers(1, min(MAX_PRICE, 2**66 // window), count)
    return random.integers(1, MAX_PRICE, count)


KINDS = ["flat", "walk", "highest", "border", "far", "any"]


@given(
    seed=st.integers(0, 2**32),
    kinds=st.tuples(*[st.sampled_from(KINDS)] * 3),
    windows=st.sampled_from([(1, 2), (2, 3), (5, 17), (20, 50), (3, 200)]),
    cuts=st.lists(st.integers(0, 150), min_size=1, max_size=6),
    sentiments=st.lists(st.sampled_from([None, GOOD, BAD, 50]), min_size=6, max_size=6),
)
@hypothesis_settings(max_examples=150)
def test_a_batch_says_exactly_what_single_ticks_say(seed, kinds, windows, cuts, sentiments):
    random = np.random.default_rng(seed)
    short, long = windows
    count = sum(cuts)
    symbols = random.integers(0, 3, count, dtype=np.int32)
    prices = np.zeros(count, np.int64)
    for index, kind in enumerate(kinds):
        mine = symbols == index
        prices[mine] = random_prices(random, kind, int(mine.sum()), long)
    single, batched = make(short, long), make(short, long)
    begin = 0
    for size, sentiment in zip(cuts, sentiments, strict=False):
        here = slice(begin, begin + size)
        begin += size
        numbers = batched.on_batch(symbols[here], prices[here], sentiment, SYMBOLS).tolist()
        for tick, (symbol, price) in enumerate(
            zip(symbols[here].tolist(), prices[here].tolist(), strict=True)
        ):
            said = single.on_tick(SYMBOLS[symbol], price, sentiment)
            assert {1: "BUY", -1: "SELL", 0: None}[numbers[tick]] == said
            assert batched.explain_batch(tick) == single.explain(SYMBOLS[symbol])


def test_the_signal_of_the_house_can_do_everything_that_is_optional():
    assert isinstance(make(), BatchSignal)
    assert isinstance(make(), ExplainedSignal)
