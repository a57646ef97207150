"""Log lines on standard output: a column for the role; on a terminal colours and a progress bar.

A reader of standard output may be slow, stuck or gone. The screen waits for a slow one; none of
them keeps the stack from stopping.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from typing import Final

from lib.process.log_events import GATEWAY, TAPE
from lib.stack.log_follower import ERROR, NOTICE, WARNING, ScreenLine
from lib.stack.progress_bar import ProgressBar, takes_escapes

ATOMIC_BYTES: Final = 4096
"""How much a writable pipe takes without blocking (PIPE_BUF of pipe(7))."""
PATIENCE_MS: Final = 100
"""How often a wait for a slow reader checks whether the stack is to stop."""

ROLE_COLUMNS: Final = len("order_manager")
_ROLE_COLOURS: Final = {
    "gateway": "36",
    "orderbook": "34",
    "strategy": "35",
    "order_manager": "32",
}
_LEVEL_COLOURS: Final = {NOTICE: "0", WARNING: "33", ERROR: "31"}
_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


def format_line(line: ScreenLine, *, colour: bool, columns: int = ROLE_COLUMNS) -> str:
    """Format a line with the role in a column of its own, and a host's name before it if any."""
    role = f"{line.role:<{columns}} |"
    if not colour:
        level = "" if line.level == NOTICE else f"{line.level.upper()} "
        return f"{role} {level}{line.text}"
    role_colour = _ROLE_COLOURS.get(line.role.rpartition(" ")[2], "37")
    return f"\x1b[{role_colour}m{role}\x1b[{_LEVEL_COLOURS[line.level]}m {line.text}\x1b[0m"


def wants_colour(fd: int) -> bool:
    """Return whether to use colours: on a terminal, unless NO_COLOR is set."""
    return takes_escapes(fd) and not os.environ.get("NO_COLOR")


class Screen:
    """Writes lines to a descriptor. Used from one thread.

    On a terminal, a bar below the lines shows how far the preparation of a tape is, until the next
    line of the gateway, which waits for it, or of the program that prepares it.
    """

    def __init__(
        self, fd: int, shall_stop: Callable[[], bool], columns: int = ROLE_COLUMNS
    ) -> None:
        """Write to `fd`; once `shall_stop()` is true, no longer wait for a slow reader.

        The role's column is so wide.
        """
        self._fd = fd
        self._columns = columns
        self._shall_stop = shall_stop
        self._colour = wants_colour(fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._bar = ProgressBar(fd, self._write)

    def show(self, lines: Iterable[ScreenLine]) -> None:
        """Write lines; wait for a reader that is slow. What cannot be written is lost."""
        text = ""
        progress: tuple[float, str] | None = None
        for line in lines:
            if self._bar.is_shown and line.share is not None:
                progress = line.share, f"{line.share:4.0%} {line.detail}"
                continue
            if line.role in (GATEWAY, TAPE):
                progress = None
                self._bar.erase()
            text += format_line(line, colour=self._colour, columns=self._columns) + "\n"
        if text:
            self._bar.print_above(text)
        if progress:
            self._bar.draw(*progress)

    def erase_bar(self) -> None:
        """Remove the bar: the next line may be written by somebody else."""
        self._bar.erase()

    def reader_is_gone(self) -> bool:
        """Return whether the other end of the pipe or terminal is closed."""
        return any(events & _GONE for _, events in self._poll.poll(0))

    def _write(self, text: str) -> None:
        data = text.encode()
        while data and self._is_writable():
            try:
                written = os.write(self._fd, data[:ATOMIC_BYTES])
            except OSError:  # a full disk, a reader that is gone: the stack goes on
                return
            data = data[written:]

    def _is_writable(self) -> bool:
        while True:
            stopping = self._shall_stop()
            if self._poll.poll(0 if stopping else PATIENCE_MS):
                return True
            if stopping:
                return False
