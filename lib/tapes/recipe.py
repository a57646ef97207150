"""What to play, as the settings say it: what a preparation is made from, and what names it."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from lib.tapes.tape import digest

TimeOrder = Literal["as-is", "sort"]


class TickRecipe(Struct, frozen=True, kw_only=True, tag="ticks"):
    """Ticks from `path` or from `query`; exactly one of them is not empty."""

    path: str = ""
    """An absolute file name, or a pattern of several."""
    query: str = ""
    """SQL, instead of a path."""
    symbols: tuple[str, ...]
    """What the stack trades: their indices are those of the tape."""
    symbol: str = ""
    """The symbol of a file without a symbol column; "" for none."""
    time_order: TimeOrder = "as-is"


class NewsRecipe(Struct, frozen=True, kw_only=True, tag="sentiments"):
    """Sentiments from `path` or from `query`; exactly one of them is not empty."""

    path: str = ""
    query: str = ""


Recipe = TickRecipe | NewsRecipe


def recipe_digest(recipe: Recipe) -> str:
    """Return a name (16 hexadecimal digits) that changes with anything in the recipe."""
    return digest(msgspec.json.encode(recipe))
