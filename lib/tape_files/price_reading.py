"""Prices of a table: the SQL that gives them exactly, and their way to whole units of 10⁻⁸.

Text and decimals are decimals in DuckDB, and 128-bit integers on the way here: no float is on the
way. A float of the file counts as the shortest decimal that reads back as that float.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.prices import MAX_PRICE, PRICE_DECIMALS, PRICE_SCALE
from lib.tape_files.arrow_stream import Numbers
from lib.tape_files.number_format import PLAIN, NumberFormat, missing_sql, number_sql
from lib.tape_files.table import Column, ColumnKind

_UNITS: Final = f"DECIMAL(38, {PRICE_DECIMALS})"
_FINE_DECIMALS: Final = 27
_FINE: Final = f"DECIMAL(38, {_FINE_DECIMALS})"
"""What a decimal with more than 8 decimals is compared with, to see how it was rounded."""
_TIE: Final = -1.0
"""Stands for the rest of a price that lies exactly between two units: DuckDB rounds it up."""

_EXACT: Final = Context(prec=400)
_MAX_SURE: Final = 2.0**52
"""A double below it, of units, is exact to a half."""
_MAX_SINGLE: Final = 1e6
"""From here on the shortest decimal of a 32-bit float may end in zeros before its point."""
_LOW_WORD: Final = 2**64


class RowPrices(NamedTuple):
    """The prices of some rows. All arrays have one value a row."""

    units: NDArray[np.int64]
    """Rounded half to even; or one of those below."""
    rest: NDArray[np.float64]
    """The exact price less the rounded one, in units: -0.5 to 0.5; 0 where it is exact."""
    large_are_whole: bool
    """Whether each price above MAX_PRICE is a whole number."""


NO_VALUE: Final = -1
NO_NUMBER: Final = -2
"""Neither a number nor missing."""
NOT_POSITIVE: Final = -3
TOO_SMALL: Final = -4
"""Above 0, and rounded to 0."""
TOO_LARGE: Final = -5


def price_sql(column: Column, form: NumberFormat) -> list[str]:
    """Return the columns of a query from which `prices_of` gets the prices of a column.

    `form` is how its numbers are written. Plain ones are checked by conversion only, which is
    faster.
    """
    if column.kind is ColumnKind.FLOAT:
        return [column.sql]
    if column.kind in (ColumnKind.WHOLE, ColumnKind.DECIMAL):
        return [f"TRY_CAST({column.sql} AS {_UNITS})"]
    text = column.text_sql
    is_plain = form == PLAIN
    plain = text if is_plain else number_sql(form, text)
    units = f"TRY_CAST({plain} AS {_UNITS})"
    if is_plain:  # DuckDB reads 1_000 as a number
        units = f"CASE WHEN NOT contains({plain}, '_') THEN {units} END"
    # Few cells have an exponent or more than 8 decimals, and these are the cheapest tests for that.
    is_simple = (
        f"{units} IS NULL OR (strlen({plain}) - position('.' IN {plain}) <= {PRICE_DECIMALS} "
        f"AND NOT contains({plain}, 'e') AND NOT contains({plain}, 'E'))"
    )
    rest = f"(TRY_CAST({plain} AS {_FINE}) - TRY_CAST({units} AS {_FINE}))"
    tie = f"-0.{'0' * PRICE_DECIMALS}5"
    return [
        units,
        f"CASE WHEN {is_simple} THEN 0.0::DOUBLE WHEN {rest} = {tie} THEN {_TIE}::DOUBLE "
        f"ELSE coalesce(CAST({rest} AS DOUBLE), 0) END",
        # In a WHEN, DuckDB looks for a missing value only where there is no number.
        f"CASE WHEN {units} IS NULL AND NOT ({missing_sql(text)}) THEN 1 ELSE 0 END::UTINYINT",
    ]


def prices_of(columns: Sequence[Numbers]) -> RowPrices:
    """Return the prices from what the columns of `price_sql` gave."""
    if np.issubdtype(columns[0].values.dtype, np.floating):
        return units_of_floats(columns[0])
    units, large_are_whole = _units_of_words(columns[0])
    if len(columns) == 1:
        return RowPrices(units, np.zeros(len(units)), large_are_whole)
    _, rest, is_bad = columns
    rests = rest.values * PRICE_SCALE
    ties = rest.values == _TIE
    if ties.any():
        rounded_up_to_odd = ties & (units % 2 == 1)
        units[rounded_up_to_odd] -= 1
        rests[ties] = np.where(rounded_up_to_odd[ties], 0.5, -0.5)
    units[(units == NOT_POSITIVE) & (rests > 0)] = TOO_SMALL
    units[is_bad.values != 0] = NO_NUMBER
    return RowPrices(units, rests, large_are_whole)


def middle_of(bid: RowPrices, ask: RowPrices) -> RowPrices:
    """Return the middle of bid and ask, rounded once, half to even."""
    total = bid.units + ask.units
    half = total >> 1
    rest = (total & 1) * 0.5 + (bid.rest + ask.rest) / 2
    odd = half & 1
    up = (rest > 0.5) | ((rest == 0.5) & (odd == 1))
    down = (rest < -0.5) | ((rest == -0.5) & (odd == 1))
    units = half + up - down
    rest = rest - up + down
    for side in (ask, bid):  # what is wrong with the bid is said first
        units = np.where(side.units < 0, side.units, units)
    units[units == 0] = TOO_SMALL
    return RowPrices(units, rest, bid.large_are_whole and ask.large_are_whole)


def units_of_floats(column: Numbers) -> RowPrices:
    """Return the prices of floats: each is the shortest decimal that reads back as it."""
    values = column.values
    if (exact := _exact_units(column)) is not None:
        return RowPrices(exact, np.zeros(len(values)), True)
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        is_number = column.present & np.isfinite(wide)
        in_range = is_number & (wide > 0) & (wide * PRICE_SCALE < _MAX_SURE)
        vectorised = _from_singles if values.dtype == np.float32 else _from_doubles
        units, rest, sure = vectorised(np.where(in_range, values, 1).astype(values.dtype))
    sure &= in_range
    for row in np.flatnonzero(is_number & (wide > 0) & ~sure):
        units[row], rest[row] = _rounded(Decimal(str(values[row])))
    large = is_number & (units == TOO_LARGE)
    units[is_number & (wide > 0) & (units == 0)] = TOO_SMALL
    units[is_number & (wide <= 0)] = NOT_POSITIVE
    units[~is_number] = NO_VALUE
    return RowPrices(units, rest, bool((np.floor(wide[large]) == wide[large]).all()))


def _exact_units(column: Numbers) -> NDArray[np.int64] | None:
    """Return units if all are doubles of at most 8 decimals, which is common; None if not."""
    values = column.values
    if values.dtype != np.float64 or not len(values) or not column.present.all():
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        nearest = np.rint(values * PRICE_SCALE)
        if not (nearest[0] / PRICE_SCALE == values[0] and (nearest / PRICE_SCALE == values).all()):
            return None
        if not (nearest.min() >= 1 and nearest.max() < _MAX_SURE):
            return None
    exact: NDArray[np.int64] = nearest.astype(np.int64)
    return exact


_Rounded = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]
"""Units, what rounding took away, and where both are certain."""


def _from_doubles(values: NDArray[np.float64]) -> _Rounded:
    scaled = values * PRICE_SCALE
    nearest = np.rint(scaled)
    # At most 15 digits: if one such decimal reads back as the double, it is its shortest.
    exact = nearest / PRICE_SCALE == values
    rest = np.where(exact, 0.0, scaled - nearest)
    # A double is off from its shortest decimal, and `scaled` from the product, by half a bit each.
    # If that cannot change how they are rounded, both are rounded alike.
    sure = exact | (np.abs(np.abs(rest) - 0.5) > scaled * 2.0**-51)
    return nearest.astype(np.int64), rest, sure


def _from_singles(values: NDArray[np.float32]) -> _Rounded:
    units = np.zeros(len(values), dtype=np.int64)
    sure = np.zeros(len(values), dtype=np.bool_)
    left = np.flatnonzero(values < _MAX_SINGLE)
    for decimals in range(PRICE_DECIMALS + 1):  # the fewest decimals that read back
        nearest = np.rint(values[left].astype(np.float64) * 10**decimals)
        found = (nearest / 10**decimals).astype(np.float32) == values[left]
        units[left[found]] = nearest[found].astype(np.int64) * 10 ** (PRICE_DECIMALS - decimals)
        sure[left[found]] = True
        left = left[~found]
    return units, np.zeros(len(values)), sure


def _rounded(price: Decimal) -> tuple[int, float]:
    """Return a positive price in units, TOO_LARGE if it is that, and what rounding took away."""
    exact = _EXACT.multiply(price, Decimal(PRICE_SCALE))
    if exact > MAX_PRICE:
        return TOO_LARGE, 0.0
    units = exact.to_integral_value(ROUND_HALF_EVEN)
    return int(units), float(exact - units)


def _units_of_words(column: Numbers) -> tuple[NDArray[np.int64], bool]:
    """Return units from 128-bit numbers of them, and whether those that are too large are whole."""
    low, high = column.values[:, 0], column.values[:, 1]
    units = low.astype(np.int64)
    if column.present.all() and not high.any() and (units > 0).all() and (low <= MAX_PRICE).all():
        return units, True
    negative = high.astype(np.int64) < 0
    large = ~negative & ((high != 0) | (low > MAX_PRICE))
    units[negative | ((low == 0) & (high == 0))] = NOT_POSITIVE
    units[large] = TOO_LARGE
    units[~column.present] = NO_VALUE
    large &= column.present
    scale = np.uint64(PRICE_SCALE)
    fractions = (
        high[large] % scale * np.uint64(_LOW_WORD % PRICE_SCALE) + low[large] % scale
    ) % scale
    return units, not fractions.any()
