"""Tick to decision, over the last minute and since the start: counts in buckets. Pure.

The ticks come from the ring of the price book and the decisions from the strategy's decision log. A
tick is decided after it is in the ring, so a reader that reads the decisions first and then the
ring has every tick that was decided, unless the ring lapped it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.clock import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS
from lib.trading.decision_log import Decided, decided_at

WINDOW_S: Final = 60
BUCKETS_NS: Final = np.array(
    [10 * MICROSECOND_NS * 1.05**number for number in range(284)], np.float64
)
"""The upper bounds of the buckets, 5 % apart, from 10 µs to 10 s: quantiles are known to within 5
%.
"""
HISTOGRAM_NS: Final = (
    *(50 * MICROSECOND_NS, 100 * MICROSECOND_NS, 250 * MICROSECOND_NS, 500 * MICROSECOND_NS),
    *(1 * MILLISECOND_NS, 2_500 * MICROSECOND_NS, 5 * MILLISECOND_NS, 10 * MILLISECOND_NS),
    *(25 * MILLISECOND_NS, 50 * MILLISECOND_NS, 100 * MILLISECOND_NS, 250 * MILLISECOND_NS),
    1 * SECOND_NS,
)
"""The upper bounds of the buckets that are published as a metric."""
MAX_WAITING: Final = 1 << 18
"""How many undecided ticks are kept."""


class Latencies:
    """Joins ticks with their decisions, and counts."""

    def __init__(self) -> None:
        self._sequences = np.empty(0, np.int64)
        self._sent_ns = np.empty(0, np.int64)
        self._seconds: deque[tuple[int, NDArray[np.int64]]] = deque()
        self.histogram = [0] * (len(HISTOGRAM_NS) + 1)
        """The counts since the start, by the buckets of HISTOGRAM_NS; the last one is above all."""
        self.sum_s = 0.0

    def forget_ticks(self) -> None:
        """Drop the undecided ticks: another tape begins."""
        self._sequences, self._sent_ns = np.empty(0, np.int64), np.empty(0, np.int64)

    def take(
        self,
        decided: Decided,
        sequences: NDArray[np.int64],
        sent_ns: NDArray[np.int64],
        now_ns: int,
    ) -> None:
        """Take what was decided since the last call, and the ticks that were read after that."""
        sequences = np.concatenate((self._sequences, sequences))[-MAX_WAITING:]
        sent_ns = np.concatenate((self._sent_ns, sent_ns))[-MAX_WAITING:]
        decided_ns = decided_at(sequences, decided)
        known = (decided_ns > 0) & (sent_ns > 0)
        self._count(decided_ns[known] - sent_ns[known], now_ns // SECOND_NS)
        if len(decided.last):
            later = sequences > decided.last[-1]
            sequences, sent_ns = sequences[later], sent_ns[later]
        self._sequences, self._sent_ns = sequences, sent_ns

    def ticks(self, now_ns: int) -> int:
        """Return how many ticks were decided in the last minute."""
        return int(self._last_minute(now_ns).sum())

    def quantile_ns(self, quantile: float, now_ns: int) -> float | None:
        """Return the time that this share of the last minute's ticks took at most."""
        counts = self._last_minute(now_ns).cumsum()
        if not counts[-1]:
            return None
        at = int(np.searchsorted(counts, np.ceil(quantile * counts[-1])))
        return float(BUCKETS_NS[min(at, len(BUCKETS_NS) - 1)])

    def _count(self, latencies_ns: NDArray[np.int64], second: int) -> None:
        buckets = np.bincount(
            np.searchsorted(BUCKETS_NS, latencies_ns), minlength=len(BUCKETS_NS) + 1
        )
        if self._seconds and self._seconds[-1][0] == second:
            buckets = buckets + self._seconds.pop()[1]
        self._seconds.append((second, buckets))
        while self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()
        for bucket, count in enumerate(
            np.bincount(np.searchsorted(HISTOGRAM_NS, latencies_ns), minlength=len(self.histogram))
        ):
            self.histogram[bucket] += int(count)
        self.sum_s += float(latencies_ns.sum()) / SECOND_NS

    def _last_minute(self, now_ns: int) -> NDArray[np.int64]:
        total = np.zeros(len(BUCKETS_NS) + 1, np.int64)
        for second, buckets in self._seconds:
            if second > now_ns // SECOND_NS - WINDOW_S:
                total += buckets
        return total
