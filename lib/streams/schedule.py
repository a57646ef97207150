"""An absolute schedule: the n-th event is due n periods after the start.

Sleeping for a period between events would add up every delay; counting from the start does not,
so that 1,000 events a second are 60,000 in a minute. Pure: times go in, counts come out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from lib.clock import MICROSECOND_NS, SECOND_NS

MAX_CATCH_UP_NS: Final = 1 * SECOND_NS
"""A process that slept longer than this (frozen, or the machine was) goes on from now instead of
sending all that it owes in one burst."""
GATHER_NS: Final = 100 * MICROSECOND_NS
"""No two publications by a schedule are closer; what is due sooner waits. So at 200,000 ticks/s
each send has some 20 of them, and takes a quarter of the gateway's time instead of all of it."""


class Schedule:
    """Events at `rate` a second from `start_ns` (monotonic) on; the first after one period."""

    def __init__(self, rate: float, start_ns: int) -> None:
        self._period_ns = SECOND_NS / rate
        self._start_ns = start_ns
        self._taken = 0

    def next_ns(self) -> int:
        """When the next event is due."""
        # Rounded up: at this time `take` does find the event due.
        return self._start_ns + int((self._taken + 1) * self._period_ns) + 1

    def skip_lateness(self, now_ns: int) -> int:
        """Shift the schedule if it is later than MAX_CATCH_UP_NS. Returns the shift in ns."""
        late_ns = now_ns - self.next_ns()
        if late_ns <= MAX_CATCH_UP_NS:
            return 0
        self._start_ns += late_ns
        return late_ns

    def take(self, now_ns: int) -> int:
        """How many events have become due since the last call. They count as done."""
        due = int((now_ns - self._start_ns) / self._period_ns) - self._taken
        if due <= 0:
            return 0
        self._taken += due
        return due


class Pacer:
    """Calls `publish(count)` when a schedule says so. Is a `Timed` for the event loop.

    `publish` returns how many there were: fewer than asked for, and the tape has ended.
    """

    def __init__(self, name: str, schedule: Schedule, publish: Callable[[int], int]) -> None:
        self._name = name
        self._schedule = schedule
        self._publish = publish
        self._not_before_ns = 0
        self._ended = False

    def next_deadline_ns(self) -> int | None:
        """When to publish what is due then, None once the tape has ended."""
        return None if self._ended else max(self._schedule.next_ns(), self._not_before_ns)

    def on_time(self, now_ns: int) -> None:
        """Publish what has become due."""
        self._not_before_ns = now_ns + GATHER_NS
        shift_ns = self._schedule.skip_lateness(now_ns)
        if shift_ns:
            structlog.get_logger().warning(
                "schedule_shifted",
                stream=self._name,
                late_s=round(shift_ns / SECOND_NS, 3),
                shift_ns=shift_ns,
            )
        count = self._schedule.take(now_ns)
        self._ended = self._publish(count) < count
