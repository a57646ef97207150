"""A file, or the result of a query, as a `Table` in a database that reads it and nothing else."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from itertools import islice
from pathlib import Path
from typing import Final

from lib.tape_files.dialect import DELIMITERS, Dialect, csv_options, find_dialect
from lib.tape_files.file_kind import FileKind, file_kind
from lib.tape_files.listing import listed, plural
from lib.tape_files.plain_text import PlainText, plain_text
from lib.tape_files.repair import repaired
from lib.tape_files.sealed import SealedDatabase, StatementError
from lib.tape_files.sql import quoted_name, quoted_text
from lib.tape_files.table import HEAD_ROWS, Column, ColumnKind, Misfit, Table, TextRows, kind_of
from lib.tapes.source_files import MAX_SOURCE_FILES, files_in_query
from lib.tapes.tape import TapeError

MAX_TAPE_ROWS: Final = 250_000_000
"""The most rows of a query, and the most ticks of a tape: 3 GB on disk."""
MAX_LINE_BYTES: Final = 2**20
"""The longest line of a text file."""
MAX_EXTRA_CELLS: Final = 64
"""How many cells more than the header has a row may have, for DuckDB to read it."""
_NO_DELIMITER: Final = "\x1f"
QUERY_TITLE: Final = "the query"
"""The title of the table that a query gives."""
REPAIRED: Final = "repaired.csv"
_LINK: Final = "file"
_STAGED: Final = "tape"
_DELIMITER_NAMES: Final = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
    " ": "blanks",
}
_MORE_CELLS: Final = "more cells than the header has names"
_OR_OPEN: Final = ", or a quote that does not close"
_QUOTE_THEM: Final = (
    ": a comma within a number? Quote such numbers, or write them without commas for thousands and "
    "with a point for decimals"
)
_CLOSED: Final = re.compile('Cannot access file "(.*?)" - file system operations are disabled')

OnShare = Callable[[float], None]
"""Called at least every half second with the share of a step that is done; may raise to stop."""


def files_of(path: str) -> list[Path]:
    """Return the file, or those of a pattern by name. Raises TapeError if there is none."""
    # Path.exists raises for a name that is too long, or in a directory without permission.
    if os.path.exists(path) or not has_magic(path):  # noqa: PTH110
        return [Path(path)]
    found = sorted(glob(path, recursive=True))  # noqa: PTH207
    if not found:
        raise TapeError(f"{path}: there is no such file, or no permission to list its directory")
    if len(found) > MAX_SOURCE_FILES:
        raise TapeError(
            f"{path}: means {len(found):,} files, and at most {MAX_SOURCE_FILES:,} are read: join "
            "some (those of a recording with python -m lib.tapes record --join)"
        )
    return [Path(name) for name in found]


@contextmanager
def query_table(
    query: str, scratch: Path, on_share: OnShare
) -> Iterator[tuple[SealedDatabase, Table]]:
    """Run a query, once. Raises TapeError if it fails or is no single SELECT."""
    named = files_in_query(query)
    files = {str(file) for found in named.values() for file in found}
    with SealedDatabase(sorted({*named, *files}), scratch, on_share) as database:
        if not database.is_one_select(query):
            raise TapeError("is not one SELECT: a tape is what one SELECT gives")
        try:
            names = [row[0] for row in database.rows(f"DESCRIBE {query}")]
            if doubled := [name for name, count in Counter(names).items() if count > 1]:
                raise TapeError(
                    f"has more than one column {listed(doubled)}: give each its own name"
                )
            database.rows(
                f"CREATE TEMP TABLE {_STAGED} AS SELECT * FROM query({quoted_text(query)}) "
                f"LIMIT {MAX_TAPE_ROWS + 1}"
            )
        except StatementError as error:
            if closed := _CLOSED.search(str(error)):
                raise TapeError(
                    f"cannot read {closed[1]}: a query reads the files that it names in quotes and "
                    "that are there (a relative name: from the project's root), and nothing else"
                ) from None
            raise
        rows = database.rows(f"SELECT count(*) FROM {_STAGED}")[0][0]
        if rows > MAX_TAPE_ROWS:
            raise TapeError(f"has more than {MAX_TAPE_ROWS:,} rows: play it in parts")
        yield database, _typed(database, QUERY_TITLE, _STAGED, [f"SQL, {plural(rows, 'row')}"])


@contextmanager
def file_table(
    path: Path, scratch: Path, on_share: OnShare, *, lonely: str = "", is_bad_csv: bool = False
) -> Iterator[tuple[SealedDatabase, Table]]:
    """Open a file. Raises TapeError if it cannot be read as a table.

    `lonely` is the name of the only column of a CSV file without a header; "" refuses such a file.
    With `is_bad_csv`, DuckDB has stopped at a row of it: it is read row by row first, in Python.
    """
    kind = file_kind(path)
    source = path
    if has_magic(str(path)):  # DuckDB would take the name for a pattern
        source = scratch / _LINK
        source.unlink(missing_ok=True)
        source.symlink_to(path)
    if kind is FileKind.PARQUET:
        with SealedDatabase([str(source)], scratch, on_share) as database:
            sql = f"read_parquet({quoted_text(str(source))})"
            try:
                table = _typed(database, str(path), sql, ["Parquet"])
            except StatementError as error:
                raise TapeError(
                    f"is Parquet, and damaged or cut off ({error}): download or write it again"
                ) from None
            yield database, table
        return
    size, done = path.stat().st_size, 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        on_share(min(done / max(4 * size, 1), 1.0))

    text = plain_text(path, scratch, on_bytes)
    if text.path == path:
        text = text._replace(path=source)
    readable = [str(text.path), str(scratch / REPAIRED)]
    with SealedDatabase(readable, scratch, on_share) as database:
        try:
            if kind is FileKind.JSON_LINES:
                table = _json_table(path, text)
            else:
                table = _csv_table(path, text, scratch, lonely, on_share if is_bad_csv else None)
            yield database, _with_head(database, table)
        finally:
            if text.path != path:
                text.path.unlink(missing_ok=True)


def _typed(database: SealedDatabase, title: str, sql: str, recognised: list[str]) -> Table:
    columns = tuple(
        Column((name,), quoted_name(name), kind_of(sql_type))
        for name, sql_type in database.columns(sql)
    )
    rows = database.rows(f"SELECT count(*) FROM {sql}")[0][0]
    return _with_head(database, Table(title, sql, columns, recognised, rows))


def _with_head(database: SealedDatabase, table: Table) -> Table:
    cells = ", ".join(column.text_sql for column in table.columns)
    return table._replace(head=database.rows(f"SELECT {cells} FROM {table.sql} LIMIT {HEAD_ROWS}"))


# --- text -----------------------------------------------------------------------------------------


def _first_lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        lines: list[str] = []
        while len(lines) < HEAD_ROWS and (line := file.readline(MAX_LINE_BYTES)):
            if len(line) == MAX_LINE_BYTES:
                raise TapeError(
                    f"line {len(lines) + 1} is longer than {MAX_LINE_BYTES:,} characters, "
                    "which is no table"
                )
            lines.append(line.rstrip("\r\n"))
    return lines


def _about_how_many(path: Path, lines: list[str]) -> int:
    """Return about how many lines a file has that begins with these."""
    return path.stat().st_size * len(lines) // sum(len(line) + 1 for line in lines)


def _csv_table(
    path: Path, text: PlainText, scratch: Path, lonely: str, on_repair: OnShare | None
) -> Table:
    lines = _first_lines(text.path)
    try:
        dialect = find_dialect(lines)
        before = dialect.skip + len(dialect.header)
    except TapeError:
        if not lonely or any(delimiter in line for line in lines for delimiter in DELIMITERS):
            raise
        dialect, before = Dialect(",", '"', 0, ((lonely,),), []), 0
    delimiter, width = dialect.delimiter, max(map(len, dialect.header))
    header = [row + ("",) * (width - len(row)) for row in dialect.header]
    columns = tuple(
        Column(tuple(names), f"c{number}", ColumnKind.TEXT)
        for number, names in enumerate(zip(*header, strict=True))
    )
    place = TextRows(text.path, before, dialect.quote)
    last_row_cells = None if text.ends_with_newline else _cells_of_last_line(text.path, dialect)
    if on_repair:
        copy = scratch / REPAIRED
        repaired(text.path, dialect, before, width, copy, on_repair)
        text = text._replace(path=copy)
        dialect, before = Dialect(",", '"', 0, (), dialect.notes), 0
    extra = [f"x{number}" for number in range(min(width + 1, MAX_EXTRA_CELLS))]
    empty = [column.sql for column in columns[1:] if not column.name]
    names = [*(column.sql for column in columns), *extra]
    what = ", ".join([*text.notes, "CSV", f"with {_DELIMITER_NAMES[delimiter]}"])
    reason = _MORE_CELLS + (_OR_OPEN if on_repair else "")
    return Table(
        str(path),
        _read_csv(text.path, dialect.delimiter, dialect.quote, before, names),
        columns,
        [what, *dialect.notes],
        _about_how_many(text.path, lines),
        misfit=Misfit(_has_text([*empty, *extra]), reason, _QUOTE_THEM),
        last_row_cells=last_row_cells,
        text=place,
    )


def _has_text(cells: list[str]) -> str:
    """Return SQL that is true if one of the cells is not blank; mostly all are NULL."""
    names = ", ".join(cells)
    return f"(coalesce({names}) IS NOT NULL AND trim(concat({names})) <> '')"


def _read_csv(path: Path, delimiter: str, quote: str, before: int, names: Sequence[str]) -> str:
    columns = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    quote = quoted_text(quote)
    return (
        f"read_csv({quoted_text(str(path))}, auto_detect = false, header = false, "
        f"skip = {before}, delim = {quoted_text(delimiter)}, "
        f"quote = {quote}, escape = {quote}, null_padding = true, columns = {{{columns}}})"
    )


def _cells_of_last_line(path: Path, dialect: Dialect) -> int | None:
    """Return how many cells the last line has; None if its last cell is quoted, and so whole."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - MAX_LINE_BYTES, 0))
        line = file.read().decode(errors="replace").rpartition("\n")[2]
    quote = dialect.quote
    if quote and line.endswith(quote) and line.count(quote) % 2 == 0:
        return None
    return len(next(csv.reader([line], **csv_options(dialect.delimiter, quote)), []))


def _json_table(path: Path, text: PlainText) -> Table:
    keys: dict[str, None] = {}
    first = _first_lines(text.path)
    for line in first:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            keys |= dict.fromkeys(islice(found, HEAD_ROWS))
    if not keys:
        raise TapeError("looks like JSON, and no line of its first ones is an object")
    lines = _read_csv(text.path, _NO_DELIMITER, "", 0, ["line"])
    return Table(
        str(path),
        f"(SELECT line, json_valid(line) AS is_valid FROM {lines} WHERE trim(line) <> '')",
        tuple(Column((key,), _json_cell(key), ColumnKind.TEXT) for key in keys),
        [", ".join([*text.notes, "JSON lines"])],
        _about_how_many(text.path, first),
        misfit=Misfit("NOT is_valid", "no JSON"),
        text=TextRows(text.path, 0, ""),
    )


def _json_cell(key: str) -> str:
    """Return SQL for a value as text: a long number as it is written, not as a float prints it."""
    quoted = json.dumps(key, ensure_ascii=False)
    value = f"json_extract_string(line, {quoted_text('$.' + quoted)})"
    pattern = re.escape(quoted) + r'\s*:\s*"?(-?[0-9][0-9.eE+\-]*)'
    written = f"regexp_extract(line, {quoted_text(pattern)}, 1)"
    return (
        f"CASE WHEN NOT is_valid THEN NULL WHEN (strlen({value}) >= 15 OR position('.' IN {value}) "
        f"> 8) AND TRY_CAST({written} AS DOUBLE) = TRY_CAST({value} AS DOUBLE) THEN {written} "
        f"ELSE {value} END"
    )
