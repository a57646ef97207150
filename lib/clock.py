"""Units of time. All times in the stack are monotonic nanoseconds: wall clocks jump."""

from __future__ import annotations

from typing import Final

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Convert a setting in seconds to nanoseconds."""
    return round(seconds * SECOND_NS)
