"""The progress of a run: a bar on a terminal, otherwise a line for each step."""

from __future__ import annotations

import shutil
import time
from typing import Final, TextIO

BAR_CHARACTERS: Final = 20
MINUTE_S: Final = 60


class BenchProgress:
    """Shows the current step and the time left.

    Each step has a weight, the seconds it is expected to take. The time left is estimated from how
    long the finished steps took.
    """

    def __init__(self, stream: TextIO, total: float) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._total = total
        self._done = 0.0
        self._began_s = time.monotonic()
        self._what = ""
        self._shown = 0

    def begin(self, what: str) -> None:
        """Begin a step."""
        self._what = what
        self._show(what)

    def show_detail(self, detail: str) -> None:
        """Show a detail of the current step, on a terminal only."""
        if self._is_terminal:
            self._show(f"{self._what}: {detail}")

    def end(self, weight: float) -> None:
        """End the current step."""
        self._done += weight

    def print_line(self, text: str) -> None:
        """Print a line that the bar does not overwrite."""
        self._wipe()
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Erase the bar."""
        self._wipe()

    def left(self) -> str:
        """Return the estimated time left, in words."""
        took_s = time.monotonic() - self._began_s
        left = self._total - self._done
        pace = took_s / self._done if self._done else 1.0
        return time_left(left * pace)

    def _show(self, text: str) -> None:
        share = min(1.0, self._done / self._total) if self._total else 1.0
        if not self._is_terminal:
            print(f"[{share:4.0%}] {self.left()}: {text}", file=self._stream, flush=True)
            return
        filled = round(share * BAR_CHARACTERS)
        bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
        width = shutil.get_terminal_size().columns - 1
        shown = f"[{bar}] {share:4.0%}  {self.left()}  {text}"[:width]
        print(f"\r{shown.ljust(self._shown)}", end="", file=self._stream, flush=True)
        self._shown = len(shown)

    def _wipe(self) -> None:
        if self._shown:
            print(f"\r{' ' * self._shown}\r", end="", file=self._stream, flush=True)
            self._shown = 0


def time_left(seconds: float) -> str:
    """Return a time left in words, rounded up to minutes."""
    if seconds < MINUTE_S:
        return "under a minute left"
    return f"about {-(-seconds // MINUTE_S):.0f} min left"
