"""Units of time. All times in the stack are monotonic nanoseconds: wall clocks jump.

The wall clock is only shown, in logs and reports; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

Clock = Callable[[], int]
"""A function that returns the time in monotonic nanoseconds."""

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Convert a setting in seconds to nanoseconds."""
    return round(seconds * SECOND_NS)


def utc_stamp() -> str:
    """Return the wall-clock time: UTC, ISO 8601, microseconds."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
