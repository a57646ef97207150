"""How the numbers of a column are written: decided over the column, never row by row.

The same patterns serve Python and DuckDB (RE2). What decides is how many cells have which shape, so
that for millions of rows it is one aggregate query: `shape_sql`, `currency_sql`, a count of each
pair, `find_number_format`, `number_sql`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from lib.tape_files.sql import quoted_text

MAX_ODD_SHARE: Final = 0.01
"""The largest share of numbers that may be written otherwise: those are bad cells, and skipped."""
MAX_NUMBER_CHARACTERS: Final = 64
"""A longer cell is no number."""
MISSING: Final = (
    *("", "null", "nan", "none", "nil", "n/a", "na", "n/d", "#n/a", "#n/a n/a", "#value!", "#ref!"),
    *("-", "--", ".", "?", "\u2013", "\u2014", "<na>", "(null)", "\\n"),
)
"""Cells that hold no value, in lower case."""

_SPACES: Final = " \u00a0\u202f\u2009"  # the usual one, two that do not break, a thin one
_THOUSANDS: Final = (",", ".", "'", "\u2019", *_SPACES)
_BLANK: Final = f"\t{_SPACES}"
_SYMBOLS: Final = (
    *("US$", "AU$", "CA$", "HK$", "NZ$", "NT$", "MX$", "A$", "C$", "S$", "R$"),
    *"$€£¥₹₽₩₺₿₫฿₪₴₦₱",
    *("zł", "Kč", "Ft", "kr.", "kr", "Fr.", "Rs.", "Rs", "TL"),
    *("USDT", "USDC", "USD", "EUR", "GBP", "GBX", "CHF", "JPY", "CNY", "HKD", "AUD", "CAD", "NZD"),
    *("SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "INR", "KRW", "TRY", "BRL", "MXN", "ZAR", "SGD"),
    *("RUB", "ILS", "THB", "TWD", "IDR", "MYR", "PHP", "VND", "BTC", "ETH"),
)
"""Of currencies, before or after a number; a longer one before what it begins with."""
ANY_CURRENCY: Final = "|".join(map(re.escape, _SYMBOLS))
_MINUS: Final = "\u2212"
_SIGN: Final = f"[+\\-{_MINUS}]?"
_EXPONENT: Final = "(?:[eE][+\\-]?[0-9]{1,3})?"
_GROUPS: Final = {
    sign: f"[1-9][0-9]{{0,2}}(?:{re.escape(sign)}[0-9]{{3}})+" for sign in _THOUSANDS
} | {",": "(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})"}
"""Groups of three digits; with commas also those of India: 12,34,567."""

_SUFFIXES: Final = f"KMBTkmbt%{_BLANK}"
"""Of shares and amounts: numbers, but no prices."""

ShapeCounts = Mapping[tuple[str, str], int]
MISSING_SHAPE: Final = "missing"
OTHER_SHAPE: Final = "other"


class NumberFormat(NamedTuple):
    """How the numbers of a column are written."""

    decimal: str = "."
    """``.`` or ``,``."""
    thousands: str = ""
    """What separates groups of digits; "" for nothing."""
    currency: str = ""
    """What may stand before or after a number; "" for nothing."""


PLAIN: Final = NumberFormat()
"""As Python writes numbers. The format of a column if each cell fits it that is not missing."""


class _Shape(NamedTuple):
    """A way to write a number, and what it says of its format."""

    name: str
    pattern: str
    """Of the digits, without sign and currency."""
    thousands: str = ""
    """What separates its groups for certain."""
    decimal: str = ""
    """What its decimal sign is for certain."""


_POINT_3, _COMMA_3, _WHOLE = "1.234", "1,234", "12"
_GROUP_OF_THREE: Final = {".": _POINT_3, ",": _COMMA_3}
_PLAIN_DECIMALS: Final = {".": "1.5", ",": "1,5"}
_OTHER_SIGN: Final = {".": ",", ",": "."}
_SHAPES: Final = (  # the first that fits is the shape of a cell
    _Shape(_POINT_3, "[1-9][0-9]{0,2}[.][0-9]{3}"),
    _Shape("1.5", f"(?:[0-9]+[.][0-9]*|[.][0-9]+){_EXPONENT}", decimal="."),
    _Shape(_WHOLE, f"[0-9]+{_EXPONENT}"),
    _Shape(_COMMA_3, "[1-9][0-9]{0,2},[0-9]{3}"),
    _Shape("1,5", f"(?:[0-9]+,[0-9]*|,[0-9]+){_EXPONENT}", decimal=","),
    *(
        _Shape(f"1{sign}234{decimal}5", f"{groups}{re.escape(decimal)}[0-9]*", sign, decimal)
        for sign, groups in _GROUPS.items()
        for decimal in (".", ",")
        if decimal != sign
    ),
    *(_Shape(f"1{sign}234{sign}567", groups, sign) for sign, groups in _GROUPS.items()),
)


def _whole_cell(digits: str, currency: str) -> str:
    before = f"(?:(?:{currency})[{_BLANK}]*)?" if currency else ""
    after = f"(?:[{_BLANK}]*(?:{currency}))?" if currency else ""
    sign = f"(?:{_SIGN}{before}|{before}{_SIGN})" if currency else _SIGN
    return f"[{_BLANK}]*{sign}(?:{digits}){after}[{_BLANK}]*"


_SHAPE_PATTERNS: Final = {shape.name: _whole_cell(shape.pattern, ANY_CURRENCY) for shape in _SHAPES}
_QUICK_SHAPE: Final = ("1.5", "[0-9]+[.](?:[0-9]{1,2}|[0-9]{4,})")
_QUICK: Final = {".": "[0-9]+(?:[.][0-9]*)?", ",": "[0-9]+"}
"""What most cells match, by decimal sign: to look for it first makes the queries twice as fast."""
_NUMBER_LIKE: Final = re.compile(
    f"(?=.*[0-9])(?:{_whole_cell('|'.join(shape.pattern for shape in _SHAPES), ANY_CURRENCY)})"
    f"[{_SUFFIXES}]*"
)
_COMPILED_SHAPES: Final = {name: re.compile(pattern) for name, pattern in _SHAPE_PATTERNS.items()}
_FIND_CURRENCY: Final = re.compile(ANY_CURRENCY)


# --- deciding -------------------------------------------------------------------------------------


def is_missing(cell: str) -> bool:
    """Whether a cell holds no value, which says nothing about the column."""
    return cell.strip().lower() in MISSING


def is_number_like(cell: str) -> bool:
    """Whether a cell is a number in any format, a share (0.39%) or an amount (1,5M)."""
    return len(cell) <= MAX_NUMBER_CHARACTERS and bool(_NUMBER_LIKE.fullmatch(cell))


def count_shapes(cells: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return how many cells have which shape and currency; the same as the query counts."""
    return Counter((_shape_of(cell), _currency_of(cell)) for cell in cells)


def find_number_format(counts: ShapeCounts, decimal_elsewhere: str = "") -> NumberFormat:
    """Return how a column is written, from how many of its cells have which (shape, currency).

    `decimal_elsewhere` is what `common_decimal` says of the other columns: it decides where the
    column itself does not. Raises ValueError (the reason, with what to do) if there is no number,
    if a number can be read in two ways, or if more than MAX_ODD_SHARE are written otherwise.
    """
    shapes: Counter[str] = Counter()
    currencies: Counter[str] = Counter()
    for (name, currency), count in counts.items():
        if name not in (MISSING_SHAPE, OTHER_SHAPE):
            shapes[name] += count
            currencies[currency] += count
    numbers = shapes.total()
    if not numbers:
        raise ValueError("has no numbers")
    decimal = _decimal_sign(shapes, decimal_elsewhere)
    thousands = _thousands_sign(shapes, decimal)
    fitting = sum(count for name, count in shapes.items() if _fits(name, decimal, thousands))
    if numbers - fitting > MAX_ODD_SHARE * numbers:
        found = ", ".join(f"{count} like {name}" for name, count in shapes.most_common(4))
        raise ValueError(f"mixes ways to write numbers ({found}): write them all in one way")
    del currencies[""]
    currency = max(currencies, key=lambda name: currencies[name], default="")
    others = currencies.total() - currencies[currency]
    if others > MAX_ODD_SHARE * numbers:
        raise ValueError(f"mixes currencies ({', '.join(sorted(currencies))}): play one at a time")
    return NumberFormat(decimal, thousands, currency)


def shows_decimal(counts: ShapeCounts) -> bool:
    """Whether one of the numbers can be read with one decimal sign only."""
    found = {name for name, _ in counts}
    signs = (s.name for s in _SHAPES if s.decimal or s.thousands in _OTHER_SIGN)
    return not found.isdisjoint(signs)


def common_decimal(columns: Iterable[Sequence[str]]) -> str:
    """Return the decimal sign of the columns in which most cells show it; "" if they differ.

    A share (0.39%) and an amount (1,5M) show it as well.
    """
    found = set()
    for cells in columns:
        shapes = Counter(_shape_of(cell.strip().rstrip(_SUFFIXES)) for cell in cells)
        certain = {sign: _proofs(shapes, sign) + shapes[_PLAIN_DECIMALS[sign]] for sign in ".,"}
        found |= {sign for sign, count in certain.items() if 2 * count > len(cells)}
    return found.pop() if len(found) == 1 else ""


def _proofs(shapes: Counter[str], decimal: str) -> int:
    """Return how many numbers have groups and so can only be written with this decimal sign."""
    other = _OTHER_SIGN[decimal]
    with_both = sum(
        shapes[shape.name] for shape in _SHAPES if shape.thousands and shape.decimal == decimal
    )
    return with_both + shapes[f"1{other}234{other}567"]


def _decimal_sign(shapes: Counter[str], elsewhere: str) -> str:
    """Return what the decimal sign is. Raises ValueError if a number can be read in two ways."""
    proofs = {sign: _proofs(shapes, sign) for sign in ".,"}
    certain = {sign: proofs[sign] + shapes[_PLAIN_DECIMALS[sign]] for sign in ".,"}
    decimal = max(certain, key=lambda sign: certain[sign])
    unsure = shapes[_COMMA_3] if decimal == "." else shapes[_COMMA_3] + shapes[_POINT_3]
    if certain[decimal] <= MAX_ODD_SHARE * unsure:  # a few bad cells decide nothing
        if elsewhere and (shapes[_COMMA_3] or shapes[_POINT_3]):
            return elsewhere
        if shapes[_COMMA_3] or shapes[_WHOLE] > MAX_ODD_SHARE * shapes[_POINT_3] > 0:
            raise ValueError(_ambiguous(shapes))
        return "."  # 1.234 in all cells: as Python and most programs write it
    # 144.123 beside a few 144,12: is that one a mistake, or does the point group?
    grouped = shapes[_GROUP_OF_THREE[_OTHER_SIGN[decimal]]]
    if (
        proofs[decimal] <= MAX_ODD_SHARE * grouped
        and certain[decimal] < grouped != 0
        and decimal != elsewhere
    ):
        raise ValueError(_ambiguous(shapes))
    return decimal


def _thousands_sign(shapes: Counter[str], decimal: str) -> str:
    """Return what groups digits: for certain in one number, or else in more than a few."""
    certain: Counter[str] = Counter()
    likely: Counter[str] = Counter()
    for shape in _SHAPES:
        if shape.thousands and shape.thousands != decimal:
            likely[shape.thousands] += shapes[shape.name]
            certain[shape.thousands] += shapes[shape.name] if shape.decimal == decimal else 0
    likely[_OTHER_SIGN[decimal]] += shapes[_GROUP_OF_THREE[_OTHER_SIGN[decimal]]]
    if certain.total():
        return certain.most_common(1)[0][0]
    sign, count = likely.most_common(1)[0]
    return sign if count > MAX_ODD_SHARE * shapes.total() else ""


def _fits(name: str, decimal: str, thousands: str) -> bool:
    """Whether a number of this shape is one in the format."""
    if name in (_POINT_3, _COMMA_3):
        return name[1] in (decimal, thousands)
    shape = next(shape for shape in _SHAPES if shape.name == name)
    return shape.decimal in ("", decimal) and shape.thousands in ("", thousands)


def _ambiguous(shapes: Counter[str]) -> str:
    shape = max((_COMMA_3, _POINT_3), key=lambda name: shapes[name])
    how = f"replace(…, '{shape[1]}', '') for 1234"
    if shape == _COMMA_3:
        how += ", replace(…, ',', '.') for 1.234"
    return (
        f"has numbers like {shape} ({shapes[shape]:,}), which can be 1234 or 1.234: say which in a "
        f"query, with {how}"
    )


# --- reading --------------------------------------------------------------------------------------


def number_sql(number_format: NumberFormat, column: str) -> str:
    """Return the SQL for a cell as plain text (``-1234.5e-3``), or NULL if it is no number.

    `column` is SQL that gives VARCHAR; so is `column` of the other functions here.
    """
    decimal, thousands, currency = number_format
    digits = _digits(number_format)
    bare = f"replace({column}, {quoted_text(thousands)}, '')" if thousands else column
    bare = bare if decimal == "." else f"replace({bare}, '{decimal}', '.')"
    dressed = f"replace({column}, {quoted_text(currency)}, '')" if currency else column
    dropped = f"{thousands}{_BLANK}"
    dressed = f"translate({dressed}, {quoted_text(decimal + _MINUS + dropped)}, '.-')"
    cases = (  # from the usual and quick to the rare and slow
        (_QUICK[decimal], column),
        (digits, bare),
        (_whole_cell(digits, re.escape(currency)), dressed),
    )
    whens = " ".join(
        f"WHEN regexp_full_match({column}, {quoted_text(pattern)}) THEN {plain}"
        for pattern, plain in cases
    )
    return f"CASE WHEN length({column}) > {MAX_NUMBER_CHARACTERS} THEN NULL {whens} END"


def shape_sql(column: str) -> str:
    """Return the SQL for the shape of a cell, as `count_shapes` has it."""
    cases = " ".join(
        f"WHEN regexp_full_match({column}, {quoted_text(pattern)}) THEN {quoted_text(name)}"
        for name, pattern in (_QUICK_SHAPE, *_SHAPE_PATTERNS.items())
    )
    return (
        f"CASE {cases} WHEN {missing_sql(column)} THEN '{MISSING_SHAPE}' ELSE '{OTHER_SHAPE}' END"
    )


def missing_sql(column: str) -> str:
    """Return the SQL for whether a cell holds no value, as `is_missing` has it."""
    missing = ", ".join(map(quoted_text, MISSING))
    return f"{column} IS NULL OR lower(trim({column}, {quoted_text(_BLANK)})) IN ({missing})"


def currency_sql(column: str) -> str:
    """Return the SQL for the first currency in a cell; "" for none."""
    return f"coalesce(regexp_extract({column}, {quoted_text(ANY_CURRENCY)}), '')"


def _digits(number_format: NumberFormat) -> str:
    """Return the pattern of a number without sign, currency and blanks around it."""
    decimal, thousands, _ = number_format
    sign = re.escape(decimal)
    digits = f"(?:[0-9]+(?:{sign}[0-9]*)?|{sign}[0-9]+){_EXPONENT}"
    return f"{digits}|{_GROUPS[thousands]}(?:{sign}[0-9]*)?" if thousands else digits


def _shape_of(cell: str) -> str:
    if is_missing(cell):
        return MISSING_SHAPE
    matching = (name for name, pattern in _COMPILED_SHAPES.items() if pattern.fullmatch(cell))
    return next(matching, OTHER_SHAPE)


def _currency_of(cell: str) -> str:
    found = _FIND_CURRENCY.search(cell)
    return found[0] if found else ""
