"""Which clock a time is of, where it is not the host's monotonic one.

Clients take the time of sending from the wall clock, in whatever unit their language has, or count
monotonic time in another unit. Such a time says nothing of an order's age, so the order must not
be taken; and its client wants to know which clock it has read.
"""

from __future__ import annotations

from typing import Final

from lib.clock import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS

MAX_AHEAD_NS: Final = 1 * SECOND_NS
"""So far ahead may a time be: on a host of many the clock is translated. It counts as now."""
DAY_NS: Final = 24 * 3600 * SECOND_NS
"""So near to the wall clock is a time of the wall clock …"""
NEAR_NS: Final = 4 * SECOND_NS
"""… but of the monotonic clock it may take no more than this to either side, which of µs is an
hour: an order that was sent in these seconds of the host's life and comes too late is mistaken."""
FAR: Final = 10
"""A tenth of the wall clock (five years) is near enough where a time is ahead and so not monotonic.
So is a tenth of the host's life for monotonic time in another unit."""

_UNITS: Final = (
    ("ns", " (time.time_ns)", 1),
    ("µs", "", MICROSECOND_NS),
    ("ms", " (Date.now)", MILLISECOND_NS),
    ("s", " (time.time)", SECOND_NS),
)


def foreign_clock(sent_ns: int, oldest_ns: int, now_ns: int, wall_ns: int) -> str | None:
    """Say which clock a time of sending is of; None if it is the host's monotonic one.

    `oldest_ns` is the oldest time that is taken, `now_ns` the monotonic time and `wall_ns` the wall
    clock now. What is not too old is monotonic: for a few seconds of a host's life another clock
    can read the same. What is too old and near no other clock is monotonic too, and only old.
    """
    if sent_ns and oldest_ns <= sent_ns <= now_ns + MAX_AHEAD_NS:
        return None
    clock = _name(sent_ns, now_ns, wall_ns)
    if clock is None:
        return None
    return (
        f"sent_ns {sent_ns} {clock}: it is the host's monotonic clock in ns (time.monotonic_ns), "
        f"now {now_ns}"
    )


def _name(sent_ns: int, now_ns: int, wall_ns: int) -> str | None:
    if sent_ns == 0:
        return "is no time"
    is_ahead = sent_ns > now_ns + MAX_AHEAD_NS
    near = []
    for unit, source, unit_ns in _UNITS:
        off_ns = abs(sent_ns * unit_ns - wall_ns)
        if off_ns <= (wall_ns // FAR if is_ahead else min(DAY_NS, NEAR_NS * unit_ns)):
            near.append((off_ns, f"wall clock in {unit}{source}"))
        off_ns = abs(sent_ns * unit_ns - now_ns)
        if off_ns <= now_ns // FAR and unit_ns > 1:
            near.append((off_ns, f"monotonic clock in {unit}"))
    if near:
        return f"looks like the {min(near)[1]}"
    return f"is {(sent_ns - now_ns) / SECOND_NS:.3f} s ahead" if is_ahead else None
