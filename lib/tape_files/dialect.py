"""The dialect of a CSV file: its delimiter, its quotes, and where its header is."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from typing import Any, Final, NamedTuple

from lib.tape_files.column_names import PRICE_NAMES, SYMBOL_NAMES, TIME_NAMES, plain_name
from lib.tape_files.number_format import is_missing, is_number_like
from lib.tape_files.table import HEAD_ROWS
from lib.tape_files.time_format import is_time_like
from lib.tapes.tape import TapeError
from lib.text import shortened

MAX_LINES_BEFORE_HEADER: Final = 250
"""How far down a header is looked for."""
MIN_SAMPLE_LINES: Final = 3
MAX_SAMPLE_CHARACTERS: Final = 200_000
"""How many characters decide at most, for files with very long lines."""
MAX_SHOWN_CHARACTERS: Final = 100
"""How much of a line a message shows."""
MAX_SHOWN_COLUMNS: Final = 20
"""How many names a header has that a message advises."""
DELIMITERS: Final = (",", ";", "\t", "|")
_SPACE: Final = " "
_UNLIKELY: Final = 0.1
"""What the score of a reading is multiplied with that another one should nearly always beat."""
_NEARLY_ALL: Final = 0.9
_COLUMN_SAMPLE: Final = 50
"""How many rows below a header show what its columns hold."""

_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t| :^~])"?', re.IGNORECASE)
_COMMENTS: Final = ("#", "//", "%", "--")
_SPLIT_AGAIN: Final = re.compile(r"[,;\t|\n]|^\".*\"$|^'.*'$|^\"|\"$", re.DOTALL)
_PANDAS_LEVELS: Final = frozenset(["", "price", "ticker"])
"""What the first cell is of the rows that yfinance's columns of two levels become."""
_PANDAS_INDEX: Final = frozenset(["date", "datetime", "time", "timestamp"])
"""What the only cell is of the row that names their index."""
_HEADER_WORDS: Final = frozenset(
    [*PRICE_NAMES, *SYMBOL_NAMES, *TIME_NAMES, "bid", "ask", "open", "high", "low", "volume"]
)
"""Words of headers: they tell one from a banner of as many cells."""
MAX_HEADER_ROWS: Final = 3

Row = tuple[str, ...]


class Dialect(NamedTuple):
    """How to read a CSV file, as far as its first lines show."""

    delimiter: str
    quote: str
    """``"``, ``'``, or "" where quotes mean nothing."""
    skip: int
    """How many lines are before the header; blank ones count."""
    header: tuple[Row, ...]
    """The header rows as they are: one, or several where pandas wrote its levels."""
    notes: list[str]
    """What was skipped, for people."""


class _Candidate(NamedTuple):
    """The sample as one delimiter and one quote read it."""

    delimiter: str
    quote: str
    skip: int
    header: tuple[Row, ...]
    """Empty if the first row holds data."""
    rows: list[Row]
    """Those below the header that are not blank."""
    score: float
    """0 to 1: how well the rows fit the header and each cell holds one thing."""

    @property
    def width(self) -> int:
        return len(self.header[0] if self.header else self.rows[0])

    @property
    def rank(self) -> tuple[float, bool, int]:
        return self.score, bool(self.header), self.width


def find_dialect(lines: Sequence[str]) -> Dialect:
    """Return the dialect that the first lines are in; `lines` are without their ends.

    Raises TapeError if there is no header or nothing to read.
    """
    sample = _sample(lines)
    declared = [found[1] for line in sample[:1] if (found := _SEPARATOR_LINE.fullmatch(line))]
    best = _best(sample, declared or DELIMITERS)
    if best is None:
        raise TapeError("has no row that can be read: it wants a header and rows of data")
    if not declared and (best.width == 1 or not best.header):
        spaced = _best(sample, _SPACE)
        if spaced and spaced.score == 1 and spaced.width > 1 and spaced.header and spaced.rows:
            best = spaced
    if not best.header:
        raise TapeError(no_header(best.delimiter, best.rows))
    if other := _delimiter_of_rows(sample, best):
        raise TapeError(
            f"has {best.delimiter!r} between the names of its header, and {other!r} between the "
            f"cells of its rows: write the header with {other!r}, too"
        )
    notes = []
    if skipped := [line for line in sample[: best.skip] if line.strip()]:
        shown = shortened(skipped[0].strip(), MAX_SHOWN_CHARACTERS)
        what = "1 line" if len(skipped) == 1 else f"{len(skipped)} lines"
        notes.append(f"{what} before the header skipped: {shown}")
    return Dialect(best.delimiter, best.quote, best.skip, best.header, notes)


def csv_options(delimiter: str, quote: str) -> dict[str, Any]:
    """Return what csv.reader is to be called with."""
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return {"delimiter": delimiter, "quotechar": quote or None, "quoting": quoting}


def _sample(lines: Sequence[str]) -> list[str]:
    sizes = accumulate(map(len, lines[:HEAD_ROWS]))
    count = sum(1 for _ in takewhile(lambda size: size <= MAX_SAMPLE_CHARACTERS, sizes))
    return [line.removeprefix("\ufeff") for line in lines[: max(count, MIN_SAMPLE_LINES)]]


def _best(sample: list[str], delimiters: Iterable[str]) -> _Candidate | None:
    text = "".join(sample)
    # Quotes that mean nothing before those of one stroke, which are apostrophes more often.
    quotes = ['"', *([""] if '"' in text else []), *(["'"] if "'" in text else [])]
    candidates = [
        candidate
        for delimiter in delimiters
        for quote in quotes
        if (candidate := _candidate(sample, delimiter, quote))
    ]
    # max() keeps the first of equals: the comma, and the double quote.
    return max(candidates, key=lambda candidate: candidate.rank, default=None)


def _candidate(sample: list[str], delimiter: str, quote: str) -> _Candidate | None:
    starts, rows = [], []
    reader = csv.reader(
        (f"{line}\n" for line in sample),
        **csv_options(delimiter, quote),
        skipinitialspace=delimiter != _SPACE,  # as DuckDB does before a quote
        strict=True,
    )
    start = 0
    read_share = 1.0
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                starts.append(start)
                rows.append(tuple(row))
            start = reader.line_num
    except csv.Error:  # a quote that does not close, or closes within a cell
        read_share = start / len(sample)
    if not rows:
        return None
    first, header_rows = _find_header(rows)
    header, body = tuple(rows[first : first + header_rows]), rows[first + header_rows :]
    score = read_share * _fit(header, body) * _cleanness(header) * _cleanness(body[:_COLUMN_SAMPLE])
    if not header or (first and not body):
        score *= _UNLIKELY  # all would be data, or banner and header
    return _Candidate(delimiter, quote, starts[first], header, body, score)


def _find_header(rows: list[Row]) -> tuple[int, int]:
    """Return which row is the first below a banner, and how many header rows begin there."""
    width = _usual_width(rows)
    index = _known_header(rows[:MAX_LINES_BEFORE_HEADER], width)
    while index < len(rows[:MAX_LINES_BEFORE_HEADER]):
        row, below = rows[index], rows[index + 1 : index + 1 + _COLUMN_SAMPLE]
        if not _is_banner(row, below, width):
            break
        index += 1
    else:
        return 0, 0
    if not _is_header(row, below):
        return index, 0
    count = 1
    while count < MAX_HEADER_ROWS and _continues_header(row, rows, index + count):
        count += 1
    return index, count


def _known_header(rows: list[Row], width: int) -> int:
    """Return which row has the most words of headers, if those before it are no data; or else 0."""
    words = [_header_words(row) if len(row) == width and _is_all_text(row) else 0 for row in rows]
    index = max(range(len(rows)), key=words.__getitem__)
    is_levels = _continues_header(rows[0], rows, 1)
    return 0 if is_levels or any(map(_may_be_data, rows[:index])) else index


def _may_be_data(row: Row) -> bool:
    """Whether a row is more than a title or a setting: two values, or one that begins it."""
    return len(row) > 1 and (_is_value(row[0]) or sum(map(_is_value, row)) > 1)


def _is_banner(row: Row, below: list[Row], width: int) -> bool:
    """Whether a row is something else than the header or data: a title, an address, a comment."""
    if not below:
        return False
    if _SEPARATOR_LINE.fullmatch(_SPACE.join(row).strip()):
        return True
    is_header_next = _is_all_text(below[0]) and len(below[0]) == width
    if row[0].lstrip().startswith(_COMMENTS):  # but a header may be a comment, for gnuplot
        return len(row) != width or is_header_next or below[0][0].lstrip().startswith(_COMMENTS)
    if not any(cell.strip() for cell in row[1:]) and width > 1:
        return len(row) == 1 or is_header_next
    return is_header_next and _is_all_text(row) and len(row) != width


def _header_words(row: Row) -> int:
    return sum(plain_name(cell) in _HEADER_WORDS for cell in row)


def _is_header(row: Row, below: list[Row]) -> bool:
    """Whether a row names columns: words, at least where the rows below have numbers or times."""
    if _is_all_text(row):
        return True
    for column, cell in enumerate(row):
        cells = [other[column] for other in below if column < len(other)]
        values = sum(_is_value(other) for other in cells)
        if (_is_word(cell) or (column == 0 and not cell.strip())) and values * 2 > len(cells):
            return True
    return False


def _continues_header(first: Row, rows: list[Row], index: int) -> bool:
    if index >= len(rows):
        return False
    row = rows[index]
    if len(row) != len(first) or first[0].strip().casefold() not in _PANDAS_LEVELS:
        return False
    start = row[0].strip().casefold()
    if start in _PANDAS_INDEX:
        return not any(cell.strip() for cell in row[1:])
    return start in _PANDAS_LEVELS and _is_all_text(row)


def _delimiter_of_rows(sample: list[str], found: _Candidate) -> str:
    """Return what separates the rows into values, where what separates the header does not."""
    if all(all(map(_is_value, row)) for row in found.rows[:_COLUMN_SAMPLE]):
        return ""
    header = "".join("".join(row) for row in found.header)
    lines = [line for line in sample[found.skip + len(found.header) :] if line.strip()]
    for other in (*DELIMITERS, _SPACE):
        if other != found.delimiter and other not in header:
            rows = [line.split(other) for line in lines[:_COLUMN_SAMPLE]]
            fitting = sum(len(row) > 1 and all(map(_is_value, row)) for row in rows)
            if fitting > _NEARLY_ALL * len(rows):
                return other
    return ""


def _usual_width(rows: list[Row]) -> int:
    widths = Counter(map(len, rows[len(rows) // 2 :]))
    return max(widths, key=lambda width: (widths[width], width))


def _fit(header: tuple[Row, ...], rows: list[Row]) -> float:
    """Return the share of the rows that have as many cells as the header, or as each other."""
    if not rows:
        return 1.0
    width = len(header[0]) if header else _usual_width(rows)
    fitting = sum(len(row) == width or _only_blank_beyond(row, width) for row in rows)
    return fitting / len(rows)


def _only_blank_beyond(row: Row, width: int) -> bool:
    return len(row) > width and not any(cell.strip() for cell in row[width:])


def _cleanness(rows: Sequence[Row]) -> float:
    """Return the share of the cells that hold one thing, as none does with a wrong delimiter."""
    cells = [cell.strip() for row in rows for cell in row]
    clean = sum(not _SPLIT_AGAIN.search(cell) or _is_value(cell) for cell in cells)
    return clean / len(cells) if cells else 1.0


def _is_value(cell: str) -> bool:
    cell = cell.strip()
    return is_number_like(cell) or is_time_like(cell)


def _is_word(cell: str) -> bool:
    return not is_missing(cell) and not _is_value(cell)


def _is_all_text(row: Row) -> bool:
    return any(map(_is_word, row)) and not any(map(_is_value, row))


# --- files without a header ---------------------------------------------------------------------

_BINANCE_KLINES: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)
_SHAPES: Final = {  # e: a time since 1970, t: any time, n: a number, w: a word, b: true or false
    "ennnnnennnnn": _BINANCE_KLINES,
    "nnnnnebb": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,time,"
    "is_buyer_maker,is_best_match",
    "nnnnneb": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,time,is_buyer_maker",
    "nnnnebb": "id,price,quantity,quote_quantity,time,is_buyer_maker,is_best_match",
    "nnnneb": "id,price,quantity,quote_quantity,time,is_buyer_maker",
    "n": "price",
    "tn": "time,price",
    "wn": "symbol,price",
    "twn": "time,symbol,price",
    "wtn": "symbol,time,price",
}
_BAR: Final = re.compile("(t|tt|wt)nnnn([nt]?)")
"""Bars, if the four prices are like open, high, low and close; the volume may look like a date."""
_KEYS: Final = {"t": "time", "tt": "date,time", "wt": "symbol,time"}
_EPOCH: Final = re.compile(r"1[0-9]{9}(?:[0-9]{3}){0,3}(?:\.[0-9]*)?")
_FLAG: Final = re.compile("true|false", re.IGNORECASE)


def no_header(delimiter: str, rows: Sequence[Row]) -> str:
    """Return the message that a file has no header, with the line that would be one."""
    shown = shortened(delimiter.join(rows[0]), MAX_SHOWN_CHARACTERS)
    names = _names(rows)
    advice = "put this line before it"
    if names is None:
        shown_columns = min(len(rows[0]), MAX_SHOWN_COLUMNS)
        names = ",".join(f"column{number}" for number in range(1, shown_columns + 1))
        names += ",…" if shown_columns < len(rows[0]) else ""
        advice = "put a line before it that names each column, the price price and the time time"
    return f"has no header: its first row is {shown}; {advice}: {names.replace(',', delimiter)}"


def _names(rows: Sequence[Row]) -> str | None:
    """Return the names of columns of this shape, joined by commas; None if it is not known."""
    shape = "".join(map(_letter, rows[0]))
    any_time = shape.replace("e", "t")
    if names := _SHAPES.get(shape, _SHAPES.get(any_time)):
        return names
    found = _BAR.fullmatch(any_time)
    if found and all(_is_bar(row[found.end(1) :][:4]) for row in rows[:_COLUMN_SAMPLE]):
        return f"{_KEYS[found[1]]},open,high,low,close{',volume' if found[2] else ''}"
    return None


def _letter(cell: str) -> str:
    cell = cell.strip()
    if _EPOCH.fullmatch(cell):
        return "e"
    if is_time_like(cell):
        return "t"
    if is_number_like(cell):
        return "n"
    return "b" if _FLAG.fullmatch(cell) else "w"


def _is_bar(cells: Row) -> bool:
    """Whether four cells can be open, high, low and close."""
    try:
        first, high, low, last = (float(cell.replace(",", ".")) for cell in cells)
    except ValueError:
        return False
    return low <= min(first, last) and high >= max(first, last)
