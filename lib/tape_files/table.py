"""One table, whatever it came from: its columns as SQL, and its first rows as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from lib.prices import PRICE_DECIMALS
from lib.tape_files.listing import listed
from lib.text import shortened

HEAD_ROWS: Final = 1000
"""How many of the first rows decide what the columns hold."""

MAX_LINES: Final = 50_000_000
"""How far a row is looked for: some seconds. One further down is named by its number."""
MAX_LINE_CHARACTERS: Final = 80
"""How much of a line a message shows."""

_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_TEXTS: Final = ("VARCHAR", "ENUM", "JSON", "CHAR")


class ColumnKind(Enum):
    """What a column holds, as far as its type says."""

    TEXT = auto()
    WHOLE = auto()
    DECIMAL = auto()
    """Of at most 8 decimals."""
    FINE_DECIMAL = auto()
    FLOAT = auto()
    TIME = auto()
    OTHER = auto()
    """Nothing that a tape can use: a list, a struct, bytes."""

    @property
    def is_number(self) -> bool:
        """Whether each cell is a number or NULL."""
        return self not in (self.TEXT, self.TIME, self.OTHER)


class Column(NamedTuple):
    """A column of a table."""

    names: tuple[str, ...]
    """Its name; several where pandas wrote its levels."""
    sql: str
    kind: ColumnKind

    @property
    def name(self) -> str:
        """The name as a message shows it."""
        return " ".join(name.strip() for name in self.names if name.strip())

    @property
    def text_sql(self) -> str:
        """SQL for its cells as text."""
        return self.sql if self.kind is ColumnKind.TEXT else f"CAST({self.sql} AS VARCHAR)"


class TextRows(NamedTuple):
    """Where the rows of a table are in a text file."""

    path: Path
    lines_before: int
    """How many lines are before the first row."""
    quote: str

    def line_of(self, row: int) -> str:
        """Return the number and the beginning of the line where a row is; "" if it is far down.

        Blank lines are no rows, and a line end between two quotes ends no row.
        """
        mark = self.quote.encode()
        is_open = False
        found = -1
        with self.path.open("rb") as file:
            lines = islice(file, self.lines_before, MAX_LINES)
            for number, line in enumerate(lines, start=self.lines_before + 1):
                found += not is_open and bool(line.strip())
                if found == row:
                    shown = shortened(line.decode(errors="replace").strip(), MAX_LINE_CHARACTERS)
                    return f"line {number:,} ({shown})"
                if mark and line.count(mark) % 2:
                    is_open = not is_open
        return ""


class Misfit(NamedTuple):
    """Rows that do not fit the others, so that no cell of them can be trusted."""

    sql: str = "false"
    """True for such a row, never NULL."""
    reason: str = ""
    """What is wrong with it."""
    advice: str = ""
    """What to do about it, if many rows are such."""


class Table(NamedTuple):
    """What a file or a query has, ready to be asked."""

    title: str
    """What a message begins with: the path of the file, or `the query`."""
    sql: str
    """What to select from: a table or a subquery. Its rows come in the order of the file."""
    columns: tuple[Column, ...]
    recognised: list[str]
    """What it was taken for, for people."""
    rows: int
    """How many rows it has; of a text, about."""
    head: Sequence[tuple[str | None, ...]] = ()
    """The first HEAD_ROWS rows, as text."""
    misfit: Misfit = Misfit()
    last_row_cells: int | None = None
    """How many cells the last line has if it has no end, so that its last cell may be cut."""
    text: TextRows | None = None
    """None if it is no text."""

    def cells(self, column: int) -> list[str]:
        """Return the cells of a column in the head that are not NULL."""
        return [cell for row in self.head if (cell := row[column]) is not None]

    def place_of(self, row: int) -> str:
        """Return where a row (from 0) is, as a message names it: with its line if it is text."""
        return (self.text and self.text.line_of(row)) or f"row {row + 1:,}"

    def is_cut(self, columns: Iterable[int]) -> bool:
        """Whether the last line may be cut within a cell of these columns."""
        return self.last_row_cells is not None and max(columns) >= self.last_row_cells - 1


def no_rows(table: Table) -> str:
    """Return the message that a table has no row, without its title."""
    names = listed(column.name for column in table.columns)
    return f"has no row below its header ({names})" if table.text else f"has no row ({names})"


def kind_of(sql_type: str) -> ColumnKind:
    """Return what a column of this type holds."""
    name = sql_type.upper()
    if name.endswith("]") or name.startswith(("STRUCT", "MAP", "UNION")):
        return ColumnKind.OTHER
    if name.startswith("DECIMAL"):
        decimals = int(name.rstrip(")").rpartition(",")[2])
        return ColumnKind.DECIMAL if decimals <= PRICE_DECIMALS else ColumnKind.FINE_DECIMAL
    if name.startswith(_TEXTS):
        return ColumnKind.TEXT
    if name.removeprefix("U") in _WHOLE:
        return ColumnKind.WHOLE
    if name in ("FLOAT", "DOUBLE"):
        return ColumnKind.FLOAT
    if name.startswith(("DATE", "TIMESTAMP")):
        return ColumnKind.TIME
    return ColumnKind.OTHER
