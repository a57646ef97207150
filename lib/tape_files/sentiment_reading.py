"""Reads sentiments: whole numbers from 0 to 100, in the order of the table."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from lib.tape_files.column_names import SENTIMENT_NAMES, SYMBOL_NAMES, plain_name
from lib.tape_files.column_numbers import number_form_of_all
from lib.tape_files.layout import only
from lib.tape_files.listing import listed, plural, quoted
from lib.tape_files.number_format import PLAIN, number_sql
from lib.tape_files.reading import CUT, Reading
from lib.tape_files.sealed import SealedDatabase
from lib.tape_files.source import MAX_TAPE_ROWS
from lib.tape_files.sql import quoted_name, quoted_text
from lib.tape_files.table import Table, no_rows
from lib.tape_files.time_columns import columns_called, find_time, time_sql
from lib.tapes.prepared_writer import PreparedWriter
from lib.tapes.tape import TapeError

HIGHEST_SENTIMENT: Final = 100
MAX_ODD_SHARE: Final = 0.05
"""The largest share of numbers that may be outside the scale, or not whole: those are skipped."""
_WORDS: Final = {
    **dict.fromkeys(["positive", "pos", "bullish", "buy"], 75),
    **dict.fromkeys(["neutral", "neu", "hold", "mixed"], 50),
    **dict.fromkeys(["negative", "neg", "bearish", "sell"], 25),
}
"""Words for sentiments, and what a query could make of them."""
_UNITS: Final = "DECIMAL(38, 8)"
_SCALES: Final = (  # the lowest and the highest number, and what makes 0 to 100 of them
    ("-1 to 1", -1, 1, "({} + 1) * 50"),
    ("0 to 1", 0, 1, "{} * 100"),
    ("-10 to 10", -10, 10, "({} + 10) * 5"),
    ("0 to 10", 0, 10, "{} * 10"),
    ("-100 to 100", -100, 100, "({} + 100) / 2"),
)
"""Scales that are not 0 to 100, from the narrowest."""


def read_sentiments(
    database: SealedDatabase, table: Table, reading: Reading, writer: PreparedWriter
) -> Reading:
    """Append the sentiments of a table; return what it and the tables before it had.

    Raises TapeError if it cannot be played.
    """
    reading = copy.deepcopy(reading)
    if not table.head:
        raise TapeError(no_rows(table))
    column = _find_column(database, table, reading.path)
    _check_scale(column, _numbers_of(database, table, column), reading)
    reading.warnings += _symbol_warnings(table)
    reading.warnings += _order_warnings(database, table)
    reading.recognised += [*table.recognised, f"a sentiment a row, from the column {column.name}"]
    _write(database, table, column, reading, writer)
    return reading


class _SentimentColumn(NamedTuple):
    """The column of the sentiments."""

    number: int
    name: str
    """As a message shows it."""
    cell: str
    """SQL of an exact number, NULL if it is none."""
    query_value: str
    """The same in a query over the file."""
    label: str
    """The query that maps a column of words beside it, which may be the sentiments; "" for none."""


def _find_column(database: SealedDatabase, table: Table, path: str) -> _SentimentColumn:
    number = _sentiment_column(table)
    column, name = table.columns[number], _query_name(table, number)
    shown = quoted(column.name)
    worded = [n for n in range(len(table.columns)) if _has_words(table, n)]
    label = _query_of_words(table, worded[0], path) if worded else ""
    if number in worded:
        raise TapeError(f"{shown} has words. {_query_of_words(table, number, path)}")
    form = number_form_of_all(database, table, [number])
    value = name
    if form != PLAIN:
        bare = f"replace({name}, {quoted_text(form.thousands)}, '')" if form.thousands else name
        value = f"CAST(replace({bare}, '{form.decimal}', '.') AS {_UNITS})"
    cell = f"TRY_CAST({number_sql(form, column.text_sql)} AS {_UNITS})"
    return _SentimentColumn(number, shown, cell, value, label)


def _sentiment_column(table: Table) -> int:
    names = [plain_name(column.names[-1]) for column in table.columns]
    for wanted in SENTIMENT_NAMES:
        if found := columns_called(names, wanted):
            return only(table, found, wanted)
    if len(names) == 1:
        return 0
    raise TapeError(
        f"found the columns {listed(column.name for column in table.columns)}; looked for a "
        f"sentiment ({', '.join(SENTIMENT_NAMES)}, or a single column): rename the one meant"
    )


def _query_name(table: Table, number: int) -> str:
    name = table.columns[number].names[-1].strip()
    if name.isidentifier():
        return name
    return quoted_name(name) if name else "column0"


def _has_words(table: Table, number: int) -> bool:
    """Whether a column has words for sentiments."""
    cells = {cell.strip().casefold() for cell in table.cells(number)} - {""}
    return bool(cells) and cells.issubset(_WORDS)


def _query_of_words(table: Table, number: int, path: str) -> str:
    words = sorted({cell.strip().casefold() for cell in table.cells(number)} - {""})
    cases = " ".join(f"WHEN '{word}' THEN {_WORDS[word]}" for word in words)
    return _query(f"CASE lower(trim({_query_name(table, number)})) {cases} END", path)


class _Scale(NamedTuple):
    """What the numbers of a column look like."""

    total: int
    low: Decimal
    high: Decimal
    fractions: int
    """How many are not whole."""
    outside: int
    """How many are not 0 to HIGHEST_SENTIMENT."""


def _numbers_of(database: SealedDatabase, table: Table, column: _SentimentColumn) -> _Scale:
    cells = f"SELECT {column.cell} AS v FROM {table.sql} WHERE NOT {table.misfit.sql}"
    (row,) = database.rows(
        "SELECT count(v), coalesce(min(v), 0), coalesce(max(v), 0), count_if(v <> trunc(v)), "
        f"count_if(v < 0 OR v > {HIGHEST_SENTIMENT}) FROM ({cells})"
    )
    return _Scale(*row)


def _check_scale(column: _SentimentColumn, numbers: _Scale, reading: Reading) -> None:
    """Raise TapeError, with the query that maps them, if the scale is not 0 to 100."""
    few = MAX_ODD_SHARE * numbers.total
    is_small = numbers.high <= 10 and numbers.fractions > few
    is_unit = 0 < numbers.high <= 1 and numbers.low >= -1
    low, high = (f"{number.normalize():f}" for number in (numbers.low, numbers.high))
    if numbers.outside <= few and numbers.fractions <= few and not is_small and not is_unit:
        if 1 < numbers.high <= 10 and numbers.total > 1:
            reading.warnings.append(
                f"all numbers in {column.name} are at most {high}: if their scale is 0 to 10, "
                "multiply them by 10 in a news_query"
            )
        return
    says, value = f"the numbers in {column.name} are {low} to {high}", column.query_value
    if column.label:
        raise TapeError(f"{says}, and may say how sure the words beside them are. {column.label}")
    for scale, lowest, highest, formula in _SCALES:
        if lowest <= numbers.low and numbers.high <= highest and (lowest < 0) == (numbers.low < 0):
            raise TapeError(
                f"{says}: a scale of {scale}, and not 0 to {HIGHEST_SENTIMENT}. "
                f"{_query(f'round({formula.format(value)})', reading.path)}"
            )
    if numbers.outside > few:
        raise TapeError(
            f"{says}, and not 0 to {HIGHEST_SENTIMENT}. "
            f"{_query(f'round(100 * {value} / {high})', reading.path)} if 0 is the lowest"
        )
    raise TapeError(
        f"{numbers.fractions:,} of {numbers.total:,} numbers in {column.name} are not whole. "
        f"{_query(f'round({value})', reading.path)}"
    )


def _query(mapped: str, path: str) -> str:
    file = quoted_text(path or "FILE")
    return f'Map it: news_query = """SELECT {mapped} AS sentiment FROM {file}"""'


def _symbol_warnings(table: Table) -> list[str]:
    for number, column in enumerate(table.columns):
        symbols = {cell.strip() for cell in table.cells(number)}
        if plain_name(column.name) in SYMBOL_NAMES and len(symbols) > 1:
            return [
                f"{quoted(column.name)} has several symbols ({listed(sorted(symbols))}), and each "
                "sentiment is for the whole market"
            ]
    return []


def _order_warnings(database: SealedDatabase, table: Table) -> list[str]:
    time, _ = find_time(table)
    if time is None:
        return []
    last, backward = np.iinfo(np.int64).min, 0
    for (times,) in database.stream(
        f"SELECT {time_sql(table, time)} AS v0 FROM {table.sql}", table.rows
    ):
        moments = np.concatenate(([last], times.values[times.present]))
        backward += int(np.count_nonzero(moments[1:] < moments[:-1]))
        last = moments[-1]
    if not backward:
        return []
    return [
        f"times run backwards {plural(backward, 'time')}: a news_query with ORDER BY sorts them"
    ]


def _write(
    database: SealedDatabase,
    table: Table,
    column: _SentimentColumn,
    reading: Reading,
    writer: PreparedWriter,
) -> None:
    """Write the sentiments of all rows, and count those that have none."""
    name, is_cut = column.name, table.is_cut([column.number])
    sql = (
        f"SELECT coalesce(TRY_CAST(v AS INTEGER), -1), CAST(coalesce(v <> trunc(v), false) AS "
        f"UTINYINT), CAST({table.misfit.sql} AS UTINYINT) "
        f"FROM (SELECT *, {column.cell} AS v FROM {table.sql})"
    )
    total = database.rows(f"SELECT count(*) FROM {table.sql}")[0][0]
    first = reading.rows
    for values, fractions, misfits in database.stream(sql, total):
        row = reading.rows - first
        reading.rows += len(values.values)
        inside = (values.values >= 0) & (values.values <= HIGHEST_SENTIMENT)
        misfit, fraction = misfits.values != 0, fractions.values != 0
        last = np.zeros(len(inside), dtype=np.bool_)
        last[-1] = is_cut and row + len(inside) == total
        reasons = (
            (CUT, last),
            (table.misfit.reason, misfit & ~last),
            (f"{name} is not whole", fraction & ~misfit & ~last),
            (f"no {name} from 0 to {HIGHEST_SENTIMENT}", ~inside & ~fraction & ~misfit & ~last),
        )
        good = inside.copy()
        for reason, where in reasons:
            good &= ~where
            reading.skip(reason, np.flatnonzero(where) + row, table)
        writer.add_sentiments(values.values[good].astype(np.uint8))
        if writer.length > MAX_TAPE_ROWS:
            raise TapeError(f"has more than {MAX_TAPE_ROWS:,} sentiments: play it in parts")
