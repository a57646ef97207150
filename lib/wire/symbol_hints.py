"""Hints for a symbol that is not configured: the nearest one that is.

Pure. A look-up takes some 20 µs for each part of a symbol, so it is made only for a symbol that is
rejected or logged, and the latest look-ups are cached.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from lib.wire.near_names import NearNames
from lib.wire.stream_messages import MAX_SYMBOL_BYTES

MAX_COMPARED_CHARACTERS: Final = 64
"""The longest symbol that is looked up."""
MAX_REMEMBERED: Final = 1024
"""The size of the cache of look-ups: a client repeats its wrong symbol."""

_TOO_LONG: Final = f"a symbol has at most {MAX_SYMBOL_BYTES} bytes"


class SymbolHints:
    """The hints for one set of configured symbols."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._near = NearNames(symbols)
        self._look_up = lru_cache(maxsize=MAX_REMEMBERED)(self._nearest)

    def nearest(self, symbol: str) -> str | None:
        """Return the nearest configured symbol; None if none is near."""
        return None if len(symbol) > MAX_COMPARED_CHARACTERS else self._look_up(symbol)

    def _nearest(self, symbol: str) -> str | None:
        # aapl, BRK.B for BRK-B; then NASDAQ:AAPL, AAPL.US.
        parts = (symbol, *re.split(r"[\W_]+", symbol))
        return next(filter(None, map(self._near.nearest, parts)), None)

    def hint(self, symbol: str) -> str:
        """Return what to do about a symbol that is not configured."""
        near = self.nearest(symbol)
        if near:
            return f"{near} is configured"
        if len(symbol.encode()) > MAX_SYMBOL_BYTES:
            return _TOO_LONG
        return "not configured: to trade it, add it to symbols in the settings"
