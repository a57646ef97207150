"""Formats the numbers of the report: three significant digits, and a suitable unit.

In a sentence each number has its unit; in a table the heading of the column has it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from lib.clock import MILLISECOND_NS, SECOND_NS

MICROSECOND_NS: Final = 1_000
MILLION: Final = 1_000_000
DIGITS: Final = 3

_TIMES: Final = (
    (SECOND_NS, "s"),
    (MILLISECOND_NS, "ms"),
    (MICROSECOND_NS, "µs"),
    (1, "ns"),
)

_ZEROS: Final = re.compile(r"(\.\d*?[1-9])0+(?=\D|$)|\.0+(?=\D|$)")


def digits(value: float) -> str:
    """Write a number with three significant digits, or all its digits before the point."""
    if value == 0:
        return "0"
    after_point = DIGITS - 1 - math.floor(math.log10(abs(value)))
    # Rounding may add a digit: 9.996 is 10.0 and not 10.00.
    rounded = round(value, after_point)
    after_point = DIGITS - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, after_point)}f}" if after_point > 0 else f"{value:,.0f}"


def time_of(time_ns: float) -> str:
    """Write a time with its unit."""
    for unit_ns, name in _TIMES:
        if abs(time_ns) >= unit_ns:
            return f"{digits(time_ns / unit_ns)} {name}"
    return f"{digits(time_ns)} ns"


def us(time_ns: float) -> str:
    """Write a time in microseconds."""
    return digits(time_ns / MICROSECOND_NS)


def ms(time_ns: float) -> str:
    """Write a time in milliseconds, to a tenth: recoveries are not measured more exactly."""
    return f"{time_ns / MILLISECOND_NS:.1f}"


def millions(number: float) -> str:
    """Write a number in millions."""
    return digits(number / MILLION)


def megabytes(size_bytes: float) -> str:
    """Write a size in MB of 10⁶ bytes."""
    return digits(size_bytes / MILLION)


def whole(number: float) -> str:
    """Write a whole number."""
    return f"{number:,.0f}"


def percent(share: float) -> str:
    """Write a share in percent, with its sign."""
    return f"{digits(100 * share)} %"


def times(ratio: float) -> str:
    """Write how many times as much."""
    return f"{digits(ratio)} ×"


def bare(text: str) -> str:
    """Remove trailing zeros after the point: a limit is 2 ms, not 2.00 ms."""
    return _ZEROS.sub(r"\1", text)


def listed(words: Iterable[str]) -> str:
    """Write "a, b and c"; at least one."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
