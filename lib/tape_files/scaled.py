"""Numbers that may be no prices: scaled integers, dates and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.tape_files.tally import NumberTally
from lib.tapes.tape import TapeError

SUSPICIOUS: Final = 100_000 * PRICE_SCALE
"""If all prices are whole numbers, and one is that large, they may be scaled."""


def check_numbers(numbers: NumberTally, names: str, multiplied: Callable[[str], str]) -> list[str]:
    """Return the warnings about the numbers of a table, whose price columns are `names`.

    `multiplied` gives the query that multiplies them. Raises TapeError, without the file's name, if
    they are no prices.
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
