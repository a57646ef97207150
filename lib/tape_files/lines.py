"""In which line of a text file a row is, for messages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lib.tape_files.table import TextPlace
from lib.text import shortened

MAX_LINES: Final = 50_000_000
"""How far a row is looked for: some seconds. One further down is named by its number."""

MAX_LINE_CHARACTERS: Final = 80
"""How much of a line a message shows."""


def place_of(text: TextPlace | None, row: int) -> str:
    """Return where a row (from 0) is, as a message names it, and what it has if it is text."""
    found = line_of_row(text.path, text.lines_before, text.quote, row) if text else None
    if found is None:
        return f"row {row + 1:,}"
    number, line = found
    return f"line {number:,} ({shortened(line, MAX_LINE_CHARACTERS)})"


def line_of_row(path: Path, lines_before: int, quote: str, row: int) -> tuple[int, str] | None:
    """Return the line, from 1, in which the row (from 0) begins, and its text.

    None if it is too far down. Rows begin after `lines_before` lines; blank lines are no rows, and
    a line end between two quotes ends no row.
    """
    mark = quote.encode()
    is_open = False
    found = -1
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number > MAX_LINES:
                return None
            if number <= lines_before:
                continue
            if not is_open and line.strip():
                found += 1
                if found == row:
                    return number, line.decode(errors="replace").strip()
            if mark and line.count(mark) % 2:
                is_open = not is_open
    return None
