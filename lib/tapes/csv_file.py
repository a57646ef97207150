"""What the gateway plays: tapes of ticks and tapes of sentiments.

A tape is a pure function of position: reading ticks 1,000 to 2,000 gives the same ticks whenever,
in whatever slices, and in whatever process it is done. So a gateway that was killed continues its
tape from a position alone. A file is read once, when it is loaded; after that nothing here does
I/O.

The random-walk tape is endless and yet any place of it is reached at once. It is made in layers,
each drawn from a counter-based generator (Philox), which gives the numbers of one place without
those before it:

- every symbol has a start;
- round its start the price wanders, as a sum of waves: random heights 2¹⁶, 2¹⁵, … of the symbol's
  ticks apart, joined by straight lines, and the higher the farther apart;
- between the closest of those heights, one block apart, it is a random walk of whole cents, bent
  to begin and end on them exactly (a bridge). So blocks join without a jump.

From one tick to 2¹⁶ ticks of a symbol that moves like a random walk; over longer times it stays
within about 25 of its start, for ever, where a true random walk would have to be turned back at
zero sooner or later.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import lru_cache
from hashlib import blake2b
from math import isqrt
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from lib.prices import MAX_PRICE, PRICE_SCALE, to_fixed

CENT: Final = PRICE_SCALE // 100
HIGHEST_SENTIMENT: Final = 100

BLOCK_TICKS: Final = 16384
"""What the random walk makes at once, at most (or one tick a symbol, if there are more symbols)."""
CACHED_BLOCKS: Final = 4
CACHED_HEIGHTS: Final = 64
LOWEST_START_CENTS: Final = 50_00
HIGHEST_START_CENTS: Final = 500_00
LONGEST_WAVE_BITS: Final = 16
"""2¹⁶ ticks of a symbol. Twice as long is 1.4 times as high, and a start of 50 would near zero."""

MAX_TAPE_ROWS: Final = 2**24
"""Ticks, or sentiments, of a file: 200 MB of memory as ticks."""
MAX_SKIPPED_ROWS_KEPT: Final = 100
MAX_SKIPPED_SYMBOLS: Final = 100
OTHER_SYMBOLS: Final = "(others)"
"""All symbols beyond the first `MAX_SKIPPED_SYMBOLS` are counted under this name."""
MAX_QUOTED_CHARACTERS: Final = 200
"""A message quotes no more than this of a file."""

SYMBOL_COLUMNS: Final = ("symbol", "ticker")
PRICE_COLUMNS: Final = ("price", "close", "last", "mid")
QUOTE_COLUMNS: Final = ("bid", "ask")
TIME_COLUMNS: Final = ("timestamp", "datetime", "date", "time")
SENTIMENT_COLUMN: Final = "sentiment"

MAX_NUMBER_CHARACTERS: Final = 64
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_SENTIMENT: Final = re.compile(r"[0-9]{1,3}")
_EXACT: Final = Context(prec=1100)
"""Exact for the middle of two numbers below 10¹⁰ that have the form and length above."""

# What the random numbers are for: streams of one seed never meet. 0 to 16 are the waves.
_START_STREAM: Final = 32
_STEP_STREAM: Final = 33
_SENTIMENT_STREAM: Final = 34


_Scalar = TypeVar("_Scalar", bound=np.generic)


class TapeError(Exception):
    """A tape cannot be played. Its text is one line for people."""


class Tape(Protocol):
    """Ticks, numbered from 1. One thread at a time."""

    @property
    def length(self) -> int | None:
        """How many ticks there are; None: endless."""

    @property
    def identity(self) -> str:
        """A name for the contents (letters, digits, `-`) that changes when they change."""

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return ticks `first` to `first + count - 1`, fewer where the tape ends before.

        One array has the symbol of each tick, as an index into the symbols that the tape was made
        with, the other its price in units of 10⁻⁸. They may be views of the tape's own memory and
        cannot be written to. Raises ValueError if `first` is below 1 or `count` below 0.
        """


class Sentiments(Protocol):
    """Sentiments, integers from 0 to 100, numbered from 1."""

    @property
    def length(self) -> int | None:
        """How many there are; None: endless."""

    @property
    def identity(self) -> str:
        """A name for the contents (letters, digits, `-`) that changes when they change."""

    def read(self, first: int, count: int) -> list[int]:
        """Return sentiments `first` to `first + count - 1`, fewer where the tape ends before.

        Raises ValueError if `first` is below 1 or `count` below 0.
        """


class RandomWalkTape:
    """An endless `Tape`: symbols take turns, prices are whole cents and never below one cent.

    Tick n belongs to symbol (n - 1) % len(symbols). Prices depend on the seed (any int), the number
    of symbols and the position only. From one tick of a symbol to its next the price moves by
    3.2 cents (standard deviation).
    """

    length: Final = None

    def __init__(self, symbols: tuple[str, ...], seed: int) -> None:
        self.identity: Final = f"random-walk-{_digest(repr((seed, symbols)).encode())}"
        self._seed = seed
        self._symbol_count = len(symbols)
        # A block is 2**bits rows of one tick a symbol.
        self._row_bits = min(
            LONGEST_WAVE_BITS, max(1, BLOCK_TICKS // len(symbols)).bit_length() - 1
        )
        rows = 1 << self._row_bits
        self._block_ticks = rows * len(symbols)
        self._row_numbers = np.arange(rows, dtype=np.int64)[:, np.newaxis]
        self._block_symbols = _frozen(np.tile(np.arange(len(symbols), dtype=np.int32), rows))
        self._starts = self._draw(_START_STREAM, 0, LOWEST_START_CENTS, HIGHEST_START_CENTS)
        # A few blocks, so that a reader of single ticks and one that replays older ticks do not
        # make each other's blocks again. Caches of this object: they end with it.
        self._block = lru_cache(CACHED_BLOCKS)(self._make_block)
        self._heights = lru_cache(CACHED_HEIGHTS)(self._make_heights)

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """See `Tape.read`. It always returns `count` ticks."""
        _check_span(first, count)
        symbols, prices = [], []
        block, begin = divmod(first - 1, self._block_ticks)
        while True:
            end = min(begin + count, self._block_ticks)
            symbols.append(self._block_symbols[begin:end])
            prices.append(self._block(block)[begin:end])
            count -= end - begin
            if count == 0:
                break
            block, begin = block + 1, 0
        if len(prices) == 1:
            return symbols[0], prices[0]
        return _frozen(np.concatenate(symbols)), _frozen(np.concatenate(prices))

    def _make_block(self, block: int) -> NDArray[np.int64]:
        """Make the prices of one block: the bridge between two waypoints."""
        begin, end = self._waypoint(block), self._waypoint(block + 1)
        ticks = self._block_ticks
        noise = _random_words(self._seed, _STEP_STREAM, block, -(-ticks // 8)).view(np.uint8)
        noise = noise[:ticks].reshape(-1, self._symbol_count)
        # The sum of two draws from 0 to 7: most steps are small, as in a market.
        steps = ((noise & 7) + (noise >> 3 & 7)).astype(np.int64) - 7
        walk = steps.cumsum(axis=0)
        bend = end - begin - walk[-1]
        walk -= steps  # a row is the sum of the steps before it: the first lies on the waypoint
        walk += begin
        walk += self._row_numbers * bend >> self._row_bits
        # Waypoints are at least 25.00 above zero, and at its widest the bridge has a standard
        # deviation of 2.07. That makes zero unthinkable, not impossible.
        np.maximum(walk, 1, out=walk)
        walk *= CENT
        return _frozen(walk.reshape(-1))

    def _waypoint(self, block: int) -> NDArray[np.int64]:
        """Return where every symbol is at the beginning of a block, in cents."""
        row = block << self._row_bits
        cents = self._starts.copy()
        for bits in range(self._row_bits, LONGEST_WAVE_BITS + 1):
            index, part = row >> bits, row & ((1 << bits) - 1)
            left, right = self._heights(bits, index), self._heights(bits, index + 1)
            cents += left + ((right - left) * part >> bits)
        return cents

    def _make_heights(self, bits: int, index: int) -> NDArray[np.int64]:
        # 2.8 cents times the square root of the distance: what the steps themselves would give.
        highest = isqrt(8 << bits)
        return self._draw(bits, index, -highest, highest)

    def _draw(self, stream: int, index: int, lowest: int, highest: int) -> NDArray[np.int64]:
        """Draw an integer for every symbol, `highest` included."""
        words = _random_words(self._seed, stream, index, self._symbol_count)
        return (words % np.uint64(highest - lowest + 1)).astype(np.int64) + lowest


class SkippedRow(NamedTuple):
    """Something of a file that is no tick and no sentiment."""

    line: int
    """Where the row begins, as an editor counts: the first line of the file is 1."""
    reason: str


@dataclass
class Skipped:
    """What was left out of a file."""

    count: int = 0
    """Rows (of a wide file: cells) whose content is missing or impossible."""
    rows: list[SkippedRow] = field(default_factory=list)
    """The first `MAX_SKIPPED_ROWS_KEPT` of them."""
    symbols: dict[str, int] = field(default_factory=dict)
    """How many rows (cells) there were of each symbol that is not configured; see OTHER_SYMBOLS."""

    def add_row(self, line: int, reason: str) -> None:
        """Count a row that is missing something."""
        self.count += 1
        if len(self.rows) < MAX_SKIPPED_ROWS_KEPT:
            self.rows.append(SkippedRow(line, reason))

    def add_symbol(self, symbol: str) -> None:
        """Count a row of a symbol that is not configured."""
        symbol = _shortened(symbol)
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
        self.identity: Final = f"csv-{_digest(contents)}"
        self.length: Final = len(prices)
        self.skipped: Final = skipped
        self._symbol_indices = _frozen(symbol_indices)
        self._prices = _frozen(prices)

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """See `Tape.read`."""
        _check_span(first, count)
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
    Rows play in file order, times are not looked at. Prices are rounded to 8 decimals, half to
    even, from their exact decimal text. A row (a cell of a wide file) whose price or symbol is
    missing or impossible, and a row that has more cells than the header, is skipped: `.skipped`
    says how many and which. Raises TapeError if the file cannot be read, cannot be understood, or
    has no usable row.
    """
    skipped = Skipped()
    rows = _rows(path, skipped)
    _, header = next(rows, (0, []))
    columns = _understand(path, header, symbols, csv_symbol)
    index_of = {symbol: index for index, symbol in enumerate(symbols)}
    symbol_indices, prices = array("i"), array("q")
    for line, cells in rows:
        if any(cells[len(header) :]):
            # A price with a comma in it has moved the cells, and they would be taken for others.
            skipped.add_row(line, f"{len(cells)} cells under a header of {len(header)}")
            continue
        if columns.symbol is not None:
            symbol = _cell(cells, columns.symbol)
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
    """The column that says whose price it is; None: `ticks` say so."""
    prices: tuple[int, ...]
    """With `symbol`: the column of the price, or those of bid and ask."""
    ticks: list[tuple[int, tuple[int, ...]]]
    """Without: the index of a symbol and the column of its price, or its bid and ask."""
    other_symbols: list[str]
    """Of a wide file: names of columns that are no configured symbol."""


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
        text, name = _cell(cells, column), _shortened(header[column].strip())
        if not text:
            raise ValueError(f"no {name}")
        if len(text) > MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
            raise ValueError(f"{name} is {_shortened(repr(text))}, which is not a number")
        value = Decimal(text)
        if not 0 < value <= MAX_PRICE // PRICE_SCALE:
            raise ValueError(
                f"{name} is {text}, and must be above 0 and at most {MAX_PRICE // PRICE_SCALE}"
            )
        values.append(value)
    if len(values) == 1:
        return to_fixed(values[0])
    return to_fixed(_EXACT.divide(_EXACT.add(*values), Decimal(2)))


class RandomSentiments:
    """Endless `Sentiments`, evenly drawn: they depend on the seed (any int) and position only."""

    length: Final = None

    def __init__(self, seed: int) -> None:
        self.identity: Final = f"random-{_digest(repr(seed).encode())}"
        self._seed = seed

    def read(self, first: int, count: int) -> list[int]:
        """See `Sentiments.read`. It always returns `count` of them."""
        _check_span(first, count)
        # The generator makes four words for each value of its counter.
        group, skip = divmod(first - 1, 4)
        generator = _philox(self._seed, _SENTIMENT_STREAM, [group, 0, 0, 0])
        words = generator.random_raw(skip + count)[skip:]
        sentiments: list[int] = (words % np.uint64(HIGHEST_SENTIMENT + 1)).tolist()
        return sentiments


class CsvSentiments:
    """`Sentiments` from a file, in file order. Made by `load_sentiments`."""

    def __init__(self, values: bytes, skipped: Skipped) -> None:
        self.identity: Final = f"csv-{_digest(values)}"
        self.length: Final = len(values)
        self.skipped: Final = skipped
        self._values = values

    def read(self, first: int, count: int) -> list[int]:
        """See `Sentiments.read`."""
        _check_span(first, count)
        return list(self._values[first - 1 : first - 1 + count])


def load_sentiments(path: Path) -> CsvSentiments:
    """Read a file of sentiments: UTF-8, one integer from 0 to 100 a row.

    The first row may be a header, which is a row whose first cell is no number. A header with
    several columns may name one `sentiment`, in any case; otherwise the first is taken. A row
    without a sentiment is skipped: `.skipped` says how many and which. Raises TapeError if the file
    cannot be read or has no usable row.
    """
    skipped = Skipped()
    column = 0
    values = bytearray()
    for number, (line, cells) in enumerate(_rows(path, skipped)):
        if number == 0 and not _NUMBER.fullmatch(_cell(cells, 0)):
            names = [name.strip().lower() for name in cells]
            column = names.index(SENTIMENT_COLUMN) if SENTIMENT_COLUMN in names else 0
            continue
        text = _cell(cells, column)
        if _SENTIMENT.fullmatch(text) and int(text) <= HIGHEST_SENTIMENT:
            values.append(int(text))
        else:
            found = _shortened(repr(text)) if text else "missing"
            skipped.add_row(
                line, f"the sentiment is {found}, not an integer from 0 to {HIGHEST_SENTIMENT}"
            )
        if len(values) > MAX_TAPE_ROWS:
            raise TapeError(f"{path}: more than {MAX_TAPE_ROWS} sentiments; play it in parts")
    if not values:
        raise TapeError(
            f"{path}: no usable row: looked for one integer from 0 to {HIGHEST_SENTIMENT} a row, "
            f"found {skipped}"
        )
    return CsvSentiments(bytes(values), skipped)


def _rows(path: Path, skipped: Skipped) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line where it begins, and the cells, of every row not blank."""
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
    except (OSError, ValueError) as error:  # ValueError: a path that is none
        reason = getattr(error, "strerror", None) or error
        raise TapeError(f"{path}: cannot be read: {reason}") from None


def _cell(cells: list[str], column: int) -> str:
    return cells[column].strip() if column < len(cells) else ""


def _listed(names: Sequence[str] | dict[str, int]) -> str:
    return _shortened(", ".join(" ".join(name.split()) for name in names))


def _shortened(text: str) -> str:
    if len(text) <= MAX_QUOTED_CHARACTERS:
        return text
    return text[:MAX_QUOTED_CHARACTERS] + "…"


def _check_span(first: int, count: int) -> None:
    if first < 1 or count < 0:
        raise ValueError(f"positions count from 1 and counts from 0, not {first} and {count}")


def _random_words(seed: int, stream: int, index: int, count: int) -> NDArray[np.uint64]:
    """Return 64-bit random numbers that depend on seed, stream and index only."""
    return _philox(seed, stream, [0, index, 0, 0]).random_raw(count)


def _philox(seed: int, stream: int, counter: list[int]) -> Philox:
    # The raw generator: NumPy promises never to change its numbers, unlike those of `Generator`.
    key = np.array([seed % 2**64, stream], dtype=np.uint64)
    return Philox(key=key, counter=np.array(counter, dtype=np.uint64))


def _frozen(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    values.flags.writeable = False
    return values


def _digest(contents: bytes) -> str:
    return blake2b(contents, digest_size=8).hexdigest()
