"""The schedule: the rate holds over minutes however late each wake-up is, and no burst follows."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.streams.schedule import MAX_CATCH_UP_NS, Pacer, Schedule

MINUTE_NS = 60 * SECOND_NS

starts = st.integers(0, 10**16)  # nanoseconds since boot: up to 115 days
rates = st.floats(0.01, 1e6)


@pytest.mark.parametrize("jitter_ms", [0, 5, 900])
def test_1000_a_second_are_60000_in_a_minute_whatever_the_jitter(jitter_ms):
    start_ns, jitter_ns = 10**15, jitter_ms * MILLISECOND_NS
    schedule, random = Schedule(1000, start_ns), Random(7)
    taken = 0
    while (now_ns := schedule.next_ns() + random.randint(0, jitter_ns)) < start_ns + MINUTE_NS:
        assert schedule.skip_lateness(now_ns) == 0
        taken += schedule.take(now_ns)
    assert taken + schedule.take(start_ns + MINUTE_NS) == 60_000


@given(starts, rates, st.integers(0, 1000))
def test_when_the_next_event_is_due_it_is_found_due_and_not_before(start_ns, rate, periods):
    schedule = Schedule(rate, start_ns)
    schedule.take(start_ns + int(periods * SECOND_NS / rate))
    due_ns = schedule.next_ns()
    period_ns = SECOND_NS / rate
    # A nanosecond for each rounding.
    assert schedule.take(due_ns - min(3, int(period_ns))) == 0
    assert schedule.take(due_ns) == 1


@given(starts, rates, st.lists(st.floats(0, 5)))
def test_never_are_more_events_done_than_are_due(start_ns, rate, steps_s):
    schedule = Schedule(rate, start_ns)
    now_ns, taken = start_ns, 0
    for step_s in steps_s:
        now_ns += int(step_s * SECOND_NS)
        taken += schedule.take(now_ns)
        assert taken == pytest.approx((now_ns - start_ns) / SECOND_NS * rate, abs=1.001)
        assert schedule.next_ns() > now_ns


def test_a_clock_that_seems_to_go_back_owes_nothing():
    schedule = Schedule(1000, SECOND_NS)
    assert schedule.take(2 * SECOND_NS) == 1000
    assert schedule.take(SECOND_NS) == 0
    assert schedule.take(2 * SECOND_NS + MILLISECOND_NS) == 1


@given(starts, rates, st.integers(0, 10**15))
def test_after_a_freeze_no_burst_is_above_one_second(start_ns, rate, frozen_ns):
    schedule = Schedule(rate, start_ns)
    now_ns = schedule.next_ns() + frozen_ns
    shift_ns = schedule.skip_lateness(now_ns)
    assert shift_ns == (frozen_ns if frozen_ns > MAX_CATCH_UP_NS else 0)
    assert 1 <= schedule.take(now_ns) <= rate * MAX_CATCH_UP_NS / SECOND_NS + 1.001


def test_after_a_long_freeze_the_rate_goes_on_from_there():
    schedule = Schedule(1000, 0)
    assert schedule.take(SECOND_NS) == 1000
    thawed_ns = 10 * SECOND_NS
    shift_ns = schedule.skip_lateness(thawed_ns)
    assert shift_ns == pytest.approx(9 * SECOND_NS - MILLISECOND_NS, abs=10)
    assert schedule.take(thawed_ns) == 1
    assert schedule.take(thawed_ns + MINUTE_NS) == 60_000
    assert schedule.skip_lateness(thawed_ns + MINUTE_NS) == 0


def test_a_pacer_asks_for_what_is_due_and_is_silent_after_the_end():
    counts = []
    pacer = Pacer("price", Schedule(10, 0), lambda count: counts.append(count) or min(count, 2))
    pacer.on_time(SECOND_NS // 5)
    assert pacer.next_deadline_ns() is not None
    pacer.on_time(SECOND_NS // 2)
    assert counts == [2, 3]
    assert pacer.next_deadline_ns() is None


def test_a_schedule_that_is_shifted_says_by_how_much():
    counts = []
    schedule = Schedule(10, 0)
    pacer = Pacer("price", schedule, lambda count: counts.append(count) or count)
    due_ns = schedule.next_ns()
    with capture_logs() as logs:
        pacer.on_time(due_ns + 3 * SECOND_NS)
    assert counts == [1]
    assert [(log["event"], log["stream"], log["shift_ns"], log["late_s"]) for log in logs] == [
        ("schedule_shifted", "price", 3 * SECOND_NS, 3.0)
    ]
