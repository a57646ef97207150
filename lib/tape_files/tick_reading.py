"""Reads the ticks of one table after another: finds what is where, then goes through the rows.

A way through the rows begins with what the first rows show. If the others have further symbols, or
numbers that are written otherwise, all of them are asked first, and it begins anew.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from glob import has_magic
from typing import Final

from lib.tape_files.column_numbers import number_form_of_all, number_form_of_head
from lib.tape_files.layout import Layout, find_layout
from lib.tape_files.listing import counted, listed
from lib.tape_files.number_format import NumberFormat
from lib.tape_files.reading import TickReading
from lib.tape_files.sealed import SealedDatabase
from lib.tape_files.second_header import refuse_second_header
from lib.tape_files.sql import quoted_text
from lib.tape_files.symbol_plan import plan_symbols
from lib.tape_files.table import Table, no_rows
from lib.tape_files.tick_pass import PlayedPrice, TickPass, TickSink, UnexpectedSymbolError
from lib.tapes.tape import TapeError

MAX_FOUND_SYMBOLS: Final = 10_000
"""How many symbols of a file are looked at: those that may be ours, then the most frequent."""
MAX_EXPECTED_SYMBOLS: Final = 100
"""How many symbols the first rows may have, to be looked for one by one in all rows."""


def read_ticks(
    database: SealedDatabase, table: Table, reading: TickReading, sink: TickSink
) -> TickReading:
    """Append the ticks of a table to `sink`; return what it and the tables before it had.

    Raises TapeError if it cannot be played; `sink` then has arbitrary ticks more than before.
    """
    if not table.head:
        return reading.with_unplayed(f"{table.title}: {no_rows(table)}")
    layout = find_layout(table, reading.recipe.symbols, reading.recipe.symbol)
    if has_magic(reading.recipe.path):
        layout = layout.among_other_files(table)
    if layout.time is None and reading.recipe.time_order == "sort":
        raise TapeError(_cannot_sort(table, layout))
    first = _symbols_of_head(table, layout, reading.recipe.symbols)
    if first is not None:
        mark = sink.length
        try:
            return _read_planned(database, table, layout, first, False, reading, sink)
        except UnexpectedSymbolError:
            sink.cut_back(mark)
    found = _symbols_in(database, table, layout, reading.recipe.symbols)
    return _read_planned(database, table, layout, found, True, reading, sink)


def _read_planned(
    database: SealedDatabase,
    table: Table,
    layout: Layout,
    found: Mapping[str, int],
    are_all: bool,
    reading: TickReading,
    sink: TickSink,
) -> TickReading:
    """Read a table whose symbols are known, and find out how its numbers are written.

    `found` is how many rows each symbol has, of the first rows unless `are_all`: then a further one
    raises UnexpectedSymbolError.
    """
    plan = plan_symbols(table, layout, found, reading.recipe)
    if not plan.index_of and plan.whole is None:
        return reading.with_unplayed(
            f"{table.title}: {layout.where_symbols_are(table)} has "
            f"{counted(plan.others) or 'no symbol'}, and none of the configured symbols "
            f"{listed(reading.recipe.symbols)}: configure those that are to be played"
            + (", or set symbol for a file of one" if len(plan.others) == 1 else "")
        )
    expected = None
    if layout.symbol is not None and not are_all:
        expected = [name for name in found if name not in plan.index_of]
    if layout.is_wide:
        played = [
            PlayedPrice(price.columns, plan.index_of[price.symbol])
            for price in layout.prices
            if price.symbol in plan.index_of
        ]
    else:
        played = [PlayedPrice(layout.prices[0].columns, plan.whole)]
    columns = [number for price in played for number in price.columns]
    mark = sink.length

    def attempt(form: NumberFormat) -> TickPass:
        tried = TickPass(table, layout, plan, expected, played, form, copy.deepcopy(reading), sink)
        tried.read(database)
        return tried

    if (form := number_form_of_head(table, columns)) is not None:
        done = attempt(form)
        if not done.bad:
            return done.finish()
    if table.text:
        refuse_second_header(database, table, columns)
    better = number_form_of_all(database, table, columns)
    if better != form:  # some cells are written otherwise than the first ones
        sink.cut_back(mark)
        done = attempt(better)
    return done.finish()


def _cannot_sort(table: Table, layout: Layout) -> str:
    what = (
        layout.unclear_time
        or f"no column is a time ({listed(column.name for column in table.columns)})"
    )
    return f'cannot be sorted by time (time_order = "sort"): {what}'


def _symbols_of_head(
    table: Table, layout: Layout, symbols: tuple[str, ...]
) -> Mapping[str, int] | None:
    """Return the symbols of the first rows, if they are likely to be those of all rows.

    That saves a way through the file. None if only all rows can say it.
    """
    if layout.symbol is None:
        return {price.symbol: 1 for price in layout.prices} if layout.is_wide else {}
    found = Counter(cell for cell in table.cells(layout.symbol) if cell.strip())
    names = {cell.strip() for cell in found}
    is_likely = names.issuperset(symbols) and len(found) <= MAX_EXPECTED_SYMBOLS
    return found if is_likely else None


def _symbols_in(
    database: SealedDatabase, table: Table, layout: Layout, symbols: tuple[str, ...]
) -> Mapping[str, int]:
    """Return how many rows each symbol has, by its spelling."""
    assert layout.symbol is not None
    column = table.columns[layout.symbol].text_sql
    ours = ", ".join(quoted_text(symbol.lower()) for symbol in symbols)
    return dict(
        database.rows(
            f"SELECT symbol, count(*) FROM (SELECT {column} AS symbol FROM {table.sql}"
            ") WHERE trim(symbol) <> '' "
            f"GROUP BY symbol ORDER BY lower(trim(symbol)) IN ({ours}) DESC, count(*) DESC, symbol "
            f"LIMIT {MAX_FOUND_SYMBOLS}"
        )
    )
