"""The course of prices along a tape, and a small chart of it in characters. Pure.

A column of the chart is a stretch of the tape, from its lowest to its highest price there: one
impossible price among millions is seen, which a chart of averages would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.tapes.tape import Tape

READ_TICKS: Final = 1 << 20
"""How many ticks are looked at together: some 20 MB."""

NO_PRICE: Final = -1
"""What a course has before the first tick of its symbol. (A sentiment may be 0.)"""

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
"""What fills a cell of the chart from the bottom up, in eighths."""
ASCII: Final = " .:#"
"""The same in thirds, for a terminal without UTF-8."""


class Course(NamedTuple):
    """The prices of one symbol along the tape, in units of 10⁻⁸, an entry a column.

    A column without a tick of the symbol has its last price before; one before its first tick has
    NO_PRICE in both.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]


class Survey(NamedTuple):
    """What one reading of a whole tape finds."""

    lowest: NDArray[np.int64]
    """By index of the symbol, in units of 10⁻⁸; the largest int64 without a tick."""
    highest: NDArray[np.int64]
    """By index of the symbol; NO_PRICE without a tick."""
    courses: dict[int, Course]
    """By index of the symbol."""


def survey(tape: Tape, symbol_count: int, charted: Sequence[int], columns: int) -> Survey:
    """Read a tape once, from its first to its last tick. It must have an end.

    `charted` are the symbols whose courses are wanted, in at most `columns` columns: fewer where
    the tape has fewer ticks.
    """
    assert tape.length is not None
    columns = max(1, min(columns, tape.length))
    lowest = np.full(symbol_count, np.iinfo(np.int64).max)
    highest = np.full(symbol_count, NO_PRICE)
    last = [NO_PRICE] * len(charted)
    courses = {index: Course(*np.zeros((2, columns), np.int64)) for index in charted}
    for column in range(columns):
        first = tape.length * column // columns + 1
        end = tape.length * (column + 1) // columns
        seen: list[list[int]] = [[] for _ in charted]
        while first <= end:
            symbols, prices = tape.read(first, min(READ_TICKS, end - first + 1))
            first += len(prices)
            np.minimum.at(lowest, symbols, prices)
            np.maximum.at(highest, symbols, prices)
            for number, index in enumerate(charted):
                own = prices[symbols == index]
                if len(own):
                    seen[number] += [int(own.min()), int(own.max())]
                    last[number] = int(own[-1])
        for number, (low, high) in enumerate(courses.values()):
            low[column] = min(seen[number], default=last[number])
            high[column] = max(seen[number], default=last[number])
    return Survey(lowest, highest, courses)


def draw(course: Course, rows: int, glyphs: str) -> list[str]:
    """Draw a course, the highest price in the first of so many rows.

    `glyphs` are BLOCKS or ASCII. The cell with the highest price of its column is filled from its
    bottom up to that price, the cells below it down to that with the lowest one.
    """
    is_drawn = course.high != NO_PRICE
    if not is_drawn.any():
        return [""] * rows
    lowest, highest = int(course.low[is_drawn].min()), int(course.high.max())
    steps = len(glyphs) - 1
    span, top = max(1, highest - lowest), rows * steps - 1
    # In this order: the highest price is exactly 1 of the span, and so at the top.
    low, high = (((prices - lowest) / span * top).astype(np.int64) for prices in course)
    lines = []
    for row in reversed(range(rows)):
        filled = np.clip(high - row * steps + 1, 0, steps)
        filled[(low >= (row + 1) * steps) | ~is_drawn] = 0
        lines.append("".join(glyphs[fill] for fill in filled.tolist()).rstrip())
    return lines
