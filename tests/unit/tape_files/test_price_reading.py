"""Floats of a file become the prices that their shortest decimals say."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.tape_files.arrow_stream import Numbers
from lib.tape_files.price_reading import (
    NO_VALUE,
    NOT_POSITIVE,
    TOO_LARGE,
    TOO_SMALL,
    RowPrices,
    middle_of,
    units_of_floats,
)


def units(values, dtype):
    column = Numbers(np.ones(len(values), dtype=np.bool_), np.array(values, dtype=dtype))
    return units_of_floats(column).units.tolist()


def exact(value):
    """Return the units of a number as numpy prints it, or why it is no price."""
    price = Decimal(str(value)) * PRICE_SCALE
    if not price.is_finite():
        return NO_VALUE
    if price <= 0:
        return NOT_POSITIVE
    if price > MAX_PRICE:
        return TOO_LARGE
    return int(price.to_integral_value(ROUND_HALF_EVEN)) or TOO_SMALL


@pytest.mark.parametrize(("dtype", "width"), [(np.float64, 64), (np.float32, 32)])
def test_floats_are_read_as_their_shortest_decimal(dtype, width):
    @given(st.lists(st.floats(width=width) | st.floats(0, 2**20, width=width), min_size=1))
    def check(values):
        typed = np.array(values, dtype=dtype)
        assert units(values, dtype) == [exact(value) for value in typed]

    check()


@given(st.lists(st.decimals(Decimal("1e-8"), 10**6, places=8).map(float), min_size=1))
def test_doubles_of_at_most_eight_decimals_are_exact(values):
    assert units(values, np.float64) == [int(Decimal(repr(v)) * PRICE_SCALE) for v in values]


@given(st.lists(st.integers(1, 10**13).map(lambda n: (10 * n + 5) / 10**9), min_size=1))
def test_doubles_near_the_middle_of_two_units_are_rounded_as_their_decimals(values):
    assert units(values, np.float64) == [exact(value) for value in values]


@given(st.integers(1, MAX_PRICE), st.integers(1, MAX_PRICE))
def test_the_middle_is_rounded_half_to_even(bid, ask):
    sides = [RowPrices(np.array([side]), np.zeros(1), True) for side in (bid, ask)]
    middle = middle_of(*sides)
    expected = int((Decimal(bid + ask) / 2).to_integral_value(ROUND_HALF_EVEN))
    assert middle.units.tolist() == [expected]
    assert Decimal(middle.rest[0]) == Decimal(bid + ask) / 2 - expected
