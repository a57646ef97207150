"""When the next frames are due: an absolute schedule, and the pacer that publishes by it.

The n-th event is due n periods after the start. Sleeping for a period between events would add up
every delay; counting from the start does not, so that 1,000 events a second are 60,000 in a minute.
`Schedule` is pure: times go in, counts come out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.process.log_events import ScheduleShifted, log_event

MAX_CATCH_UP_NS: Final = 1 * SECOND_NS
"""The most that is caught up: after a longer pause (a frozen process, a suspended machine) the
schedule continues from now, without a burst."""
GATHER_NS: Final = 100 * MICROSECOND_NS
"""The shortest time between two publications; ticks due sooner wait. So at 200,000 a second
a send has about 20 ticks, and sending takes a quarter of the gateway's time, not all of it."""


class Schedule:
    """Events at `rate` a second from `start_ns` (monotonic) on; the first after one period."""

    def __init__(self, rate: float, start_ns: int) -> None:
        self._period_ns = SECOND_NS / rate
        self._start_ns = start_ns
        self._taken = 0

    def next_ns(self) -> int:
        """Return when the next event is due."""
        # Rounded up, so that `take` finds the event due at this time.
        return self._start_ns + int((self._taken + 1) * self._period_ns) + 1

    def skip_lateness(self, now_ns: int) -> int:
        """Shift the schedule if it is later than MAX_CATCH_UP_NS. Returns the shift in ns."""
        late_ns = now_ns - self.next_ns()
        if late_ns <= MAX_CATCH_UP_NS:
            return 0
        self._start_ns += late_ns
        return late_ns

    def take(self, now_ns: int) -> int:
        """Return how many events have become due since the last call. They count as done."""
        due = int((now_ns - self._start_ns) / self._period_ns) - self._taken
        if due <= 0:
            return 0
        self._taken += due
        return due


class Pacer:
    """Calls `publish(count)` when a schedule says so. A `Timed` for the event loop.

    `publish` returns how many frames it has published; fewer than asked for means the tape's end.
    """

    def __init__(self, name: str, schedule: Schedule, publish: Callable[[int], int]) -> None:
        self._name = name
        self._schedule = schedule
        self._publish = publish
        self._not_before_ns = 0
        self._ended = False

    def next_deadline_ns(self) -> int | None:
        """Return when to publish next, None once the tape has ended."""
        return None if self._ended else max(self._schedule.next_ns(), self._not_before_ns)

    def on_time(self, now_ns: int) -> None:
        """Publish the frames that have become due."""
        self._not_before_ns = now_ns + GATHER_NS
        shift_ns = self._schedule.skip_lateness(now_ns)
        if shift_ns:
            late_s = round(shift_ns / SECOND_NS, 3)
            shifted = ScheduleShifted(stream=self._name, late_s=late_s, shift_ns=shift_ns)
            log_event(structlog.get_logger(), shifted)
        count = self._schedule.take(now_ns)
        self._ended = self._publish(count) < count
