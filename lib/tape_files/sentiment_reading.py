"""Reads sentiments: whole numbers from 0 to 100, in the order of the table."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from lib.tape_files.arrow_stream import Numbers
from lib.tape_files.column_names import SENTIMENT_NAMES, plain_name
from lib.tape_files.lines import place_of
from lib.tape_files.listing import listed, quoted
from lib.tape_files.number_format import (
    currency_sql,
    find_number_format,
    number_sql,
    shape_sql,
)
from lib.tape_files.sealed import SealedDatabase, quoted_name
from lib.tape_files.skips import CUT, Skips
from lib.tape_files.source import MAX_TAPE_ROWS
from lib.tape_files.table import Table
from lib.tapes.findings import Findings
from lib.tapes.prepared_writer import PreparedWriter
from lib.tapes.tape import TapeError

HIGHEST: Final = 100
MAX_ODD_SHARE: Final = 0.05
"""The largest share of numbers that may be outside the scale, or not whole: those are skipped."""
_UNITS: Final = "DECIMAL(38, 8)"
_SCALES: Final = (  # the lowest and the highest number, and what makes 0 to 100 of them
    ("-1 to 1", -1, 1, "({} + 1) * 50"),
    ("0 to 1", 0, 1, "{} * 100"),
    ("-10 to 10", -10, 10, "({} + 10) * 5"),
    ("0 to 10", 0, 10, "{} * 10"),
    ("-100 to 100", -100, 100, "({} + 100) / 2"),
)
"""Scales that are not 0 to 100, from the narrowest."""


@dataclass
class SentimentReading:
    """What the tables had, up to now."""

    recognised: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skips: Skips = field(default_factory=Skips)
    rows: int = 0

    def findings(self, title: str, length: int) -> Findings:
        """Return the findings. Raises TapeError if there is no sentiment."""
        warnings = [*self.warnings, *self.skips.warnings(self.rows, "row")]
        if not length:
            raise TapeError(
                "; ".join([f"{title}: has no sentiment from 0 to {HIGHEST}", *warnings])
            )
        return Findings(
            recognised=list(dict.fromkeys(self.recognised)),
            skipped=self.skips.total,
            warnings=warnings,
        )


def read_sentiments(
    database: SealedDatabase, table: Table, reading: SentimentReading, writer: PreparedWriter
) -> SentimentReading:
    """Append the sentiments of a table; return what it and the tables before it had.

    Raises TapeError if it cannot be played.
    """
    reading = copy.deepcopy(reading)
    try:
        number = _sentiment_column(table)
        column = table.columns[number]
        cell = _number_sql(database, table, number)
        numbers = _numbers_of(database, table, cell)
        _check_scale(table, number, numbers)
        reading.warnings += _scale_warnings(numbers, column.name)
        reading.recognised += [
            *table.recognised,
            f"a sentiment a row, from the column {column.name}",
        ]
        _write(database, table, number, cell, reading, writer)
        return reading
    except TapeError as error:
        raise type(error)(f"{table.title}: {error}") from None


def _sentiment_column(table: Table) -> int:
    names = [plain_name(column.names[-1]) for column in table.columns]
    for wanted in SENTIMENT_NAMES:
        found = [number for number, name in enumerate(names) if name == wanted]
        if len(found) > 1:
            raise TapeError(f"has {len(found)} columns named {wanted}: rename those not meant")
        if found:
            return found[0]
    if len(names) == 1:
        return 0
    raise TapeError(
        f"found the columns {listed(column.name for column in table.columns)}; looked for a "
        f"sentiment ({', '.join(SENTIMENT_NAMES)}, or a single column): rename the one meant"
    )


def _number_sql(database: SealedDatabase, table: Table, number: int) -> str:
    """Return the SQL for a sentiment as an exact number, NULL if it is none."""
    column = table.columns[number]
    if column.kind.is_number:
        return f"TRY_CAST(CAST({column.sql} AS VARCHAR) AS {_UNITS})"
    text = column.text_sql
    counts = {
        (shape, currency): count
        for shape, currency, count in database.rows(
            f"SELECT {shape_sql(text)} AS shape, {currency_sql(text)} AS currency, count(*) "
            f"FROM {table.sql} GROUP BY shape, currency"
        )
    }
    try:
        form = find_number_format(counts)
    except ValueError as error:
        raise TapeError(f"the column {quoted(column.name)} {error}") from None
    return f"TRY_CAST({number_sql(form, text)} AS {_UNITS})"


class _Numbers(NamedTuple):
    """What the numbers of a column look like."""

    total: int
    low: Decimal
    high: Decimal
    fractions: int
    """How many are not whole."""
    outside: int
    """How many are not 0 to HIGHEST."""


def _numbers_of(database: SealedDatabase, table: Table, cell: str) -> _Numbers:
    row = database.rows(
        "SELECT count(v), coalesce(min(v), 0), coalesce(max(v), 0), count_if(v <> trunc(v)), "
        f"count_if(v < 0 OR v > {HIGHEST}) FROM "
        f"(SELECT {cell} AS v FROM {table.sql} WHERE NOT coalesce({table.misfit_sql}, false))"
    )[0]
    return _Numbers(*row)


def _check_scale(table: Table, number: int, numbers: _Numbers) -> None:
    """Raise TapeError, with the query that maps them, if the numbers are not 0 to HIGHEST."""
    few = MAX_ODD_SHARE * numbers.total
    is_small = numbers.high <= 10 and numbers.fractions > few
    is_unit = 0 < numbers.high <= 1 and numbers.low >= -1
    if numbers.outside <= few and numbers.fractions <= few and not is_small and not is_unit:
        return
    column = table.columns[number]
    says = (
        f"the numbers in {quoted(column.name)} are {numbers.low.normalize():f} to "
        f"{numbers.high.normalize():f}"
    )
    name = column.names[-1].strip()
    if not name.isidentifier():
        name = quoted_name(name) if name else "column0"
    file = table.title if table.text else "FILE"
    for scale, low, high, formula in _SCALES:
        if low <= numbers.low and numbers.high <= high and (low < 0) == (numbers.low < 0):
            mapped = f"round({formula.format(name)})"
            raise TapeError(
                f"{says}: a scale of {scale}, and not 0 to {HIGHEST}. {_query(mapped, file)}"
            )
    if numbers.outside > few:
        mapped = f"round(100 * {name} / {numbers.high.normalize():f})"
        raise TapeError(
            f"{says}, and not 0 to {HIGHEST}. If 0 is the lowest: {_query(mapped, file)}"
        )
    raise TapeError(
        f"{numbers.fractions:,} of {numbers.total:,} numbers in {quoted(column.name)} are not "
        f"whole. {_query(f'round({name})', file)}"
    )


def _query(mapped: str, file: str) -> str:
    return f'Map it: news_query = """SELECT {mapped} AS sentiment FROM \'{file}\'"""'


def _scale_warnings(numbers: _Numbers, name: str) -> list[str]:
    if 1 < numbers.high <= 10 and numbers.total > 1:
        return [
            f"all numbers in {quoted(name)} are at most {numbers.high.normalize():f}: if their "
            "scale is 0 to 10, multiply them by 10 in a news_query"
        ]
    return []


def _write(
    database: SealedDatabase,
    table: Table,
    number: int,
    cell: str,
    reading: SentimentReading,
    writer: PreparedWriter,
) -> None:
    """Write the sentiments of all rows, and count those that have none."""
    name = quoted(table.columns[number].name)
    is_cut = table.last_row_cells is not None and number >= table.last_row_cells - 1
    sql = (
        f"SELECT coalesce(TRY_CAST(v AS INTEGER), -1), CAST(coalesce(v <> trunc(v), false) AS "
        f"UTINYINT), CAST(coalesce({table.misfit_sql}, false) AS UTINYINT) "
        f"FROM (SELECT *, {cell} AS v FROM {table.sql})"
    )
    total = database.rows(f"SELECT count(*) FROM {table.sql}")[0][0]
    first = reading.rows
    for values, fractions, misfits in database.stream(sql, total):
        assert isinstance(values, Numbers)
        assert isinstance(fractions, Numbers)
        assert isinstance(misfits, Numbers)
        row = reading.rows - first
        reading.rows += len(values.values)
        inside = (values.values >= 0) & (values.values <= HIGHEST)
        misfit, fraction = misfits.values != 0, fractions.values != 0
        last = np.zeros(len(inside), dtype=np.bool_)
        last[-1] = is_cut and row + len(inside) == total
        reasons = (
            (CUT, last),
            (table.misfit, misfit & ~last),
            (f"{name} is not whole", fraction & ~misfit & ~last),
            (f"no {name} from 0 to {HIGHEST}", ~inside & ~fraction & ~misfit & ~last),
        )
        good = inside.copy()
        for reason, where in reasons:
            good &= ~where
            if where.any():
                bad = np.flatnonzero(where)
                place = (
                    ""
                    if reason in reading.skips.counts
                    else place_of(table.text, row + int(bad[0]))
                )
                reading.skips.add(reason, len(bad), place)
        writer.add_sentiments(values.values[good].astype(np.uint8))
        if writer.length > MAX_TAPE_ROWS:
            raise TapeError(f"has more than {MAX_TAPE_ROWS:,} sentiments: play it in parts")
