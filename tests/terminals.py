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
_END = b"\0"
_ERASE_TO_END = "\x1b[K"


class Terminal(NamedTuple):
    """Both ends of a pseudo-terminal, and how wide it is."""

    ours: int
    theirs: int
    columns: int

    def rows(self) -> list[str]:
        """Return the rows of the screen after what has been written since the last call."""
        os.write(self.theirs, _END)  # the kernel may hand over what was written in pieces
        written = b""
        while not written.endswith(_END):
            written += os.read(self.ours, 1_000_000)
        text = _COLOUR.sub("", written.removesuffix(_END).decode())
        rows = []
        for line in text.split("\n"):
            row = ""
            for piece in re.split("\r+", line):
                if _ERASE_TO_END in piece:
                    kept, _, rest = piece.partition(_ERASE_TO_END)
                    row = kept + rest
                else:
                    row = piece + row[len(piece) :]
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
