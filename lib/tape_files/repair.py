"""A CSV file that breaks the rules of quoting, copied row by row so that each row is one line.

DuckDB stops at a quote that does not close. Here such a row is marked as one that does not fit the
header, and the next line begins a new row. Slower than DuckDB: for the few files that need it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lib.tape_files.dialect import Dialect, csv_options

MAX_LINES_OF_A_ROW: Final = 100
"""How many lines a quoted cell may span; a quote that is not closed by then is a bad one."""
BAD_ROW: Final = "?"
"""What fills the cells of a row that cannot be read, one more than the header has."""
_ROWS_A_REPORT: Final = 50_000


def repaired(
    path: Path,
    dialect: Dialect,
    before: int,
    width: int,
    copy: Path,
    on_share: Callable[[float], None],
) -> None:
    """Write the rows after the first `before` lines to `copy`: commas, double quotes, a line a row.

    What a row has beyond `width` cells becomes one cell. `on_share` is called with the share done.
    """
    size = path.stat().st_size
    with path.open(encoding="utf-8-sig", newline="\n") as source:
        lines = iter(source.readline, "")
        for _ in range(before):
            next(lines, None)
        with copy.open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target, lineterminator="\n", quoting=csv.QUOTE_ALL)
            for number, cells in enumerate(_rows(lines, dialect)):
                row = [BAD_ROW] * (width + 1) if cells is None else cells
                if any(row[width:]):
                    row = [*row[:width], dialect.delimiter.join(row[width:])]
                writer.writerow([" ".join(cell.splitlines()) for cell in row])
                if number % _ROWS_A_REPORT == 0:
                    on_share(target.tell() / (2 * size))


def _rows(lines: Iterator[str], dialect: Dialect) -> Iterator[list[str] | None]:
    """Yield the cells of each row that is not blank, None for one that cannot be read."""
    waiting: list[str] = []
    while True:
        line = waiting.pop(0) if waiting else next(lines, None)
        if line is None:
            return
        if not line.strip():
            continue
        row, following = line, 0
        while dialect.quote and row.count(dialect.quote) % 2 and following < MAX_LINES_OF_A_ROW:
            if following == len(waiting):
                more = next(lines, None)
                if more is None:
                    break
                waiting.append(more)
            row += waiting[following]
            following += 1
        cells = _cells(row, dialect)
        if cells is not None:
            del waiting[:following]
        yield cells


def _cells(row: str, dialect: Dialect) -> list[str] | None:
    try:
        found = list(
            csv.reader(
                row.splitlines(keepends=True),
                **csv_options(dialect.delimiter, dialect.quote),
                strict=True,
            )
        )
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None
