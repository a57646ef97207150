"""Prices: every conversion is exact, and what is no price is refused."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.prices import (
    MAX_DECIMAL_CHARACTERS,
    MAX_PRICE,
    PRICE_SCALE,
    decimal_text,
    format_price,
    json_price,
    parse_price,
    price_from_json,
    to_fixed,
    to_float,
    units_of,
)

prices = st.integers(1, MAX_PRICE)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        (b"172.53", 17_253_000_000),
        (b"1", PRICE_SCALE),
        (b"0.00000001", 1),
        (b"007.5", 750_000_000),
        (b"9000000000.00000000", MAX_PRICE),
    ],
)
def test_the_wire_form_is_read_exactly(text, price):
    assert parse_price(text) == price


@pytest.mark.parametrize(
    "text",
    [
        *b"-1 +1 nan inf 1e5 1. .5 1,5 1_0 0 0.00000000 1.123456789 12345678901".split(),
        *b"9000000000.00000001 9999999999".split(),
        *[b"", b" 1", b"1\n", b"\xff", "\N{ARABIC-INDIC DIGIT ONE}".encode(), b"1" * 5000],
    ],
)
def test_text_that_is_no_price_is_refused(text):
    with pytest.raises(ValueError, match="a price") as refusal:
        parse_price(text)
    assert len(str(refusal.value)) < 100


@pytest.mark.parametrize(
    ("price", "text"),
    [(17_300_000_000, "173.00"), (17_320_000_000, "173.20"), (1, "0.00000001")],
)
def test_people_see_two_decimals_and_more_where_the_price_has_more(price, text):
    assert format_price(price) == text


@given(prices)
def test_a_price_written_for_people_or_as_json_reads_back_as_itself(price):
    assert parse_price(format_price(price).encode()) == price
    assert parse_price(json_price(price)) == price
    assert price_from_json(json_price(price)) == price


@given(st.integers(1, 10**15), st.integers(-3, 3))
def test_a_float_next_to_a_half_is_rounded_by_its_exact_value(units, steps):
    number = (units + 0.5) / PRICE_SCALE
    for _ in range(abs(steps)):
        number = math.nextafter(number, math.copysign(math.inf, steps))
    assert to_fixed(number) == round(Fraction(number) * PRICE_SCALE)


def test_halves_go_to_the_even_neighbour_and_a_whole_number_is_exact():
    assert to_fixed(7) == 7 * PRICE_SCALE
    assert to_fixed(Decimal("0.000000015")) == 2
    assert to_fixed(Decimal("0.000000025")) == 2
    assert to_fixed(Decimal("9000000000.000000005")) == MAX_PRICE


@given(st.integers(1, 2**26 * PRICE_SCALE))
def test_prices_below_67_million_survive_the_way_through_a_float(price):
    assert to_fixed(to_float(price)) == price


@pytest.mark.parametrize(
    "number",
    [
        *[0, -0.0, -1, -1.5, math.nan, math.inf, 4e-9, 9.1e9, 10**400, -(10**400), 9 * 10**9 + 1],
        *map(Decimal, ["sNaN", "Infinity", "-1", "5e-9", "9000000000.000000006"]),
        *map(Decimal, ["1e-999999999", "1e999999999"]),
    ],
)
def test_a_number_that_is_no_price_is_refused(number):
    with pytest.raises(ValueError, match="a price"):
        to_fixed(number)


@pytest.mark.parametrize(
    ("number", "price"),
    [
        (b"173.2", 17_320_000_000),
        (b"15E+1", 150 * PRICE_SCALE),
        (b"0.1e-7", 1),
        (b"1.000000000000", PRICE_SCALE),
        (b"9e000000000000000000009", MAX_PRICE),
    ],
)
def test_a_json_number_may_have_an_exponent_and_is_read_exactly(number, price):
    assert price_from_json(number) == price


@pytest.mark.parametrize(
    "number",
    [
        *b'01 1. .5 +1 NaN Infinity "1" 0 0.0 0e9 -1 -0 1e-9 0.000000001 123.123456789'.split(),
        *b"9000000000.00000001 1e10 9.1e9".split(),
        *[b"", b"1 ", b"1\n", b"\xff", b"1e" + b"9" * 60, b"1e-" + b"9" * 60, b"1." + b"0" * 63],
    ],
)
def test_a_json_number_that_is_no_price_is_refused(number):
    with pytest.raises(ValueError, match=r"^price "):
        price_from_json(number)


@given(st.integers(0, 10**20), st.integers(-25, 15))
def test_a_json_number_is_accepted_exactly_if_its_value_is_a_price(digits, exponent):
    value = Fraction(digits) * Fraction(10) ** exponent * PRICE_SCALE
    number = b"%de%d" % (digits, exponent)
    if value.denominator == 1 and 0 < value <= MAX_PRICE:
        assert price_from_json(number) == value
    else:
        with pytest.raises(ValueError, match=r"^price "):
            price_from_json(number)


@pytest.mark.parametrize(
    ("number", "decimals", "instead"),
    [
        (0.1 + 0.2, 17, "0.3"),
        (1.1e-08, 9, "0.00000001"),
        (172.52999877929688, 14, "172.53"),  # 172.53 as a float of 32 bits
    ],
)
def test_a_price_with_too_many_decimals_is_shown_with_the_one_to_send_instead(
    number, decimals, instead
):
    text = repr(number)
    with pytest.raises(ValueError, match=r"^price ") as refusal:
        price_from_json(text.encode())
    assert str(refusal.value) == f"price {text} has {decimals} decimals, at most 8: send {instead}"
    with pytest.raises(ValueError, match=r"^price (?!.*send)"):  # it would be rounded to nothing
        price_from_json(b"1e-9")


units = st.one_of(st.integers(), st.integers(-(10**35), 10**35))


@given(units)
def test_money_as_text_is_exact_as_short_as_can_be_and_comes_back(amount):
    text = decimal_text(amount)
    assert Fraction(text) == Fraction(amount, 10**8)
    assert set(text) <= set("-0123456789.")
    assert "." not in text or text[-1] not in "0."
    assert units_of(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        *["", "-", "-0", "+1", "1.", ".5", "01", "-01", "0.10", "1.0", "1e3", "1 ", " 1", "1\n"],
        *["0.000000001", "NaN", "1,5", "1_0", "\u0663", "--1", "9" * (MAX_DECIMAL_CHARACTERS + 1)],
    ],
)
def test_a_text_that_is_no_money_is_refused(text):
    with pytest.raises(ValueError, match="not a decimal"):
        units_of(text)
