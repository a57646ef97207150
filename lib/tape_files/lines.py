"""In which line of a text file a row is, for messages."""

from __future__ import annotations

from itertools import islice
from typing import Final

from lib.tape_files.table import TextPlace
from lib.text import shortened

MAX_LINES: Final = 50_000_000
"""How far a row is looked for: some seconds. One further down is named by its number."""

MAX_LINE_CHARACTERS: Final = 80
"""How much of a line a message shows."""


def place_of(text: TextPlace | None, row: int) -> str:
    """Return where a row (from 0) is, as a message names it: with its line if it is text.

    Blank lines are no rows, and a line end between two quotes ends no row.
    """
    if text is None:
        return f"row {row + 1:,}"
    mark = text.quote.encode()
    is_open = False
    found = -1
    with text.path.open("rb") as file:
        lines = enumerate(islice(file, text.lines_before, MAX_LINES), start=text.lines_before + 1)
        for number, line in lines:
            found += not is_open and bool(line.strip())
            if found == row:
                shown = shortened(line.decode(errors="replace").strip(), MAX_LINE_CHARACTERS)
                return f"line {number:,} ({shown})"
            if mark and line.count(mark) % 2:
                is_open = not is_open
    return f"row {row + 1:,}"
