"""Which symbol each row of a table is played as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lib.tape_files.column_names import SYMBOL_NAMES, plain_name
from lib.tape_files.layout import Layout
from lib.tape_files.listing import counted, listed, quoted
from lib.tape_files.symbol_match import match_symbols
from lib.tape_files.table import Table
from lib.tapes.recipe import TickRecipe
from lib.tapes.tape import TapeError


class SymbolPlan(NamedTuple):
    """Indices are those of the configured symbols."""

    index_of: dict[str, int]
    """By the spelling in the file: of the symbols that are played; empty if there is none."""
    whole: int | None
    """What all rows are played as, whatever their symbol column says; None if it counts."""
    others: dict[str, int]
    """How many rows the symbols have that are not configured."""
    warnings: list[str]


def plan_symbols(
    table: Table, layout: Layout, found: Mapping[str, int], recipe: TickRecipe
) -> SymbolPlan:
    """Return what is played as what.

    `found` is how many rows each symbol of the file has, by its spelling: of the symbol column, or
    of the columns of a wide table. Raises TapeError.
    """
    if recipe.symbol and recipe.symbol not in recipe.symbols:
        raise TapeError(
            f"is to be played as {quoted(recipe.symbol)} (symbol in the settings), which is not "
            f"one of the configured symbols {listed(recipe.symbols)}"
        )
    the_only = recipe.symbols[0] if len(recipe.symbols) == 1 else ""
    if layout.symbol is None and not layout.is_wide:
        name = recipe.symbol or the_only
        if not name:
            raise TapeError(
                "has prices and no symbol (looked for a column symbol or ticker, or one whose "
                f"cells are {listed(recipe.symbols)}): set symbol to the one that it is"
            )
        return SymbolPlan({}, recipe.symbols.index(name), {}, [])
    match = match_symbols(found, recipe.symbols)
    names = {name.strip() for name in found if name.strip()}
    where = layout.where_symbols_are(table)
    if len(names) == 1 and recipe.symbol:
        return _play_one(found, match.index_of, where, recipe)
    warnings = []
    if recipe.symbol and not layout.is_wide:
        if not (match.index_of and _is_named_symbol(table, layout)):
            raise TapeError(
                f"{where} has {len(names)} symbols ({counted(found)}), which cannot all be played "
                f"as {quoted(recipe.symbol)}: leave symbol empty, and each is played as what it is"
            )
        warnings.append(f"symbol {quoted(recipe.symbol)} is not used: {where} has the symbols")
    return SymbolPlan(match.index_of, None, match.others, warnings)


def _play_one(
    found: Mapping[str, int], index_of: Mapping[str, int], where: str, recipe: TickRecipe
) -> SymbolPlan:
    """Return the plan for a file of one symbol, where the settings say one."""
    wanted = recipe.symbols.index(recipe.symbol)
    name = next(spelling.strip() for spelling in found if spelling.strip())
    played = set(index_of.values())
    if played and played != {wanted}:
        raise TapeError(
            f"{where} has only {quoted(name)}, and symbol in the settings is "
            f"{quoted(recipe.symbol)}: leave symbol empty, or play another file"
        )
    warnings = []
    if not played:
        warnings.append(f"{quoted(name)} in {where} is played as {quoted(recipe.symbol)}")
    return SymbolPlan(dict.fromkeys(found, wanted), wanted, {}, warnings)


def _is_named_symbol(table: Table, layout: Layout) -> bool:
    """Whether the symbols are in a column of that name, which counts before the settings."""
    return (
        layout.symbol is not None and plain_name(table.columns[layout.symbol].name) in SYMBOL_NAMES
    )
