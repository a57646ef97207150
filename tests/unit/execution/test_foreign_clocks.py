"""A time of sending is of the host's monotonic clock, or is named as what it is of."""

from __future__ import annotations

import pytest

from lib.clock import SECOND_NS
from lib.execution.foreign_clocks import DAY_NS, MAX_AHEAD_NS, foreign_clock

WALL_NS = 1_763_000_000 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
TTL_NS = 5 * SECOND_NS
UPTIMES_NS = [300 * SECOND_NS, 10 * DAY_NS, 900 * DAY_NS]


def clock_of(sent_ns: int, now_ns: int) -> str | None:
    return foreign_clock(sent_ns, now_ns - TTL_NS, now_ns, WALL_NS)


@pytest.mark.parametrize("now_ns", UPTIMES_NS)
@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (WALL_NS, "wall clock in ns (time.time_ns)"),
        (WALL_NS - HOUR_NS, "wall clock in ns"),
        (WALL_NS + 400 * DAY_NS, "wall clock in ns"),
        (WALL_NS // 10**3, "wall clock in µs"),
        ((WALL_NS - HOUR_NS) // 10**3, "wall clock in µs"),
        (WALL_NS // 10**6, "wall clock in ms"),
        ((WALL_NS - HOUR_NS) // 10**6, "wall clock in ms"),
        (WALL_NS // 10**9, "wall clock in s"),
        (0, "no time"),
    ],
)
def test_the_wall_clock_is_named_in_each_unit(now_ns, sent, named):
    complaint = clock_of(sent, now_ns)
    assert named in complaint
    assert f"sent_ns {sent} " in complaint
    assert f"now {now_ns}" in complaint


@pytest.mark.parametrize("now_ns", UPTIMES_NS)
@pytest.mark.parametrize(("unit", "ns"), [("µs", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_monotonic_time_in_another_unit_is_named(now_ns, unit, ns):
    assert f"monotonic clock in {unit}" in clock_of(now_ns // ns, now_ns)


def test_a_time_ahead_is_named_as_that_and_a_little_is_tolerated():
    now_ns = 10 * DAY_NS
    assert clock_of(now_ns + MAX_AHEAD_NS, now_ns) is None
    assert "1.000 s ahead" in clock_of(now_ns + MAX_AHEAD_NS + 1, now_ns)
    assert "ahead" in clock_of(2**63 - 1, now_ns)
    assert "no time" in clock_of(0, TTL_NS - 1)  # of a host that has just started


@pytest.mark.parametrize("now_ns", [10 * SECOND_NS, 100 * SECOND_NS, HOUR_NS, *UPTIMES_NS])
@pytest.mark.parametrize("age", [0, 0.55, 0.9, 0.99])
def test_an_order_that_waited_for_most_of_the_hosts_life_is_old_and_not_of_another_clock(
    now_ns, age
):
    assert clock_of(now_ns - int(now_ns * age), now_ns) is None
