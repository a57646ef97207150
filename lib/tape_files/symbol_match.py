"""Which spelling of a file is which configured symbol: one rule, in every layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lib.tapes.tape import TapeError


class SymbolMatch(NamedTuple):
    """How the symbols of a file are played."""

    index_of: dict[str, int]
    """By the spelling in the file as it is: the index of the configured symbol."""
    others: dict[str, int]
    """By trimmed name: how many rows the symbols have that are not configured."""


def match_symbols(found: Mapping[str, int], symbols: tuple[str, ...]) -> SymbolMatch:
    """Return which of the spellings (with how many rows each) are configured symbols.

    Blanks around a name do not count. The exact name comes first; without it, the only spelling
    that is equal ignoring case. Raises TapeError if there are two.
    """
    trimmed: dict[str, list[str]] = {}
    for spelling in found:
        trimmed.setdefault(spelling.strip(), []).append(spelling)
    chosen = {}
    for index, symbol in enumerate(symbols):
        name = symbol if symbol in trimmed else _equal_ignoring_case(symbol, trimmed, symbols)
        if name is not None:
            chosen[name] = index
    others = {
        name: sum(found[spelling] for spelling in spellings)
        for name, spellings in trimmed.items()
        if name and name not in chosen
    }
    return SymbolMatch(
        {spelling: index for name, index in chosen.items() for spelling in trimmed[name]}, others
    )


def _equal_ignoring_case(symbol: str, names: Iterable[str], symbols: tuple[str, ...]) -> str | None:
    equal = [name for name in names if name.casefold() == symbol.casefold() and name not in symbols]
    if len(equal) > 1:
        raise TapeError(
            f"has {' and '.join(sorted(equal))}, and either could be {symbol}: configure the one "
            "that is meant in its exact spelling"
        )
    return equal[0] if equal else None
