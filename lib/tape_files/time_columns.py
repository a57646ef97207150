"""Where the time of each row is: in a column, or in a date and a clock time beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from lib.tape_files.column_names import CLOCK_NAMES, INDEX_NAMES, TIME_NAMES, plain_name
from lib.tape_files.listing import quoted
from lib.tape_files.table import ColumnKind, Table
from lib.tape_files.time_format import TimeFormat, find_time_format, time_ambiguity

_TIME_ENDINGS: Final = ("time", "timestamp", "date", " at", " ts")
_OTHER_DATES: Final = ("expir", "matur", "settle", "deliver")
"""What is in the names of dates that are not when a price was."""
_DATE: Final = re.compile(r".*[0-9][-/.:年][0-9A-Za-z]+[-/.:月 ].*")
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AP]M)?", re.IGNORECASE)


class TimeColumns(NamedTuple):
    """The time of a row."""

    columns: tuple[int, ...]
    """One column, or a date and a clock time."""
    format: TimeFormat | None
    """How its text is read; None if its type says it."""


def find_time(table: Table) -> tuple[TimeColumns | None, str]:
    """Return the time, and what is not understood of a column that looks like one."""
    unclear = ""
    for number in _time_candidates(table):
        column, cells = table.columns[number], table.cells(number)
        if any(cell.startswith(("{", "[")) for cell in cells[:1]):  # "data" that holds several
            continue
        clock = _clock_beside(table, number)
        if clock is not None:
            both = ((row[number], row[clock]) for row in table.head)
            samples = [f"{date} {time}" if date and time else "" for date, time in both]
            if found := find_time_format(samples):
                return TimeColumns((number, clock), found), ""
            unclear = unclear or _unclear(table.columns[clock].name, samples)
            continue
        if column.kind is ColumnKind.TIME:
            return TimeColumns((number,), None), ""
        samples = [row[number] or "" for row in table.head]
        if _holds_times(cells) and (found := find_time_format(samples)):
            return TimeColumns((number,), found), ""
        if plain_name(column.names[-1]) in TIME_NAMES and cells:
            unclear = unclear or _unclear(column.name, samples)
    return None, unclear


def time_sql(table: Table, time: TimeColumns) -> str:
    """Return SQL for the time as BIGINT nanoseconds."""
    columns = [table.columns[number] for number in time.columns]
    if time.format is None:
        return f"TRY(epoch_ns(CAST({columns[0].sql} AS TIMESTAMP_NS)))"
    is_padded = any(cell != cell.strip() for n in time.columns for cell in table.cells(n))
    cells = [f"trim({one.text_sql})" if is_padded else one.text_sql for one in columns]
    text = " || ' ' || ".join(cells)
    return f"CAST({time.format.of(f'({text})')} AS BIGINT)"


def _time_candidates(table: Table) -> dict[int, None]:
    """Return the columns that may be the time, the likeliest first."""
    names = [plain_name(column.names[-1]) for column in table.columns]
    first_names = [plain_name(column.names[0]) for column in table.columns]
    found = [
        n
        for name in TIME_NAMES
        for n in columns_called(names, name) + columns_called(first_names, name)
    ]
    found += [n for n, column in enumerate(table.columns) if column.kind is ColumnKind.TIME]
    if names[0] in INDEX_NAMES or first_names[0] in INDEX_NAMES:
        found.append(0)
    for number, name in enumerate(names):
        is_other = any(word in name for word in _OTHER_DATES)
        cells = table.cells(number)[:1]
        if not is_other and (name.endswith(_TIME_ENDINGS) or any(map(_DATE.fullmatch, cells))):
            found.append(number)
    return dict.fromkeys(found)


def _clock_beside(table: Table, date: int) -> int | None:
    """Return the clock time beside a date; None if there is none, or the column is no date."""
    cells = [cell.strip() for cell in table.cells(date)]
    if any(":" in cell or (cell.isdigit() and len(cell) != 8) for cell in cells):
        return None
    names = [plain_name(column.names[-1]) for column in table.columns]
    named = [n for name in CLOCK_NAMES for n in columns_called(names, name)]
    others = [n for n in range(len(names)) if n != date]
    for number in sorted(others, key=lambda n: n not in named):
        clocks = [cell.strip() for cell in table.cells(number) if cell.strip()]
        if clocks and (number in named or all(map(_CLOCK.fullmatch, clocks))):
            return number
    return None


def _holds_times(cells: Sequence[str]) -> bool:
    """Whether a column is no counter, such as the index that pandas writes (0, 1, 2)."""
    return not all(cell.strip().isdigit() and len(cell.strip()) < 8 for cell in cells)


def _unclear(name: str, cells: Sequence[str]) -> str:
    if ambiguity := time_ambiguity(cells):
        return f"in {quoted(name)}, {ambiguity}"
    return f"the times in {quoted(name)} are not understood"


def columns_called(names: Sequence[str], wanted: str) -> list[int]:
    """Return the numbers of the columns of that name."""
    return [number for number, name in enumerate(names) if name == wanted]
