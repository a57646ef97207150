"""Reads the ticks of one table after another: what the plan says of each row, as arrays."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from glob import has_magic
from itertools import islice
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.tape_files.arrow_stream import Batch, Numbers
from lib.tape_files.column_numbers import number_form_of_all, number_form_of_head
from lib.tape_files.layout import Layout, PriceColumns, find_layout
from lib.tape_files.listing import counted, listed, plural, quoted
from lib.tape_files.number_format import PLAIN, NumberFormat
from lib.tape_files.price_reading import (
    NO_NUMBER,
    NO_VALUE,
    NOT_POSITIVE,
    TOO_LARGE,
    TOO_SMALL,
    Prices,
    middle_of,
    price_sql,
    prices_of,
)
from lib.tape_files.reading import CUT, Reading
from lib.tape_files.scaled import NumberTally, check_numbers
from lib.tape_files.sealed import SealedDatabase
from lib.tape_files.second_header import refuse_second_header
from lib.tape_files.source import MAX_TAPE_ROWS
from lib.tape_files.sql import quoted_name, quoted_text
from lib.tape_files.symbol_plan import SymbolPlan, plan_symbols, where_symbols_are
from lib.tape_files.table import Table, no_rows
from lib.tape_files.tally import TickTally
from lib.tape_files.time_columns import time_sql
from lib.tapes.recipe import TickRecipe
from lib.tapes.tape import TapeError

MAX_MISFIT_SHARE: Final = 0.05
"""The largest share of rows that may have other cells than the header: those are skipped. With
more, the header is not that of the rows, and no cell can be trusted to be what its column says."""
MAX_FOUND_SYMBOLS: Final = 10_000
"""How many symbols of a file are looked at: those that may be ours, then the most frequent."""
MAX_EXPECTED_SYMBOLS: Final = 100
"""How many symbols the first rows may have, to be looked for one by one in all rows."""
_OTHER_SYMBOL, _NO_SYMBOL, _FIRST_EXPECTED = -1, -2, -3
"""Codes of rows that are not played. The expected symbols have -3, -4, …"""
_REASONS: Final = {
    NOT_POSITIVE: "the price is not above 0",
    TOO_SMALL: "the price rounds to 0 at 8 decimals",
    TOO_LARGE: f"the price is above the limit of {MAX_PRICE // PRICE_SCALE}",
}
_NO_SYMBOL_REASON: Final = "no symbol"
_NO_TIME_REASON: Final = "no time that is understood"


class TickSink(Protocol):
    """Where ticks go, in the order of the file."""

    @property
    def length(self) -> int:
        """How many there are."""

    def add_ticks(
        self,
        symbols: NDArray[np.int32],
        prices: NDArray[np.int64],
        times: NDArray[np.int64] | None,
        /,
    ) -> None:
        """Append some."""

    def cut_back(self, length: int) -> None:
        """Forget all but the first `length`."""


@dataclass(kw_only=True)
class TickReading(Reading):
    """What the tables had, up to now."""

    recipe: TickRecipe
    tally: TickTally
    is_wide: bool = False
    other_symbols: dict[str, int] = field(default_factory=dict)
    unplayed: list[str] = field(default_factory=list)
    """Why tables have nothing to play: a message for each."""
    of_one_symbol: list[str] = field(default_factory=list)
    """The titles of the tables that do not say the symbol: the settings do."""

    @classmethod
    def of(cls, recipe: TickRecipe) -> TickReading:
        """Return the reading before the first table."""
        return cls(path=recipe.path, recipe=recipe, tally=TickTally(len(recipe.symbols)))

    def with_unplayed(self, why: str) -> TickReading:
        """Return the reading with a table that has nothing to play."""
        return dataclasses.replace(self, unplayed=[*self.unplayed, why])


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
        except _UnexpectedSymbolError:
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
    raises _UnexpectedSymbolError.
    """
    plan = plan_symbols(table, layout, found, reading.recipe)
    if not plan.index_of and plan.whole is None:
        return reading.with_unplayed(
            f"{table.title}: {where_symbols_are(table, layout)} has "
            f"{counted(plan.others) or 'no symbol'}, and none of the configured symbols "
            f"{listed(reading.recipe.symbols)}: configure those that are to be played"
            + (", or set symbol for a file of one" if len(plan.others) == 1 else "")
        )
    expected = None
    if layout.symbol is not None and not are_all:
        expected = [name for name in found if name not in plan.index_of]
    prices = [_PlayedPrice.of(price, layout, plan) for price in layout.prices]
    played = [price for price in prices if price is not None]
    columns = [number for price in played for number in price.columns]
    mark = sink.length

    def reader(form: NumberFormat) -> _TableReader:
        return _TableReader(
            table, layout, plan, expected, played, form, copy.deepcopy(reading), sink
        )

    if (form := number_form_of_head(table, columns)) is not None:
        attempt = reader(form)
        if not attempt.read(database):
            return attempt.finish()
    if table.text:
        refuse_second_header(database, table, columns)
    better = number_form_of_all(database, table, columns)
    if better != form:  # some cells are written otherwise than the first ones
        sink.cut_back(mark)
        attempt = reader(better)
        attempt.read(database)
    return attempt.finish()


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


class _UnexpectedSymbolError(Exception):
    """A row has a symbol that the first rows do not have."""


class _PlayedPrice(NamedTuple):
    """A price of a row, and as what it is played."""

    columns: tuple[int, ...]
    symbol: int | None
    """Its index; None if each row says it."""

    @classmethod
    def of(cls, price: PriceColumns, layout: Layout, plan: SymbolPlan) -> _PlayedPrice | None:
        """Return how a price is played; None if its symbol is not configured."""
        if not layout.is_wide:
            return cls(price.columns, plan.whole)
        index = plan.index_of.get(price.symbol)
        return None if index is None else cls(price.columns, index)


@dataclass
class _TableReader:
    """One way through the rows of a table."""

    table: Table
    layout: Layout
    plan: SymbolPlan
    expected: list[str] | None
    prices: list[_PlayedPrice]
    form: NumberFormat
    reading: TickReading
    sink: TickSink
    others: dict[str, int] = field(init=False)
    """How many rows the symbols have that are not played."""
    numbers: NumberTally = field(default_factory=NumberTally)
    rows: int = 0
    misfits: int = 0
    crossed: int = 0
    """How many quotes have a bid above the ask."""
    bad: int = 0
    """How many cells are neither numbers nor missing."""

    def __post_init__(self) -> None:
        is_known = self.expected is None
        self.others = self.plan.others if is_known else dict.fromkeys(self.expected or (), 0)

    def read(self, database: SealedDatabase) -> int:
        """Read all rows. Return how many cells are neither numbers nor missing."""
        waiting: Batch | None = None
        for batch in database.stream(
            f"SELECT {self._columns()} FROM {self.table.sql}", self.table.rows
        ):
            if waiting is not None:
                self._add(waiting, len(waiting[0].present))
            waiting = batch
        is_cut = self.table.is_cut(self._needed())
        if waiting is not None:
            self._add(waiting, len(waiting[0].present) - is_cut)
        if is_cut:
            self._skip(CUT, np.array([0]))
            self.rows += 1
        return self.bad

    def finish(self) -> TickReading:
        """Return the reading with this table in it. Raises TapeError if it cannot be trusted."""
        reading, layout = self.reading, self.layout
        if self.misfits > max(1, MAX_MISFIT_SHARE * self.rows):
            raise TapeError(self._too_many_misfits())
        names = listed(self.table.columns[n].name for p in self.prices for n in p.columns)
        reading.warnings += check_numbers(self.numbers, names, self._multiplied)
        reading.warnings += self.plan.warnings
        if layout.unclear_time:
            reading.warnings.append(f"{layout.unclear_time}: the order is not checked")
        if self.crossed:
            reading.warnings.append(
                f"crossed quotes: {plural(self.crossed, 'row')} of {self.rows:,} with a bid "
                "above the ask; their middle is played"
            )
        if layout.symbol is None and not layout.is_wide:
            reading.of_one_symbol.append(self.table.title)
        reading.rows += self.rows * (len(self.prices) if layout.is_wide else 1)
        reading.is_wide |= layout.is_wide
        for name, count in self.others.items():
            name = name.strip()
            count *= self.rows if layout.is_wide else 1
            reading.other_symbols[name] = reading.other_symbols.get(name, 0) + count
        reading.recognised += [*self.table.recognised, layout.recognised, *self._forms()]
        return reading

    def _multiplied(self, factor: str) -> str:
        """Return the setting that plays the prices multiplied, with the names of the file."""
        table, layout = self.table, self.layout
        if layout.is_wide:
            return f"query = 'SELECT …' with each column * {factor}"
        symbol = (
            "symbol" if layout.symbol is None else quoted_name(table.columns[layout.symbol].name)
        )
        if self.plan.whole is not None:
            symbol = quoted_text(self.reading.recipe.symbols[self.plan.whole])
        price = " + ".join(quoted_name(table.columns[n].name) for n in self.prices[0].columns)
        price = f"({price}) / 2" if len(self.prices[0].columns) > 1 else price
        return (
            f'query = """SELECT {symbol} AS symbol, {price} * {factor} AS price '
            f'FROM {quoted_text(self.reading.recipe.path or "FILE")}"""'
        )

    def _forms(self) -> list[str]:
        """Say how numbers and times are read, where it is not plain."""
        found = []
        decimal, thousands, currency = self.form
        if self.form != PLAIN:
            found.append(
                f"numbers with {decimal!r} before the decimals"
                + (f", {thousands!r} between groups" if thousands else "")
                + (f", {currency}" if currency else "")
            )
        if self.layout.time and self.layout.time.format:
            found.append(f"times as {self.layout.time.format.name}")
        return found

    def _columns(self) -> str:
        """Return what is selected: misfit, symbol, time if there is one, then the prices."""
        table, layout = self.table, self.layout
        selected = [f"CAST({table.misfit.sql} AS UTINYINT)", self._symbol_sql()]
        if layout.time:
            selected.append(time_sql(table, layout.time))
        for price in self.prices:
            for number in price.columns:
                selected += self._price_sql(number)
        return ", ".join(f"{sql} AS v{number}" for number, sql in enumerate(selected))

    def _price_sql(self, column: int) -> list[str]:
        return price_sql(self.table.columns[column], None if self.form == PLAIN else self.form)

    def _symbol_sql(self) -> str:
        """Return the index of the symbol, or why there is none."""
        if self.layout.symbol is None:
            return f"CAST({self.plan.whole or 0} AS INTEGER)"
        column = self.table.columns[self.layout.symbol].text_sql
        codes = dict(self.plan.index_of)
        for number, name in enumerate(self.expected or ()):
            codes[name] = _FIRST_EXPECTED - number
        cases = " ".join(f"WHEN {quoted_text(name)} THEN {code}" for name, code in codes.items())
        return (
            f"CAST(CASE {column} {cases} ELSE CASE WHEN trim({column}) <> '' THEN {_OTHER_SYMBOL} "
            f"ELSE {_NO_SYMBOL} END END AS INTEGER)"
        )

    def _needed(self) -> list[int]:
        """Return the columns that are read."""
        needed = [number for price in self.prices for number in price.columns]
        needed += [] if self.layout.symbol is None else [self.layout.symbol]
        return [*needed, *(self.layout.time.columns if self.layout.time else ())]

    def _add(self, batch: Batch, rows: int) -> None:
        """Take the first rows of a batch."""
        columns = iter(batch)
        misfit, symbols = next(columns).values[:rows] != 0, next(columns).values[:rows]
        times = next(columns) if self.layout.time else None
        fits = ~misfit
        self.misfits += int(np.count_nonzero(misfit))
        self._skip(self.table.misfit.reason, np.flatnonzero(misfit))
        self._skip(_NO_SYMBOL_REASON, np.flatnonzero(fits & (symbols == _NO_SYMBOL)))
        if self.expected is not None and not self.layout.is_wide:
            self._count_expected(symbols, fits)
        wanted = fits & (symbols >= 0)
        prices = [self._price(price, columns, fits, wanted) for price in self.prices]
        self._play(prices, symbols, wanted, times, rows)
        self.rows += rows

    def _count_expected(self, symbols: NDArray[np.int32], fits: NDArray[np.bool_]) -> None:
        """Count rows of symbols that are not played, and raise if one was not expected."""
        if not len(symbols) or symbols.min() >= 0:
            return
        if (fits & (symbols == _OTHER_SYMBOL)).any():
            raise _UnexpectedSymbolError
        found = np.bincount(_FIRST_EXPECTED - symbols[symbols <= _FIRST_EXPECTED])
        for name, count in zip(self.others, found.tolist(), strict=False):
            self.others[name] += count

    def _price(
        self,
        price: _PlayedPrice,
        columns: Iterator[Numbers],
        fits: NDArray[np.bool_],
        wanted: NDArray[np.bool_],
    ) -> Prices:
        """Return a price of the first rows of a batch: as many as `fits` says something of."""
        rows = len(fits)
        selected = [self._price_sql(number) for number in price.columns]
        found = [prices_of(list(islice(columns, len(sql)))) for sql in selected]
        for part in found:
            units = part.units[:rows]
            self.numbers.add(part._replace(units=units if fits.all() else units[fits]))
            self.bad += int(np.count_nonzero(part.units == NO_NUMBER))
        prices = found[0]
        if len(found) > 1:
            bid, ask = found
            prices = middle_of(bid, ask)
            is_crossed = (bid.units > ask.units) & (ask.units > 0)
            self.crossed += int(np.count_nonzero(is_crossed[:rows] & wanted))
        return prices._replace(units=prices.units[:rows], rest=prices.rest[:rows])

    def _play(
        self,
        prices: list[Prices],
        symbols: NDArray[np.int32],
        wanted: NDArray[np.bool_],
        times: Numbers | None,
        rows: int,
    ) -> None:
        """Send the ticks of some rows: of a wide table row by row, in the order of its columns."""
        moments = has_time = None
        if times is not None:
            moments, has_time = times.values[:rows], times.present[:rows]
            if self.reading.recipe.time_order == "sort" and not has_time.all():
                self._skip(_NO_TIME_REASON, np.flatnonzero(wanted & ~has_time))
                wanted = wanted & has_time
        if len(prices) == 1 and wanted.all() and (prices[0].units > 0).all():
            whole = self.prices[0].symbol
            index = symbols if whole is None else np.full(rows, whole, dtype=np.int32)
            self._send(index, prices[0].units, prices[0].rest, moments, has_time)
            return
        good = np.empty((rows, len(prices)), dtype=np.bool_)
        for number, price in enumerate(prices):
            good[:, number] = wanted & (price.units > 0)
            self._skip_bad(self.prices[number], price, wanted & (price.units <= 0))
        played = good.ravel()
        units = np.stack([price.units for price in prices], axis=1).ravel()[played]
        rest = np.stack([price.rest for price in prices], axis=1).ravel()[played]
        indices = np.empty((rows, len(prices)), dtype=np.int32)
        for number, played_price in enumerate(self.prices):
            indices[:, number] = symbols if played_price.symbol is None else played_price.symbol
        index = indices.ravel()[played]
        if moments is not None and has_time is not None and len(prices) > 1:
            moments, has_time = np.repeat(moments, len(prices)), np.repeat(has_time, len(prices))
        if moments is not None and has_time is not None:
            moments, has_time = moments[played], has_time[played]
        self._send(index, units, rest, moments, has_time)

    def _send(
        self,
        index: NDArray[np.int32],
        units: NDArray[np.int64],
        rest: NDArray[np.float64],
        moments: NDArray[np.int64] | None,
        has_time: NDArray[np.bool_] | None,
    ) -> None:
        self.reading.tally.add(index, units, rest, moments, has_time)
        if self.reading.tally.count > MAX_TAPE_ROWS:
            raise TapeError(f"has more than {MAX_TAPE_ROWS:,} ticks: play it in parts")
        self.sink.add_ticks(index, units, moments)

    def _skip_bad(self, played: _PlayedPrice, price: Prices, bad: NDArray[np.bool_]) -> None:
        if not bad.any():
            return
        name = " and ".join(quoted(self.table.columns[n].name) for n in played.columns)
        reasons = {**_REASONS, NO_NUMBER: f"{name} is no number", NO_VALUE: f"no {name}"}
        for code, reason in reasons.items():
            self._skip(reason, np.flatnonzero(bad & (price.units == code)))

    def _skip(self, reason: str, rows: NDArray[np.int64]) -> None:
        """Count rows of the batch that are not played."""
        self.reading.skip(reason, rows + self.rows, self.table)

    def _too_many_misfits(self) -> str:
        _, reason, advice = self.table.misfit
        return (
            f"{self.misfits:,} of {plural(self.rows, 'row')}: {reason}; the first is "
            f"{self.reading.first_skipped[reason]}{advice}"
        )
