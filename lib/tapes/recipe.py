"""What to play, as the settings say it: what a preparation is made from, and what names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from lib.settings import FILE_SOURCE, Settings
from lib.tapes.recording_files import played_path
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


Kind = Literal["ticks", "sentiments"]
OnProgress = Callable[[str, float], None]
"""Called with what is done of a recipe at the moment, and with its share that is, from 0 to 1."""


def kind_of(recipe: Recipe) -> Kind:
    """Return what comes of the recipe."""
    return "ticks" if isinstance(recipe, TickRecipe) else "sentiments"


def recipe_digest(recipe: Recipe) -> str:
    """Return a name (16 hexadecimal digits) that changes with anything in the recipe."""
    return digest(msgspec.json.encode(recipe))


def recipes(settings: Settings) -> tuple[TickRecipe | None, NewsRecipe | None]:
    """Return what the settings play from files: ticks and sentiments, None what is no file."""
    gateway = settings.gateway
    ticks = news = None
    if gateway.source == FILE_SOURCE:
        ticks = TickRecipe(
            path=played_path(str(gateway.path or "")),
            query=gateway.query,
            symbols=settings.symbols,
            symbol=gateway.symbol,
            time_order=gateway.time_order,
        )
    if gateway.news_path or gateway.news_query:
        news = NewsRecipe(path=played_path(str(gateway.news_path or "")), query=gateway.news_query)
    return ticks, news
