"""The progress of a run: a bar on a terminal, otherwise a line for each step."""

from __future__ import annotations

import time
from typing import TextIO

from lib.long_program import ProgressBar, time_left


class BenchProgress:
    """Shows the current step and the time left.

    Each step has a weight, the seconds it is expected to take. The time left is estimated from how
    long the finished steps took.
    """

    def __init__(self, stream: TextIO, total: float) -> None:
        self._bar = ProgressBar(stream)
        self._total = total
        self._done = 0.0
        self._began_s = time.monotonic()

    def begin(self, what: str) -> None:
        """Begin a step."""
        pace = (time.monotonic() - self._began_s) / self._done if self._done else 1.0
        left, part = time_left((self._total - self._done) * pace), self._done / self._total
        if self._bar.is_shown:
            self._bar.draw(part, f"{part:4.0%}  {left}  {what}")
        else:
            self._bar.print_line(f"[{part:4.0%}] {left}: {what}")

    def end(self, weight: float) -> None:
        """End the current step."""
        self._done += weight

    def close(self) -> None:
        """Erase the bar."""
        self._bar.erase()
