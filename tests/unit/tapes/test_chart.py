"""The course of prices along a tape, and the chart of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.tapes import chart
from lib.tapes.chart import ASCII, BLOCKS, NO_PRICE, Course, draw, survey
from tests.array_tapes import ArrayTape


def course(*ranges: tuple[float, float]) -> Course:
    """A course from the lowest to the highest price of each column."""
    units = np.array([[round(one * PRICE_SCALE) for one in pair] for pair in ranges])
    return Course(units[:, 0], units[:, 1])


def test_a_column_spans_the_lowest_and_the_highest_price_of_its_stretch_of_the_tape():
    seen = survey(ArrayTape([0] * 6, [5, 9, 7, 2, 3, 4]), 1, [0], columns=2)
    low, high = seen.courses[0]
    assert (low // PRICE_SCALE).tolist() == [5, 2]
    assert (high // PRICE_SCALE).tolist() == [9, 4]
    assert (int(seen.lowest[0]), int(seen.highest[0])) == (2 * PRICE_SCALE, 9 * PRICE_SCALE)


def test_a_symbol_has_its_last_price_where_others_tick_and_none_before_its_first_tick():
    seen = survey(ArrayTape([1, 0, 1, 1], [3, 10, 4, 5]), 2, [0, 1], columns=4)
    assert (seen.courses[0].high // PRICE_SCALE).tolist() == [-1, 10, 10, 10]
    assert (seen.courses[1].high // PRICE_SCALE).tolist() == [3, 3, 4, 5]


def test_a_short_tape_has_a_column_a_tick():
    seen = survey(ArrayTape([0, 0, 0], [1, 2, 3]), 1, [0], columns=80)
    assert (seen.courses[0].high // PRICE_SCALE).tolist() == [1, 2, 3]


def test_a_long_tape_is_read_in_bounded_pieces_and_each_tick_once(monkeypatch):
    monkeypatch.setattr(chart, "READ_TICKS", 7)
    tape = ArrayTape([0] * 100, range(1, 101))
    seen = survey(tape, 1, [0], columns=3)
    assert max(tape.reads) == 7
    assert sum(tape.reads) == 100
    assert (seen.courses[0].low // PRICE_SCALE).tolist() == [1, 34, 67]
    assert (seen.courses[0].high // PRICE_SCALE).tolist() == [33, 66, 100]


@given(st.data())
def test_the_extremes_are_those_of_all_ticks_whatever_the_columns(data):
    ticks = data.draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), min_size=1, max_size=60)
    )
    symbols, prices = zip(*ticks, strict=True)
    seen = survey(ArrayTape(symbols, prices), 3, [0, 1, 2], data.draw(st.integers(1, 80)))
    for index in set(symbols):
        own = [price * PRICE_SCALE for symbol, price in ticks if symbol == index]
        low, high = seen.courses[index]
        assert int(seen.lowest[index]) == min(own) == min(low[high != NO_PRICE])
        assert int(seen.highest[index]) == max(own) == max(high)


def test_a_rising_price_rises_by_eighths():
    assert draw(course(*((price, price) for price in range(1, 17))), 2, BLOCKS) == [
        "        ▁▂▃▄▅▆▇█",
        "▁▂▃▄▅▆▇█",
    ]


def test_a_rising_price_rises_by_thirds_in_ascii():
    assert draw(course(*((price, price) for price in range(1, 7))), 2, ASCII) == ["   .:#", ".:#"]


def test_a_column_is_filled_from_its_lowest_to_its_highest_price():
    assert draw(course((1, 1), (1, 6), (6, 6)), 2, ASCII) == [" ##", ".#"]


def test_one_impossible_price_among_a_million_is_seen():
    seen = survey(
        ArrayTape([0] * 1_000_000, [1002.0] * 777_777 + [1.0] + [1002.0] * 222_222), 1, [0], 80
    )
    low = draw(seen.courses[0], 8, BLOCKS)[-1]
    assert (len(low), low.strip()) == (63, "█")


def test_nothing_is_drawn_before_the_first_tick():
    low, high = course((0, 0), (5, 5), (6, 6))
    low[0] = high[0] = NO_PRICE
    assert draw(Course(low, high), 1, ASCII) == [" .#"]


def test_a_sentiment_of_0_is_drawn():
    assert draw(course((0, 0), (100, 100)), 1, ASCII) == [".#"]


@pytest.mark.parametrize("glyphs", [ASCII, BLOCKS])
def test_a_flat_price_is_a_line(glyphs):
    assert draw(course((5, 5), (5, 5)), 3, glyphs) == ["", "", glyphs[1] * 2]


@given(st.lists(st.integers(1, MAX_PRICE), min_size=1), st.integers(1, 10))
def test_the_lowest_price_is_at_the_bottom_and_the_highest_at_the_top(prices, rows):
    units = np.array(prices)
    lines = draw(Course(units, units), rows, BLOCKS)
    lowest, highest = min(prices), max(prices)
    columns = [[line.ljust(len(prices))[number] for line in lines] for number in range(len(prices))]
    for price, column in zip(prices, columns, strict=True):
        assert "".join(column).strip()
        if price == lowest:
            assert column[-1] == "▁"
        elif price == highest:
            assert column[0] == "█"
