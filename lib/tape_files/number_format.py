"""How the numbers of a column are written: decided over the column, never row by row.

The same patterns serve Python and DuckDB (RE2). What decides is how many cells have which shape, so
that for millions of rows it is one aggregate query: `shape_sql`, `currency_sql`, a count of each
pair, `find_number_format`, `number_sql`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

MAX_ODD_SHARE: Final = 0.01
"""The largest share of numbers that may be written otherwise: those are bad cells, and skipped."""
MAX_NUMBER_CHARACTERS: Final = 64
"""A longer cell is no number."""
MISSING: Final = (
    *("", "null", "nan", "none", "nil", "n/a", "na", "n/d", "#n/a", "#n/a n/a", "#value!", "#ref!"),
    *("-", "--", ".", "?", "\u2013", "\u2014", "<na>", "(null)", "\\n"),
)
"""Cells that hold no value, in lower case."""

_NO_BREAK, _NARROW = "\u00a0", "\u202f"
_THOUSANDS: Final = (",", ".", "'", "\u2019", " ", _NO_BREAK, _NARROW)
_BLANK: Final = f" \t{_NO_BREAK}{_NARROW}"
_SYMBOLS: Final = (
    *("US$", "AU$", "CA$", "HK$", "NZ$", "NT$", "MX$", "A$", "C$", "S$", "R$"),
    *"$€£¥₹₽₩₺₿₫฿₪₴₦₱",
    *("zł", "Kč", "Ft", "kr.", "kr", "Fr.", "Rs.", "Rs", "TL"),
    *("USDT", "USDC", "USD", "EUR", "GBP", "GBX", "CHF", "JPY", "CNY", "HKD", "AUD", "CAD", "NZD"),
    *("SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "INR", "KRW", "TRY", "BRL", "MXN", "ZAR", "SGD"),
    *("RUB", "ILS", "THB", "TWD", "IDR", "MYR", "PHP", "VND", "BTC", "ETH"),
)
"""Of currencies, before or after a number; a longer one before what it begins with."""
_ANY_CURRENCY: Final = "|".join(map(re.escape, _SYMBOLS))
_SIGN: Final = "[+\\-\u2212]?"
_EXPONENT: Final = "(?:[eE][+\\-]?[0-9]{1,3})?"
_GROUPS: Final = {
    sign: f"[1-9][0-9]{{0,2}}(?:{re.escape(sign)}[0-9]{{3}})+" for sign in _THOUSANDS
} | {",": "(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})"}
"""Groups of three digits; with commas also those of India: 12,34,567."""

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


_POINT_3, _COMMA_3 = "1.234", "1,234"
_SHAPES: Final = (  # the first that fits is the shape of a cell
    _Shape(_POINT_3, "[1-9][0-9]{0,2}[.][0-9]{3}"),
    _Shape("1.5", f"(?:[0-9]+[.][0-9]*|[.][0-9]+){_EXPONENT}", decimal="."),
    _Shape("12", f"[0-9]+{_EXPONENT}"),
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


_SHAPE_PATTERNS: Final = {
    shape.name: _whole_cell(shape.pattern, _ANY_CURRENCY) for shape in _SHAPES
}
_COMPILED_SHAPES: Final = {name: re.compile(pattern) for name, pattern in _SHAPE_PATTERNS.items()}
_FIND_CURRENCY: Final = re.compile(_ANY_CURRENCY)


# --- deciding -------------------------------------------------------------------------------------


def is_missing(cell: str) -> bool:
    """Whether a cell holds no value, which says nothing about the column."""
    return cell.strip().lower() in MISSING


def count_shapes(cells: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return how many cells have which shape and currency; the same as the query counts."""
    return Counter((_shape_of(cell), _currency_of(cell)) for cell in cells)


def find_number_format(counts: Mapping[tuple[str, str], int]) -> NumberFormat:
    """Return how a column is written, from how many of its cells have which (shape, currency).

    Raises ValueError (the reason, with what to do) if there is no number, if a number can be read
    in two ways, or if more than MAX_ODD_SHARE are written otherwise than the rest.
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
    decimal = _decimal_sign(shapes)
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


def _decimal_sign(shapes: Counter[str]) -> str:
    """Return what the decimal sign is. Raises ValueError if a number can be read in two ways."""
    certain = {
        sign: sum(shapes[shape.name] for shape in _SHAPES if shape.decimal == sign)
        for sign in (".", ",")
    }
    # Commas that group are evidence for the point, and points that group for the comma.
    for sign, grouping in ((".", ","), (",", ".")):
        certain[sign] += shapes[f"1{grouping}234{grouping}567"]
    if not any(certain.values()):
        other_signs = any(shapes[s.name] for s in _SHAPES if s.thousands not in ("", ",", "."))
        if shapes[_COMMA_3] and other_signs:
            return ","
        if not shapes[_COMMA_3]:
            return "."
        raise ValueError(_ambiguous(shapes))
    decimal = max(certain, key=lambda sign: certain[sign])
    unsure = shapes[_COMMA_3] if decimal == "." else shapes[_COMMA_3] + shapes[_POINT_3]
    if certain[decimal] < MAX_ODD_SHARE * unsure:  # a few bad cells decide nothing
        if shapes[_COMMA_3]:
            raise ValueError(_ambiguous(shapes))
        return "."
    return decimal


def _thousands_sign(shapes: Counter[str], decimal: str) -> str:
    found: Counter[str] = Counter()
    for shape in _SHAPES:
        if shape.thousands and shape.thousands != decimal:
            found[shape.thousands] += shapes[shape.name]
    if decimal == ".":
        found[","] += shapes[_COMMA_3]
    else:
        found["."] += shapes[_POINT_3]
    sign = max(found, key=lambda sign: found[sign])
    return sign if found[sign] > MAX_ODD_SHARE * shapes.total() else ""


def _fits(name: str, decimal: str, thousands: str) -> bool:
    """Whether a number of this shape is one in the format."""
    if name in (_POINT_3, _COMMA_3):
        return name[1] in (decimal, thousands)
    shape = next(shape for shape in _SHAPES if shape.name == name)
    return shape.decimal in ("", decimal) and shape.thousands in ("", thousands)


def _ambiguous(shapes: Counter[str]) -> str:
    return (
        f"has {shapes[_COMMA_3]} numbers like 1,234, which can be 1234 or 1.234: say which in a "
        "query, with replace(…, ',', '') or replace(…, ',', '.')"
    )


# --- reading --------------------------------------------------------------------------------------


def number_pattern(number_format: NumberFormat) -> str:
    """Return the pattern, for RE2 and Python, that a whole cell with a number matches."""
    decimal, thousands, currency = number_format
    sign = re.escape(decimal)
    digits = f"(?:[0-9]+(?:{sign}[0-9]*)?|{sign}[0-9]+){_EXPONENT}"
    if thousands:
        digits += f"|{_GROUPS[thousands]}(?:{sign}[0-9]*)?"
    return _whole_cell(digits, re.escape(currency))


def parse_number(text: str, number_format: NumberFormat) -> Decimal:
    """Return the exact value of a cell. Raises ValueError if it is none in this format."""
    if len(text) > MAX_NUMBER_CHARACTERS or not re.fullmatch(number_pattern(number_format), text):
        raise ValueError(f"{text[:MAX_NUMBER_CHARACTERS]!r} is not a number")
    for old, new in _replacements(number_format):
        text = text.replace(old, new)
    return Decimal(text)


def number_sql(number_format: NumberFormat, column: str) -> str:
    """Return the SQL for a cell as plain text (``-1234.5e-3``), or NULL if it is no number.

    `column` is SQL that gives VARCHAR; so is `column` of the other functions here.
    """
    plain = column
    for old, new in _replacements(number_format):
        plain = f"replace({plain}, {_quoted(old)}, {_quoted(new)})"
    pattern = _quoted(number_pattern(number_format))
    return (
        f"CASE WHEN length({column}) <= {MAX_NUMBER_CHARACTERS} "
        f"AND regexp_full_match({column}, {pattern}) THEN {plain} END"
    )


def shape_sql(column: str) -> str:
    """Return the SQL for the shape of a cell, as `count_shapes` has it."""
    missing = ", ".join(map(_quoted, MISSING))
    cases = " ".join(
        f"WHEN regexp_full_match({column}, {_quoted(pattern)}) THEN {_quoted(name)}"
        for name, pattern in _SHAPE_PATTERNS.items()
    )
    return (
        f"CASE {cases} WHEN {column} IS NULL OR lower(trim({column}, {_quoted(_BLANK)})) "
        f"IN ({missing}) THEN '{MISSING_SHAPE}' ELSE '{OTHER_SHAPE}' END"
    )


def currency_sql(column: str) -> str:
    """Return the SQL for the first currency in a cell; "" for none."""
    return f"coalesce(regexp_extract({column}, {_quoted(_ANY_CURRENCY)}), '')"


def _replacements(number_format: NumberFormat) -> list[tuple[str, str]]:
    """Return what to replace in a number, in order, so that Decimal understands it."""
    decimal, thousands, currency = number_format
    pairs = [(currency, ""), (thousands, ""), (decimal, "."), ("\u2212", "-")]
    pairs += [(blank, "") for blank in _BLANK]
    return [(old, new) for old, new in pairs if old and old != new]


def _shape_of(cell: str) -> str:
    if is_missing(cell):
        return MISSING_SHAPE
    matching = (name for name, pattern in _COMPILED_SHAPES.items() if pattern.fullmatch(cell))
    return next(matching, OTHER_SHAPE)


def _currency_of(cell: str) -> str:
    found = _FIND_CURRENCY.search(cell)
    return found[0] if found else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
