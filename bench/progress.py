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
        self._what = ""

    def begin(self, what: str) -> None:
        """Begin a step."""
        self._what = what
        if self._bar.is_shown:
            self._draw(what)
        else:
            self._bar.print_line(f"[{self._part():4.0%}] {self.left()}: {what}")

    def show_detail(self, detail: str) -> None:
        """Show a detail of the current step, on a terminal only."""
        self._draw(f"{self._what}: {detail}")

    def end(self, weight: float) -> None:
        """End the current step."""
        self._done += weight

    def print_line(self, text: str) -> None:
        """Print a line that the bar does not overwrite."""
        self._bar.print_line(text)

    def close(self) -> None:
        """Erase the bar."""
        self._bar.erase()

    def left(self) -> str:
        """Return the estimated time left, in words."""
        took_s = time.monotonic() - self._began_s
        pace = took_s / self._done if self._done else 1.0
        return time_left((self._total - self._done) * pace)

    def _part(self) -> float:
        return min(1.0, self._done / self._total) if self._total else 1.0

    def _draw(self, text: str) -> None:
        self._bar.draw(self._part(), f"{self._part():4.0%}  {self.left()}  {text}")
