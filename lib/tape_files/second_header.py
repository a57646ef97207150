"""Finds a header in the middle of a table: what follows it may have other columns."""

from __future__ import annotations

from typing import Final

from lib.tape_files.column_names import PRICE_NAMES, SYMBOL_NAMES, TIME_NAMES, plain_name
from lib.tape_files.number_format import is_missing
from lib.tape_files.sealed import SealedDatabase
from lib.tape_files.table import Table
from lib.tapes.tape import TapeError

MAX_SEARCHED_ROWS: Final = 1000
"""How many of the rows without a price are looked at."""
_WORDS: Final = frozenset([*PRICE_NAMES, *SYMBOL_NAMES, *TIME_NAMES, "open", "high", "low"])


def refuse_second_header(database: SealedDatabase, table: Table, columns: list[int]) -> None:
    """Raise TapeError if a row is a header, and not the same as the first one.

    `columns` are those of the prices: a header has a word there.
    """
    cells = ", ".join(column.text_sql for column in table.columns)
    words = " OR ".join(
        f"regexp_matches({table.columns[number].text_sql}, '^\\D+$')" for number in columns
    )
    headers = {
        tuple(map(plain_name, names))
        for names in zip(*(column.names for column in table.columns), strict=True)
    }
    names = _WORDS.union(*headers)
    for number, *row in database.rows(
        f"SELECT number, {cells} FROM (SELECT row_number() OVER () AS number, * FROM {table.sql}) "
        f"WHERE {words} LIMIT {MAX_SEARCHED_ROWS}"
    ):
        found = tuple(plain_name(cell or "") for cell in row)
        held = [cell for cell in found if not is_missing(cell)]
        is_header = names.intersection(held) and not any(map(_begins_as_number, held))
        if is_header and found not in headers:
            raise TapeError(
                f"{table.place_of(number - 1)} is another header, whose columns are not "
                "those of the first one: make a file of what follows it"
            )


def _begins_as_number(cell: str) -> bool:
    return cell.lstrip("+-$€£ ")[:1].isdigit()
