"""Recognises a time that is not of the host's monotonic clock, and names its clock.

Clients take the time of sending from the wall clock, in the unit of their language, or count
monotonic time in another unit. Such a time says nothing about an order's age, so the order must not
be accepted; the error names the clock that the client has read.
"""

from __future__ import annotations

from typing import Final

from lib.clock import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS

MAX_AHEAD_NS: Final = 1 * SECOND_NS
"""How far ahead of now a time may be, and then counts as now: in a cluster, times are translated
between hosts."""
DAY_NS: Final = 24 * 3600 * SECOND_NS
"""How near to the wall clock a time of the past must be to count as a wall-clock time."""
NEAR_NS: Final = 4 * SECOND_NS
"""The same limit in the unit's own count (for µs it is an hour), so that wall-clock times occupy
few seconds of monotonic time: only an expired order sent in those seconds is misjudged."""
FAR: Final = 10
"""The divisor of a wide limit. A time ahead of now is no monotonic time, and counts as a wall-clock
time within a tenth of the wall clock. A monotonic time in another unit may be off by a tenth."""

_UNITS: Final = (
    ("ns", " (time.time_ns)", 1),
    ("µs", "", MICROSECOND_NS),
    ("ms", " (Date.now)", MILLISECOND_NS),
    ("s", " (time.time)", SECOND_NS),
)


def foreign_clock(sent_ns: int, oldest_ns: int, now_ns: int, wall_ns: int) -> str | None:
    """Return which clock a time of sending is of; None if it is the host's monotonic one.

    `oldest_ns` is the oldest accepted time, `now_ns` the monotonic time and `wall_ns` the wall
    clock now. A time that is not too old counts as monotonic, although for a few seconds of a
    host's uptime another clock can read the same. So does a time that is too old and near no other
    clock.
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
