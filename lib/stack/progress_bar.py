"""A progress bar in the last line of a terminal, redrawn in place below the lines that stay."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Final, Self

BAR_CHARACTERS: Final = 20
"""How long the bar is, where the terminal is wide enough."""
USUAL_COLUMNS: Final = 80
"""The width of a terminal that does not say it."""

_STDERR: Final = 2
_ERASE_TO_END: Final = "\x1b[K"
"""Erases the rest of the line (ECMA-48): a ^C that the terminal has shown beside the bar, too."""


def takes_escapes(fd: int) -> bool:
    """Return whether this is a terminal that understands escape sequences."""
    return os.isatty(fd) and os.environ.get("TERM") != "dumb"


class ProgressBar:
    """A bar on a terminal, and nothing elsewhere. Its owner writes to the terminal through it."""

    def __init__(self, fd: int, write: Callable[[str], object]) -> None:
        """`write` writes text to the descriptor."""
        self._fd = fd
        self._write = write
        self.is_shown = takes_escapes(fd)
        """Whether there is a bar while something is drawn."""
        self._drawn = ""

    @classmethod
    def on_stderr(cls) -> Self:
        """Return a bar on standard error."""
        return cls(_STDERR, partial(print, end="", file=sys.stderr, flush=True))

    def draw(self, share: float, text: str) -> None:
        """Show how much is done, from 0 to 1, and what is done now; cut to the width."""
        if not self.is_shown:
            return
        columns = _columns(self._fd)
        length = min(BAR_CHARACTERS, columns // 4)
        filled = int(share * length)
        bar = f"[{'#' * filled}{'.' * (length - filled)}] {text}"
        self._drawn = f"\r{bar[: columns - 1]}{_ERASE_TO_END}"
        self._write(self._drawn)

    def print_above(self, lines: str) -> None:
        """Write complete lines, and the bar again below them."""
        erase = f"\r{_ERASE_TO_END}" if self._drawn else ""
        self._write(f"{erase}{lines}{self._drawn}")

    def erase(self) -> None:
        """Remove the bar from the terminal."""
        if self._drawn:
            self._drawn = ""
            self._write(f"\r{_ERASE_TO_END}")


def _columns(fd: int) -> int:
    try:
        return os.get_terminal_size(fd).columns or USUAL_COLUMNS
    except OSError:  # it has just been closed
        return USUAL_COLUMNS
