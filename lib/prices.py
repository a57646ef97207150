"""Prices as exact integers: a price is a whole number of 10⁻⁸.

Inside the stack a price is an `int` (or an int64 in an array): sums are exact, so a moving average
over a flat tape is flat and a batch gives the same signals as a tick at a time. Text and floats
appear at the edges only, and every conversion is here. Nothing in this module touches a float on
the way from text to price.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from struct import pack, unpack
from typing import Final

PRICE_DECIMALS: Final = 8
PRICE_SCALE: Final = 10**PRICE_DECIMALS
"""The number of units in a price of 1."""
MAX_PRICE: Final = 9 * 10**9 * PRICE_SCALE
"""The highest price, in units of 10⁻⁸. It fits an int64 ten times over."""

MAX_JSON_NUMBER_CHARACTERS: Final = 64
"""The longest number that is read as a price of an order; bounds the cost of the arithmetic."""

MAX_DECIMAL_CHARACTERS: Final = 64
"""The longest text that is read as an amount of money."""

_WIRE_PRICE: Final = re.compile(rb"([0-9]{1,10})(?:\.([0-9]{1,8}))?")
_JSON_NUMBER: Final = re.compile(rb"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")

# Each number has exactly one text: no redundant zeros, and no minus before a zero.
_DECIMAL: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]{0,7}[1-9]))?", re.ASCII)

_SURE_BELOW: Final = 5e6
_SURELY: Final = 0.4
"""A float below `_SURE_BELOW`, times 10⁸, is off by less than a sixteenth. If the product is nearer
than `_SURELY` to a whole number, the exact value rounds to the same one; only the others need long
arithmetic."""

_HALF_A_UNIT: Final = Decimal(1) / (2 * PRICE_SCALE)
_MOST_DECIMALS: Final = 400
"""The most decimals of a number that is rounded for a hint; every printed float has fewer."""
_MAX_FLOAT32: Final = 3.4e38
_DIGITS_OF_A_FLOAT32: Final = 9
"""The number of digits that distinguish every 32-bit float from its neighbours."""
_OUT_OF_RANGE: Final = f"must be above 0 and at most {MAX_PRICE // PRICE_SCALE}"


def parse_price(text: bytes) -> int:
    """Read the wire form: digits, optionally followed by a point and one to eight more.

    Raises ValueError if it is anything else, is zero, or is more than `MAX_PRICE`. The message is
    short and does not contain the text, which may be arbitrary.
    """
    match = _WIRE_PRICE.fullmatch(text)
    if match is None:
        raise ValueError("a price is 1 to 10 digits, and perhaps a point and 1 to 8 more")
    whole, fraction = match.groups(b"")
    return _checked(int(whole + fraction.ljust(PRICE_DECIMALS, b"0")))


def format_price(price: int) -> str:
    """Write a human-readable price: two decimals, more where the price has more (`172.50`)."""
    whole, fraction = divmod(price, PRICE_SCALE)
    return f"{whole}.{f'{fraction:08d}'.rstrip('0'):0<2}"


def to_fixed(price: float | Decimal) -> int:
    """Convert a number to a price, rounded half to even at 8 decimals.

    The exact value of the number is rounded, once; an int or a Decimal of at most 8 decimals
    comes through unchanged. Raises ValueError if it is not finite or the result is not above 0 and
    at most `MAX_PRICE`.
    """
    if type(price) is float and 0 < price < _SURE_BELOW:
        scaled = price * PRICE_SCALE
        units = round(scaled)
        if units and -_SURELY < scaled - units < _SURELY:
            return units
    if isinstance(price, Decimal) and price.is_nan():  # a Decimal NaN cannot even be compared
        raise ValueError("a price must be a number, not NaN")
    # Before the arithmetic, because 1e-999999 as a ratio has a million digits. A float NaN fails
    # every comparison; half a unit is rounded to even, which here is 0.
    if not 0 < price < 10**10 or price <= _HALF_A_UNIT:
        raise ValueError(f"a price {_OUT_OF_RANGE}, not {price!s:.40}")
    numerator, denominator = price.as_integer_ratio()
    units, remainder = divmod(numerator * PRICE_SCALE, denominator)
    if 2 * remainder > denominator or (2 * remainder == denominator and units % 2 == 1):
        units += 1
    return _checked(units)


def to_float(price: int) -> float:
    """Convert a price to the nearest float. Exact to the last decimal below 2**26, 67 million."""
    return price / PRICE_SCALE


def json_price(price: int) -> bytes:
    """Write a price as the shortest JSON number without exponent: `173.2`, `173`, `0.00000001`."""
    return decimal_text(price).encode()


def decimal_text(units: int) -> str:
    """Write units of 1e-8 as the shortest exact decimal: `-12.5`, `0`, `0.00000001`, `173.2`."""
    sign = "-" if units < 0 else ""
    whole, fraction = divmod(abs(units), PRICE_SCALE)
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{f'{fraction:08d}'.rstrip('0')}"


def units_of(text: str) -> int:
    """Read what `decimal_text` writes. Raises ValueError for any other text."""
    match = _DECIMAL.fullmatch(text) if len(text) <= MAX_DECIMAL_CHARACTERS else None
    if match is None or text == "-0":
        raise ValueError("not a decimal as the ledger writes it: 173.2, or -12.5")
    sign, whole, fraction = match.groups("")
    return int(sign + whole + fraction.ljust(PRICE_DECIMALS, "0"))


def price_from_json(number: bytes) -> int:
    """Read a raw JSON number, exactly.

    Its value counts, not its form: `1.5e2` is 150, and trailing zeros are no decimals. Raises
    ValueError if it is no JSON number, has more than MAX_JSON_NUMBER_CHARACTERS, is not positive,
    is more than `MAX_PRICE`, or has more than 8 decimals; the message shows the number, and what to
    send instead of one with too many decimals.
    """
    if len(number) > MAX_JSON_NUMBER_CHARACTERS:
        raise ValueError(
            f"price has at most {MAX_JSON_NUMBER_CHARACTERS} characters, got {len(number)}"
        )
    return _price_from_short_json(number)


# An order keeps its price as the text received, and its price is read several times.
@lru_cache(maxsize=4096)
def _price_from_short_json(number: bytes) -> int:
    match = _JSON_NUMBER.fullmatch(number)
    if match is None:
        raise ValueError("price is a JSON number")
    sign, whole, fraction, exponent = match.groups(b"")
    digits = (whole + fraction).lstrip(b"0")
    significant = digits.rstrip(b"0")
    if sign or not significant:
        raise ValueError(_impossible(number))
    # The value is `significant` times ten to the power of `shift` units. The exponent may be very
    # long, so sizes are compared before any power is computed.
    trailing_zeros = len(digits) - len(significant)
    shift = int(exponent or b"0") - len(fraction) + PRICE_DECIMALS + trailing_zeros
    if len(significant) + shift > len(str(MAX_PRICE)):
        raise ValueError(_impossible(number))
    if shift < 0:
        raise ValueError(_too_many_decimals(number, PRICE_DECIMALS - shift))
    price: int = int(significant) * 10**shift
    if price > MAX_PRICE:
        raise ValueError(_impossible(number))
    return price


def _impossible(number: bytes) -> str:
    return f"price is above 0 and at most {MAX_PRICE // PRICE_SCALE}, got {number.decode()}"


def _too_many_decimals(number: bytes, decimals: int) -> str:
    """Return the error for a positive JSON number, with what to send instead."""
    text = number.decode()
    many = f"{decimals}" if decimals <= _MOST_DECIMALS else f"more than {_MOST_DECIMALS}"
    says = f"price {text} has {many} decimals, at most {PRICE_DECIMALS}"
    if decimals > _MOST_DECIMALS:
        return says
    try:
        return f"{says}: send {decimal_text(to_fixed(_meant(Decimal(text))))}"
    except ValueError:
        return f"{says}: the smallest price is {decimal_text(1)}"


def _meant(number: Decimal) -> Decimal:
    """Return the shortest decimal of a number that is exactly a 32-bit float; else the number.

    172.53 in 32 bits is 172.52999877929688, which rounding to 8 decimals does not restore.
    """
    as_float = float(number)
    if as_float > _MAX_FLOAT32 or unpack("f", pack("f", as_float))[0] != as_float:
        return number
    for digits in range(1, _DIGITS_OF_A_FLOAT32 + 1):
        shortest = Decimal(f"{as_float:.{digits}g}")
        if pack("f", float(shortest)) == pack("f", as_float):
            return shortest
    return number


def _checked(price: int) -> int:
    if not 0 < price <= MAX_PRICE:
        raise ValueError(f"a price {_OUT_OF_RANGE}")
    return price
