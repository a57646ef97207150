"""A tape from a CSV file of recorded prices, and the reading of CSV rows for any tape.

A file is read once, when it is loaded. After that there is no I/O.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.prices import MAX_PRICE, PRICE_SCALE, to_fixed
from lib.tapes.tape import TapeError, check_span, digest, frozen

MAX_TAPE_ROWS: Final = 2**24
"""The most ticks, or sentiments, of a file: 200 MB of memory as ticks."""
MAX_SKIPPED_ROWS_KEPT: Final = 100
"""How many skipped rows are kept with their line and reason; further ones are counted."""
MAX_SKIPPED_SYMBOLS: Final = 100
"""How many symbols that are not configured are counted by name."""
OTHER_SYMBOLS: Final = "(others)"
"""The name under which symbols beyond `MAX_SKIPPED_SYMBOLS` are counted."""
MAX_QUOTED_CHARACTERS: Final = 200
"""The most characters of a file that a message quotes."""

SYMBOL_COLUMNS: Final = ("symbol", "ticker")
PRICE_COLUMNS: Final = ("price", "close", "last", "mid")
QUOTE_COLUMNS: Final = ("bid", "ask")
TIME_COLUMNS: Final = ("timestamp", "datetime", "date", "time")
MAX_NUMBER_CHARACTERS: Final = 64
NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_EXACT: Final = Context(prec=1100)
"""Exact for the middle of two numbers below 10¹⁰ of the form NUMBER and of its greatest length."""


class SkippedRow(NamedTuple):
    """A row of a file that is no tick and no sentiment."""

    line: int
    """Where the row begins, as an editor counts: the first line of the file is 1."""
    reason: str


@dataclass
class Skipped:
    """The rows of a file that are not played."""

    count: int = 0
    """How many rows (of a wide file: cells) have missing or impossible content."""
    rows: list[SkippedRow] = field(default_factory=list)
    """The first `MAX_SKIPPED_ROWS_KEPT` of the rows with missing or impossible content."""
    symbols: dict[str, int] = field(default_factory=dict)
    """How many rows (cells) each symbol that is not configured has; see OTHER_SYMBOLS."""

    def add_row(self, line: int, reason: str) -> None:
        """Count a row with missing or impossible content."""
        self.count += 1
        if len(self.rows) < MAX_SKIPPED_ROWS_KEPT:
            self.rows.append(SkippedRow(line, reason))

    def add_symbol(self, symbol: str) -> None:
        """Count a row of a symbol that is not configured."""
        symbol = abridged(symbol)
        if symbol not in self.symbols and len(self.symbols) >= MAX_SKIPPED_SYMBOLS:
            symbol = OTHER_SYMBOLS
        self.symbols[symbol] = self.symbols.get(symbol, 0) + 1

    def __str__(self) -> str:
        if not self.count:
            return "no bad rows"
        line, reason = self.rows[0]
        return f"{self.count} bad rows, the first in line {line}: {reason}"


class CsvTape:
    """A `Tape` from a file, in file order. Made by `load_csv_tape`."""

    def __init__(
        self,
        symbols: tuple[str, ...],
        symbol_indices: NDArray[np.int32],
        prices: NDArray[np.int64],
        skipped: Skipped,
    ) -> None:
        contents = repr(symbols).encode() + symbol_indices.tobytes() + prices.tobytes()
        self.identity: Final = f"csv-{digest(contents)}"
        self.length: Final = len(prices)
        self.skipped: Final = skipped
        self._symbol_indices = frozen(symbol_indices)
        self._prices = frozen(prices)

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """See `Tape.read`."""
        check_span(first, count)
        span = slice(first - 1, first - 1 + count)
        return self._symbol_indices[span], self._prices[span]


def load_csv_tape(path: Path, symbols: tuple[str, ...], csv_symbol: str) -> CsvTape:
    """Read a tape file: UTF-8, commas, a header with names in any case.

    The columns are understood so, in this order:

    1. The file has a price column (the first there is of `price`, `close`, `last`, `mid`; else the
       middle of `bid` and `ask`) and a symbol (the column `symbol`, else `ticker`, else
       `csv_symbol` for the whole file): a row is a tick.
    2. It has a time column (`timestamp`, `datetime`, `date`, `time`) and a column named as one of
       `symbols`, in any case: a row is a tick of each such symbol, in the order of the columns.

    Other columns are ignored, except that those of a wide file count as symbols not configured.
    Rows play in file order, whatever their times. Prices are rounded to 8 decimals, half to
    even, from their exact decimal text. A row (a cell of a wide file) whose price or symbol is
    missing or impossible, and a row that has more cells than the header, is skipped: `.skipped`
    says how many and which. Raises TapeError if the file cannot be read, cannot be understood, or
    has no usable row.
    """
    skipped = Skipped()
    rows = read_rows(path, skipped)
    _, header = next(rows, (0, []))
    columns = _understand(path, header, symbols, csv_symbol)
    index_of = {symbol: index for index, symbol in enumerate(symbols)}
    symbol_indices, prices = array("i"), array("q")
    for line, cells in rows:
        if any(cells[len(header) :]):
            # A comma inside a price shifts the cells: each would be read as another column.
            skipped.add_row(line, f"{len(cells)} cells under a header of {len(header)}")
            continue
        if columns.symbol is not None:
            symbol = cell_text(cells, columns.symbol)
            if not symbol:
                skipped.add_row(line, "no symbol")
                continue
            if symbol not in index_of:
                skipped.add_symbol(symbol)
                continue
            ticks = [(index_of[symbol], columns.prices)]
        else:
            ticks = columns.ticks
        for index, price_columns in ticks:
            try:
                price = _price(cells, price_columns, header)
            except ValueError as error:
                skipped.add_row(line, str(error))
                continue
            symbol_indices.append(index)
            prices.append(price)
        for symbol in columns.other_symbols:
            skipped.add_symbol(symbol)
        if len(prices) > MAX_TAPE_ROWS:
            raise TapeError(f"{path}: more than {MAX_TAPE_ROWS} ticks; play it in parts")
    if not prices:
        raise TapeError(
            f"{path}: no usable row for {_listed(symbols)}; it has {skipped}, and other symbols: "
            f"{_listed(skipped.symbols) or 'none'}"
        )
    return CsvTape(
        symbols,
        np.array(symbol_indices, dtype=np.int32),
        np.array(prices, dtype=np.int64),
        skipped,
    )


class _Columns(NamedTuple):
    """Where the ticks of a row are. Columns are numbered from 0."""

    symbol: int | None
    """The column with the symbol; None if `ticks` name the symbols."""
    prices: tuple[int, ...]
    """With `symbol`: the column of the price, or the columns of bid and ask."""
    ticks: list[tuple[int, tuple[int, ...]]]
    """Without `symbol`: the index of each symbol, and its columns as in `prices`."""
    other_symbols: list[str]
    """Of a wide file: names of the columns that are no configured symbol."""


def _understand(
    path: Path, header: list[str], symbols: tuple[str, ...], csv_symbol: str
) -> _Columns:
    names = [name.strip().lower() for name in header]

    def column(wanted: Sequence[str]) -> int | None:
        present = [name for name in wanted if name in names]
        if not present:
            return None
        if names.count(present[0]) > 1:
            raise TapeError(f"{path}: there are two columns named {present[0]}; one is wanted")
        return names.index(present[0])

    price, bid, ask = column(PRICE_COLUMNS), column(QUOTE_COLUMNS[:1]), column(QUOTE_COLUMNS[1:])
    prices: tuple[int, ...] = ()
    if price is not None:
        prices = (price,)
    elif bid is not None and ask is not None:
        prices = (bid, ask)

    symbol = column(SYMBOL_COLUMNS)
    if prices and symbol is not None:
        return _Columns(symbol, prices, [], [])
    if prices and csv_symbol:
        if csv_symbol not in symbols:
            raise TapeError(
                f"{path}: csv_symbol is {csv_symbol}, which is not one of the symbols "
                f"{_listed(symbols)}"
            )
        return _Columns(None, (), [(symbols.index(csv_symbol), prices)], [])

    index_of = {name.lower(): index for index, name in enumerate(symbols)}
    index_of |= {name: index for index, name in enumerate(symbols)}  # an exact name comes first
    ticks: list[tuple[int, tuple[int, ...]]] = []
    other_symbols = []
    for number, name in enumerate(header):
        index = index_of.get(name.strip(), index_of.get(names[number]))
        if names[number] in TIME_COLUMNS or not names[number]:
            continue
        if index is None:
            other_symbols.append(name.strip())
        else:
            ticks.append((index, (number,)))
    if ticks and column(TIME_COLUMNS) is not None:
        if len({index for index, _ in ticks}) < len(ticks):
            raise TapeError(f"{path}: there are two columns for one symbol: {_listed(header)}")
        return _Columns(None, (), ticks, other_symbols)

    raise TapeError(
        f"{path}: found the columns {_listed(header) or '(none: the file is empty)'}; looked for a "
        f"price ({', '.join(PRICE_COLUMNS)}, or bid and ask) and a symbol "
        f"({', '.join(SYMBOL_COLUMNS)}, or csv_symbol in the settings), or for a time "
        f"({', '.join(TIME_COLUMNS)}) and columns named {_listed(symbols)}"
    )


def _price(cells: list[str], columns: tuple[int, ...], header: list[str]) -> int:
    """Read the price of a row. Raises ValueError (the reason) if there is none."""
    values = []
    for column in columns:
        text, name = cell_text(cells, column), abridged(header[column].strip())
        if not text:
            raise ValueError(f"no {name}")
        if len(text) > MAX_NUMBER_CHARACTERS or not NUMBER.fullmatch(text):
            raise ValueError(f"{name} is {abridged(repr(text))}, which is not a number")
        value = Decimal(text)
        if not 0 < value <= MAX_PRICE // PRICE_SCALE:
            raise ValueError(
                f"{name} is {text}, and must be above 0 and at most {MAX_PRICE // PRICE_SCALE}"
            )
        values.append(value)
    if len(values) == 1:
        return to_fixed(values[0])
    return to_fixed(_EXACT.divide(_EXACT.add(*values), Decimal(2)))


def read_rows(path: Path, skipped: Skipped) -> Iterator[tuple[int, list[str]]]:
    """Yield every row that is not blank: the line where it begins, and its cells."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device might never end
            raise TapeError(f"{path}: is not a file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Strict, so that a quote that is never closed is an error and not one long cell.
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            while True:
                first_line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    skipped.add_row(first_line, f"{error}, up to line {reader.line_num}")
                    continue
                if len(cells) > 1 or (cells and cells[0].strip()):
                    yield first_line, cells
    except UnicodeDecodeError:
        raise TapeError(f"{path}: is not UTF-8 text, after line {reader.line_num}") from None
    except (OSError, ValueError) as error:  # ValueError: an invalid path
        reason = getattr(error, "strerror", None) or error
        raise TapeError(f"{path}: cannot be read: {reason}") from None


def cell_text(cells: list[str], column: int) -> str:
    """Return the text of a cell; "" where the row is too short."""
    return cells[column].strip() if column < len(cells) else ""


def _listed(names: Sequence[str] | dict[str, int]) -> str:
    return abridged(", ".join(" ".join(name.split()) for name in names))


def abridged(text: str) -> str:
    """Cut what is quoted of a file to MAX_QUOTED_CHARACTERS."""
    if len(text) <= MAX_QUOTED_CHARACTERS:
        return text
    return text[:MAX_QUOTED_CHARACTERS] + "…"
