"""How far a run is: a bar on a terminal, a line for each thing that is done elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import Final, TextIO

BAR_CHARACTERS: Final = 20
MINUTE_S: Final = 60


class ProgressBar:
    """Tells what is being done and how long it will still take.

    Everything that is done has a weight: how many seconds it was expected to take. How long the
    rest takes follows from how long what is done has taken.
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
        """Something is about to be done."""
        self._what = what
        self._show(what)

    def show_detail(self, detail: str) -> None:
        """Tell more of what is being done; only a terminal shows it."""
        if self._is_terminal:
            self._show(f"{self._what}: {detail}")

    def end(self, weight: float) -> None:
        """What was begun is done."""
        self._done += weight

    def print_line(self, text: str) -> None:
        """Print a line that stays."""
        self._wipe()
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave nothing of the bar behind."""
        self._wipe()

    def left(self) -> str:
        """Return how long it will still take, in words."""
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
    """Return it in words, as exact as it can be known."""
    if seconds < MINUTE_S:
        return "under a minute left"
    return f"about {-(-seconds // MINUTE_S):.0f} min left"
