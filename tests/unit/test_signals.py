"""Signals: the rule itself, and arrays that say exactly what single ticks say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.prices import PRICE_SCALE
from lib.settings import StrategySettings
from lib.signals import MovingAverageAndNews

SYMBOLS = ("AAPL", "MSFT", "BRK-B")
GOOD, BAD = 61, 39


def make(short: int = 2, long: int = 3) -> MovingAverageAndNews:
    return MovingAverageAndNews(StrategySettings(short_window=short, long_window=long))


def say(signal: MovingAverageAndNews, prices: list[int], sentiment: int | None = GOOD) -> list:
    return [signal.on_tick("AAPL", price, sentiment) for price in prices]


# The rule.


@pytest.mark.parametrize(
    ("sentiment", "rising", "falling"),
    [
        (None, None, None),
        *((sentiment, None, "SELL") for sentiment in (0, 39)),
        *((sentiment, None, None) for sentiment in (40, 50, 60)),
        *((sentiment, "BUY", None) for sentiment in (61, 100)),
    ],
)
def test_price_and_news_must_agree_and_thresholds_are_strict(sentiment, rising, falling):
    assert say(make(), [1, 2, 3], sentiment) == [None, None, rising]
    assert say(make(), [3, 2, 1], sentiment) == [None, None, falling]


def test_the_explanation_is_the_two_averages_as_prices():
    signal = make()
    say(signal, [PRICE_SCALE * price for price in (1, 2, 4)])
    assert signal.explain("AAPL") == {"short_mean": 3.0, "long_mean": pytest.approx(7 / 3)}


# Arrays.


@given(
    ticks=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=150),
    cuts=st.lists(st.integers(0, 150), min_size=1, max_size=6),
    sentiments=st.lists(st.sampled_from([None, GOOD, BAD, 50]), min_size=6, max_size=6),
)
def test_a_batch_says_exactly_what_single_ticks_say(ticks, cuts, sentiments):
    single, batched = make(), make()
    for size, sentiment in zip(cuts, sentiments, strict=False):
        here, ticks = ticks[:size], ticks[size:]
        symbols, prices = np.array(here or np.empty((0, 2)), np.int64).T
        numbers = batched.on_batch(symbols.astype(np.int32), prices, sentiment, SYMBOLS).tolist()
        for number, (symbol, price) in enumerate(here):
            said = single.on_tick(SYMBOLS[symbol], price, sentiment)
            assert {1: "BUY", -1: "SELL", 0: None}[numbers[number]] == said
            assert batched.explain_batch(number) == single.explain(SYMBOLS[symbol])
