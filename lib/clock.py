"""Units of time. All times in the stack are monotonic nanoseconds: wall clocks jump.

The wall clock is only shown, in logs and reports; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

Clock = Callable[[], int]
"""A function that returns the time in monotonic nanoseconds."""

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ns(seconds: float) -> int:
    """Convert a setting in seconds to nanoseconds."""
    return round(seconds * SECOND_NS)


def coarse_deadline(now_ns: int, look_ns: int, longest_ns: int) -> int:
    """Return the deadline of a look at `look_ns` that may come `longest_ns` late.

    It is never one that comes near: before one, the event loop waits in the precise way, which is
    one more system call, for each tick of the last 20 ms.
    """
    return look_ns if look_ns <= now_ns else now_ns + longest_ns


def utc_stamp(wall_ns: int | None = None) -> str:
    """Return a wall-clock time in ns since 1970, or now: UTC, ISO 8601, microseconds."""
    at = datetime.now(UTC) if wall_ns is None else _EPOCH + timedelta(microseconds=wall_ns // 1000)
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
