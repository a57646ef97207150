"""How the numbers in some columns of a table are written, by its first rows or by all of them."""

from __future__ import annotations

from collections import Counter
from typing import Final

from lib.tape_files.column_names import CLOCK_NAMES, TIME_NAMES, plain_name
from lib.tape_files.listing import listed, quoted
from lib.tape_files.number_format import (
    PLAIN,
    NumberFormat,
    common_decimal,
    count_shapes,
    currency_sql,
    find_number_format,
    is_missing,
    shape_sql,
    shows_decimal,
)
from lib.tape_files.sealed import SealedDatabase
from lib.tape_files.table import HEAD_ROWS, Table
from lib.tapes.tape import TapeError

MAX_OTHER_COLUMNS: Final = 20
MAX_OTHER_CELLS: Final = 100
"""How many other columns, and cells of each, are looked at for the decimal sign of the file."""


def number_form_of_head(table: Table, columns: list[int]) -> NumberFormat | None:
    """Return how numbers are written, by the first rows; None if those do not say it."""
    texts = [n for n in columns if not table.columns[n].kind.is_number]
    if not texts:
        return PLAIN
    counts = count_shapes(cell for n in texts for cell in table.cells(n))
    if len(table.head) == HEAD_ROWS and not shows_decimal(counts):
        return None  # 999 in the first rows, and 1.002 further down
    try:
        return find_number_format(counts, _decimal_elsewhere(table, columns))
    except ValueError:
        return None


def number_form_of_all(database: SealedDatabase, table: Table, columns: list[int]) -> NumberFormat:
    """Return how numbers are written, by all rows. Raises TapeError if it cannot be said."""
    counts: Counter[tuple[str, str]] = Counter()
    texts = [n for n in columns if not table.columns[n].kind.is_number]
    if not texts:
        return PLAIN
    for number in texts:
        text = table.columns[number].text_sql
        for shape, currency, count in database.rows(
            f"SELECT {shape_sql(text)} AS shape, {currency_sql(text)} AS currency, count(*) "
            f"FROM {table.sql} WHERE NOT {table.misfit.sql} GROUP BY shape, currency"
        ):
            counts[shape, currency] += count
    try:
        return find_number_format(counts, _decimal_elsewhere(table, columns))
    except ValueError as error:
        names = listed(table.columns[number].name for number in texts)
        cells = [cell for n in texts for cell in table.cells(n) if not is_missing(cell)]
        shown = f"; the first cell is {quoted(cells[0])}" if cells else "; its cells are empty"
        raise TapeError(f"the column {names} {error}{shown}") from None


def _decimal_elsewhere(table: Table, columns: list[int]) -> str:
    """Return the decimal sign in the other columns; "" if they do not show one. Times do not."""
    others = [
        table.cells(number)[:MAX_OTHER_CELLS]
        for number, column in enumerate(table.columns[:MAX_OTHER_COLUMNS])
        if number not in columns and plain_name(column.names[-1]) not in TIME_NAMES + CLOCK_NAMES
    ]
    return common_decimal(others)
