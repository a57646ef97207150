"""How often something may be done: some times at once, and so many times a second in the long run.

Each time is paid for with `interval_ns`, and `burst` of them may be owed. (It is the generic cell
rate algorithm, ITU-T I.371, with one number for state.)
"""

from __future__ import annotations


class RateLimit:
    """Pure: times go in (monotonic ns). The caller asks first and then takes."""

    def __init__(self, burst: int, interval_ns: int) -> None:
        self._tolerance_ns = (burst - 1) * interval_ns
        self._interval_ns = interval_ns
        self._paid_ns = 0

    @property
    def ready_ns(self) -> int:
        """From when on it may be done again."""
        return self._paid_ns - self._tolerance_ns

    def take(self, now_ns: int, times: int = 1) -> None:
        """It was done. What is taken before `ready_ns`, or beyond the burst, is owed as well."""
        self._paid_ns = max(self._paid_ns, now_ns) + times * self._interval_ns
