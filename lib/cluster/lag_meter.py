"""How long ago a stream was where one of its readers is now."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

MAX_SAMPLES: Final = 600
"""How many samples are kept: at two a second, a lag of five minutes is measured, as long as ticks
are kept. A longer one counts as that long."""


class _Sample(NamedTuple):
    newest: int
    at_ns: int


class LagMeter:
    """Measures the lag of one reader by its own clock: no time of another host is believed. Pure.

    Between two samples the stream is taken to have grown evenly.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=MAX_SAMPLES)

    def lag_ns(self, position: int, newest: int, now_ns: int) -> int:
        """Return the lag of a reader at `position`; the stream is at `newest` now."""
        samples = self._samples
        if samples and newest < samples[-1].newest:  # another tape
            samples.clear()
        samples.append(_Sample(newest, now_ns))
        if position >= newest:
            return 0
        while len(samples) > 1 and samples[1].newest <= position:
            samples.popleft()
        before = samples[0]
        if before.newest > position:
            return now_ns - before.at_ns
        after = samples[1]
        share = (position - before.newest) / (after.newest - before.newest)
        return now_ns - before.at_ns - round(share * (after.at_ns - before.at_ns))
