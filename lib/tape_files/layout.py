"""Where the ticks of a table are: in which columns are time, symbol and prices.

Decided by the names, the types and the first rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from lib.tape_files.column_names import (
    INDEX_NAMES,
    OTHER_SYMBOL_NAMES,
    PRICE_NAMES,
    QUOTE_NAMES,
    SYMBOL_NAMES,
    PriceName,
    flattened,
    plain_name,
    price_name,
)
from lib.tape_files.listing import listed, quoted
from lib.tape_files.number_format import is_missing
from lib.tape_files.symbol_match import match_symbols
from lib.tape_files.table import ColumnKind, Table
from lib.tape_files.time_columns import TimeColumns, columns_called, find_time
from lib.tapes.tape import TapeError

MIN_SYMBOL_SHARE: Final = 0.5
"""The share of a column's first cells that are configured symbols, for it to be a symbol column
whatever it is called."""
_BARS: Final = ({"open", "high", "low"}, {"o", "h", "l", "c"})
"""Names of which a table with all of one set has bars, and no column a symbol."""


class PriceColumns(NamedTuple):
    """One price of a row: a column, or bid and ask."""

    symbol: str
    """Of a wide table: the symbol by its name in the file. "" where the row says the symbol."""
    columns: tuple[int, ...]


class Layout(NamedTuple):
    """Where the ticks are. Columns are numbered from 0."""

    symbol: int | None
    """The column of the symbol; None in a wide table, and in one of a single symbol."""
    prices: tuple[PriceColumns, ...]
    time: TimeColumns | None
    unclear_time: str
    """What is not understood of a column that looks like the time; "" for none."""
    is_wide: bool
    recognised: str

    def among_other_files(self, table: Table) -> Layout:
        """Return the layout without a time that cannot be compared with those of other files."""
        if self.time is None or self.time.format is None or not self.time.format.is_order_only:
            return self
        name = table.columns[self.time.columns[0]].name
        unclear = f"the times in {quoted(name)} cannot be compared with those of other files"
        return self._replace(time=None, unclear_time=unclear)

    def where_symbols_are(self, table: Table) -> str:
        """Return what a message calls the place of the symbols."""
        if self.symbol is None:
            return "the header"
        return f"the column {quoted(table.columns[self.symbol].name)}"


def find_layout(table: Table, symbols: tuple[str, ...], symbol: str) -> Layout:
    """Return where the ticks are.

    `symbols` are the configured ones, `symbol` is that of a file without a symbol column. Raises
    TapeError if there is no price or more than one reading.
    """
    times = time, _ = find_time(table)
    taken = time.columns if time else ()
    names = [
        "" if number in taken else plain_name(column.names[0])
        for number, column in enumerate(table.columns)
    ]
    flat = _wide_prices(list(_pairs(table, taken)))
    if flat and len(table.columns[0].names) > 1:
        return _wide(table, flat, times, "several header rows")
    wide = _symbol_columns(table, symbols, taken) if time else ()
    if price := _price_columns(table, names):
        symbol_column = find_symbol_column(table, names, symbols, price)
        used = [*price, *([] if symbol_column is None else [symbol_column]), *taken]
        named = f"a tick a row, from the columns {_named(table, used)}"
        is_named = symbol_column is not None or not wide
        if is_named or not _is_column_a_symbol(table, names, symbols, price):
            return Layout(symbol_column, (PriceColumns("", price),), *times, False, named)
    else:
        wide = wide or flat
    if not wide:
        raise TapeError(_nothing_found(table, symbols, symbol))
    return _wide(table, wide, times, "a column a symbol")


def find_symbol_column(
    table: Table, names: Sequence[str], symbols: tuple[str, ...], price: tuple[int, ...]
) -> int | None:
    """Return the column that says the symbol of each row; None if there is none."""
    wanted = (*SYMBOL_NAMES, *OTHER_SYMBOL_NAMES)
    configured = {symbol.casefold() for symbol in symbols}
    named = {
        name: found
        for name in wanted
        if (found := [n for n in columns_called(names, name) if _may_be_symbol(table, n)])
    }
    for name, found in named.items():  # rather one that has a symbol of ours in the first rows
        if any(c.strip().casefold() in configured for n in found for c in table.cells(n)):
            return only(table, found, name)
    for name, found in named.items():
        return only(table, found, name)
    likely = []
    for number, column in enumerate(table.columns):
        cells = [cell.strip().casefold() for cell in table.cells(number) if cell.strip()]
        if number in price or column.kind is not ColumnKind.TEXT or not cells:
            continue
        if sum(cell in configured for cell in cells) >= MIN_SYMBOL_SHARE * len(cells):
            likely.append(number)
    if len(likely) > 1:
        raise TapeError(
            f"has the configured symbols in {len(likely)} columns ({_named(table, likely)}): call "
            "the one that is meant symbol"
        )
    return likely[0] if likely else None


def _may_be_symbol(table: Table, number: int) -> bool:
    """Whether a column holds names: `Name` beside the symbol may be missing, `Code` a number."""
    return table.columns[number].kind in (ColumnKind.TEXT, ColumnKind.WHOLE)


def _price_columns(table: Table, names: list[str]) -> tuple[int, ...]:
    """Return the price, or bid and ask; rather one that has a cell in the first rows."""
    filled = [
        "" if column.kind is ColumnKind.TIME or all(map(is_missing, table.cells(n))) else names[n]
        for n, column in enumerate(table.columns)
    ]
    return _price_columns_of(table, filled) or _price_columns_of(table, names)


def _price_columns_of(table: Table, names: list[str]) -> tuple[int, ...]:
    first = price_name(names)
    if first in PRICE_NAMES[:4]:
        return (only(table, columns_called(names, first), first),)
    for bid, ask in QUOTE_NAMES:
        if bid in names and ask in names:
            return tuple(only(table, columns_called(names, name), name) for name in (bid, ask))
    if first is not None:
        return (only(table, columns_called(names, first), first),)
    if len(table.columns) == 1 and table.columns[0].kind.is_number:
        return (0,)
    return ()


def _is_column_a_symbol(
    table: Table, names: list[str], symbols: tuple[str, ...], price: tuple[int, ...]
) -> bool:
    """Whether a table that seems to have a price has a column a symbol: one can be called LAST.

    Raises TapeError if it can be either.
    """
    if any(bars.issubset(names) for bars in _BARS):
        return False
    exact = [n for n, column in enumerate(table.columns) if column.names[0].strip() in symbols]
    others = [n for n in exact if len(names[n]) > 1 and names[n] not in PRICE_NAMES]
    if len(exact) < 2 and not others:
        return False
    if len(exact) < 2 or not others:
        raise TapeError(
            f"has the price {_named(table, price)}, and columns called as configured symbols "
            f"({_named(table, exact)}): rename the price, or the columns that are no symbols"
        )
    return True


def _pairs(table: Table, taken: Sequence[int]) -> Iterator[tuple[int, PriceName]]:
    """Yield the columns whose names say a price and a symbol, each way they can be read."""
    for number, column in enumerate(table.columns):
        if number in taken:
            continue
        if len(column.names) == 1:
            for pair in flattened(column.names[0]):
                yield number, pair
            continue
        first, second = (name.strip() for name in column.names[:2])
        for word, symbol in ((first, second), (second, first)):
            is_label = number == 0 and plain_name(symbol) in SYMBOL_NAMES  # `Price` over `Ticker`
            if plain_name(word) in PRICE_NAMES and symbol and not is_label:
                yield number, PriceName(plain_name(word), symbol)


def _wide_prices(pairs: list[tuple[int, PriceName]]) -> tuple[PriceColumns, ...]:
    """Return the columns of the first price that there is: not `Adj Close` if there is `Close`."""
    for wanted in PRICE_NAMES:
        found = [(number, pair.symbol) for number, pair in pairs if pair.word == wanted]
        if found:
            return tuple(PriceColumns(symbol, (number,)) for number, symbol in found)
    return ()


def _symbol_columns(
    table: Table, symbols: tuple[str, ...], taken: Sequence[int]
) -> tuple[PriceColumns, ...]:
    """Return the columns of a wide table, those of other symbols too; () if none is configured."""
    columns = [
        PriceColumns(column.names[0].strip(), (number,))
        for number, column in enumerate(table.columns)
        if number not in taken and not (number == 0 and plain_name(column.name) in INDEX_NAMES)
        if column.names[0].strip() and column.kind not in (ColumnKind.TIME, ColumnKind.OTHER)
    ]
    found = {column.symbol: 1 for column in columns}
    return tuple(columns) if match_symbols(found, symbols).index_of else ()


def _wide(
    table: Table,
    prices: tuple[PriceColumns, ...],
    times: tuple[TimeColumns | None, str],
    what: str,
) -> Layout:
    doubled = sorted({p.symbol for p in prices if [q.symbol for q in prices].count(p.symbol) > 1})
    if doubled:
        raise TapeError(f"has more than one price column of {listed(doubled)}: keep one of each")
    used = [*(times[0].columns if times[0] else ()), *(n for p in prices for n in p.columns)]
    return Layout(None, prices, *times, True, f"{what}, from the columns {_named(table, used)}")


# --- messages -------------------------------------------------------------------------------------


def only(table: Table, columns: list[int], name: str) -> int:
    """Return the column of that name. Raises TapeError if there are several."""
    if len(columns) > 1:
        raise TapeError(
            f"has {len(columns)} columns named {name} ({_named(table, columns)}): "
            "rename those that are not meant"
        )
    return columns[0]


def _named(table: Table, columns: Sequence[int]) -> str:
    return listed(table.columns[number].name or f"(unnamed, {number + 1}.)" for number in columns)


def _nothing_found(table: Table, symbols: tuple[str, ...], symbol: str) -> str:
    found = listed(column.name for column in table.columns if column.name) or "(none with a name)"
    how = "or symbol in the settings" if not symbol else f"or symbol = {quoted(symbol)} for all"
    return (
        f"found the columns {found}; looked for a price ({', '.join(PRICE_NAMES[:4])}, or bid and "
        f"ask) and a symbol ({', '.join(SYMBOL_NAMES)}, {how}), or for a time and a column for "
        f"each of {listed(symbols)} (AAPL, or Close_AAPL): rename columns, or use a query"
    )
