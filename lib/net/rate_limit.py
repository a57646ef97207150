"""A rate limit: one action per `interval_ns` in the long run, and bursts of up to `burst` actions.

It is the generic cell rate algorithm (ITU-T I.371), with one number for state.
"""

from __future__ import annotations


class RateLimit:
    """Pure: times go in (monotonic ns). Check `ready_ns` first, then `take`."""

    def __init__(self, burst: int, interval_ns: int) -> None:
        self._tolerance_ns = (burst - 1) * interval_ns
        self._interval_ns = interval_ns
        self._paid_ns = 0

    @property
    def ready_ns(self) -> int:
        """The time from which the next action is allowed."""
        return self._paid_ns - self._tolerance_ns

    def take(self, now_ns: int, times: int = 1) -> None:
        """Count an action. One taken before `ready_ns`, or beyond the burst, delays later ones."""
        self._paid_ns = max(self._paid_ns, now_ns) + times * self._interval_ns
