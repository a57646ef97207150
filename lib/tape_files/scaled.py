"""Numbers that may be no prices: scaled integers, dates and times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.tape_files.price_reading import TOO_LARGE, RowPrices
from lib.tapes.tape import TapeError

SUSPICIOUS: Final = 100_000 * PRICE_SCALE
"""If all prices are whole numbers, and one is that large, they may be scaled."""
_FIRST_DAY, _LAST_DAY = 19_000_101, 21_001_231
"""What a number is if it is a date as YYYYMMDD."""
_FIRST_SECOND, _LAST_SECOND = 1_000_000_000, 2_100_000_000
"""What a number is if it is a time in seconds since 1970, from 2001 to 2036."""


@dataclass
class NumberTally:
    """All prices of a table, also those of symbols that are not configured: what they look like."""

    numbers: int = 0
    large: int = 0
    """How many are above MAX_PRICE."""
    are_whole: bool = True
    """Whether all are whole numbers."""
    are_dates: bool = True
    """Whether all are dates as YYYYMMDD."""
    are_times: bool = True
    """Whether all can be times in seconds since 1970."""
    largest: int = 0
    """The largest of those that can be played, in units."""

    def add(self, prices: RowPrices) -> None:
        """Count the prices of some rows."""
        large = int(np.count_nonzero(prices.units == TOO_LARGE))
        units = prices.units
        if len(units) and units.min() < 0:
            units = units[units >= 0]
        self.large += large
        self.numbers += large + len(units)
        if large:
            self.are_whole &= prices.large_are_whole
            self.are_dates = self.are_times = False
        if not len(units):
            return
        self.largest = max(self.largest, int(units.max()))
        if self.are_whole:
            self.are_whole = not (units % PRICE_SCALE).any()
        self.are_dates = self.are_dates and self.are_whole and _are_dates(units // PRICE_SCALE)
        self.are_times = self.are_times and self.are_whole and _are_times(units // PRICE_SCALE)


def check_numbers(numbers: NumberTally, names: str, multiplied: Callable[[str], str]) -> list[str]:
    """Return the warnings about the numbers of a table, whose price columns are `names`.

    `multiplied` gives the query that multiplies them. Raises TapeError if they are no prices.
    """
    if not numbers.numbers or not numbers.are_whole:
        return []
    if numbers.are_dates:
        raise TapeError(
            f"all numbers in {names} are dates such as 20240111, and no prices: rename the column "
            "of the prices to price"
        )
    if numbers.are_times:
        raise TapeError(
            f"all numbers in {names} look like times such as 1704205800, or scaled. If they are "
            "times, rename the column of the prices to price; if 1 stands for 10⁻⁹, "
            f"{multiplied('0.000000001')}"
        )
    if numbers.large:
        raise TapeError(
            f"{numbers.large:,} of {numbers.numbers:,} numbers in {names} are above the limit for "
            f"prices of {MAX_PRICE // PRICE_SCALE}, and all are whole: they look scaled. "
            f"Divide them: if 1 stands for 10⁻⁹, {multiplied('0.000000001')}"
        )
    if numbers.largest >= SUSPICIOUS:
        return [
            f"all numbers in {names} are whole, up to {numbers.largest // PRICE_SCALE:,}: they "
            f"may be scaled. Divide them: if 1 stands for 10⁻⁴, {multiplied('0.0001')}"
        ]
    return []


def _are_dates(numbers: NDArray[np.int64]) -> bool:
    months, days = numbers // 100 % 100, numbers % 100
    valid = (numbers >= _FIRST_DAY) & (numbers <= _LAST_DAY)
    valid &= (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
    return bool(valid.all())


def _are_times(numbers: NDArray[np.int64]) -> bool:
    return bool(numbers.min() >= _FIRST_SECOND and numbers.max() <= _LAST_SECOND)
