"""A terminal for a test: a pseudo-terminal of some width, and what a person sees on it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_COLOUR = re.compile(r"\x1b\[\d+m")
_ERASE_TO_END = "\x1b[K"


class Terminal(NamedTuple):
    """Both ends of a pseudo-terminal, and how wide it is."""

    ours: int
    theirs: int
    columns: int

    def rows(self) -> list[str]:
        """Return the rows of the screen after what has been written since the last call."""
        text = _COLOUR.sub("", os.read(self.ours, 1_000_000).decode())
        rows = []
        for line in text.split("\n"):
            row = ""
            for written in re.split("\r+", line):
                if _ERASE_TO_END in written:
                    kept, _, rest = written.partition(_ERASE_TO_END)
                    row = kept + rest
                else:
                    row = written + row[len(written) :]
            assert len(row) < self.columns, "it is wrapped"
            rows.append(row)
        return rows


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    """Open a terminal of that width."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield Terminal(ours, theirs, columns)
    finally:
        os.close(ours)
        os.close(theirs)
