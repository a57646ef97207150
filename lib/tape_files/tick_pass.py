"""One way through the rows of a table: what its layout and its plan say of each row, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.tape_files.arrow_stream import Batch, Numbers
from lib.tape_files.layout import Layout
from lib.tape_files.listing import listed, plural, quoted
from lib.tape_files.number_format import PLAIN, NumberFormat
from lib.tape_files.price_reading import (
    NO_NUMBER,
    NO_VALUE,
    NOT_POSITIVE,
    TOO_LARGE,
    TOO_SMALL,
    RowPrices,
    middle_of,
    price_sql,
    prices_of,
)
from lib.tape_files.reading import CUT, TickReading
from lib.tape_files.scaled import NumberTally, check_numbers
from lib.tape_files.sealed import SealedDatabase
from lib.tape_files.source import MAX_TAPE_ROWS
from lib.tape_files.sql import quoted_name, quoted_text
from lib.tape_files.symbol_plan import SymbolPlan
from lib.tape_files.table import Table
from lib.tape_files.time_columns import time_sql
from lib.tapes.tape import TapeError

MAX_MISFIT_SHARE: Final = 0.05
"""The largest share of rows that may have other cells than the header: those are skipped. With
more, the header is not that of the rows, and no cell can be trusted to be what its column says."""
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


class UnexpectedSymbolError(Exception):
    """A row has a symbol that the first rows do not have."""


class PlayedPrice(NamedTuple):
    """A price of a row, and as what it is played."""

    columns: tuple[int, ...]
    symbol: int | None
    """Its index; None if each row says it."""


@dataclass
class TickPass:
    """One way through the rows of a table, whose ticks go to `sink`."""

    table: Table
    layout: Layout
    plan: SymbolPlan
    expected: list[str] | None
    prices: list[PlayedPrice]
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
        expected = {name: _FIRST_EXPECTED - n for n, name in enumerate(self.expected or ())}
        self._names = {**self.plan.index_of, **expected}
        """The codes of the symbols that are told apart, by their spelling."""
        # Those of no name are at the end: -1 and -2 are their own places in it.
        self._codes = np.array([*self._names.values(), _NO_SYMBOL, _OTHER_SYMBOL], dtype=np.int32)

    def read(self, database: SealedDatabase) -> None:
        """Read all rows."""
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
        if self.plan.whole is not None:
            symbol = quoted_text(self.reading.recipe.symbols[self.plan.whole])
        else:
            assert layout.symbol is not None
            symbol = quoted_name(table.columns[layout.symbol].name)
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
        return price_sql(self.table.columns[column], self.form)

    def _symbol_sql(self) -> str:
        """Return the place of the symbol in `_codes`, or the index of the only one."""
        if self.layout.symbol is None:
            return f"CAST({self.plan.whole or 0} AS INTEGER)"
        column = self.table.columns[self.layout.symbol].text_sql
        # An ENUM finds a name by its hash; a CASE would compare each row with one after another.
        names = ", ".join(map(quoted_text, self._names))
        return (
            f"CAST(coalesce(enum_code(TRY_CAST({column} AS ENUM({names}))), CASE WHEN "
            f"trim({column}) <> '' THEN {_OTHER_SYMBOL} ELSE {_NO_SYMBOL} END) AS INTEGER)"
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
        if self.layout.symbol is not None:
            symbols = self._codes[symbols]
        times = next(columns) if self.layout.time else None
        fits = ~misfit
        self.misfits += int(np.count_nonzero(misfit))
        self._skip(self.table.misfit.reason, np.flatnonzero(misfit))
        self._skip(_NO_SYMBOL_REASON, np.flatnonzero(fits & (symbols == _NO_SYMBOL)))
        if self.expected is not None and not self.layout.is_wide:
            self._count_expected(symbols, fits)
        wanted = fits & (symbols >= 0)
        prices = [self._price(price, columns, fits, wanted) for price in self.prices]
        self._play(prices, symbols, wanted, times)
        self.rows += rows

    def _count_expected(self, symbols: NDArray[np.int32], fits: NDArray[np.bool_]) -> None:
        """Count rows of symbols that are not played, and raise if one was not expected."""
        if not len(symbols) or symbols.min() >= 0:
            return
        if (fits & (symbols == _OTHER_SYMBOL)).any():
            raise UnexpectedSymbolError
        found = np.bincount(_FIRST_EXPECTED - symbols[symbols <= _FIRST_EXPECTED])
        for name, count in zip(self.others, found.tolist(), strict=False):
            self.others[name] += count

    def _price(
        self,
        price: PlayedPrice,
        columns: Iterator[Numbers],
        fits: NDArray[np.bool_],
        wanted: NDArray[np.bool_],
    ) -> RowPrices:
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
        prices: list[RowPrices],
        symbols: NDArray[np.int32],
        wanted: NDArray[np.bool_],
        times: Numbers | None,
    ) -> None:
        """Send the ticks of some rows: of a wide table row by row, in the order of its columns."""
        rows = len(wanted)
        if times is not None:
            times = Numbers(times.present[:rows], times.values[:rows])
            if self.reading.recipe.time_order == "sort":
                self._skip(_NO_TIME_REASON, np.flatnonzero(wanted & ~times.present))
                wanted = wanted & times.present
        for played, price in zip(self.prices, prices, strict=True):
            self._skip_bad(played, price, wanted & (price.units <= 0))
        good = _row_by_row([wanted & (price.units > 0) for price in prices])
        is_all = good.all()

        def ticks_of(values: Iterable[NDArray[Any]]) -> NDArray[Any]:
            flat = _row_by_row(list(values))
            return flat if is_all else flat[good]

        index = ticks_of(
            symbols if played.symbol is None else np.full(rows, played.symbol, dtype=np.int32)
            for played in self.prices
        )
        units = ticks_of(price.units for price in prices)
        if times is not None:
            times = Numbers(*(ticks_of([values] * len(prices)) for values in times))
        tally = self.reading.tally
        tally.add(index, units, ticks_of(price.rest for price in prices), times)
        if tally.count > MAX_TAPE_ROWS:
            raise TapeError(f"has more than {MAX_TAPE_ROWS:,} ticks: play it in parts")
        self.sink.add_ticks(index, units, times.values if times else None)

    def _skip_bad(self, played: PlayedPrice, price: RowPrices, bad: NDArray[np.bool_]) -> None:
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


def _row_by_row(columns: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the values of columns of equal length, all of the first row first."""
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1).ravel()
