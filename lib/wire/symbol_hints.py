"""What to do about a symbol that is not configured: which one is near.

Pure. A look-up takes some 20 µs for each part of a symbol, so it is made only for a symbol that is
refused or logged, and the latest look-ups are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from lib.wire.near_names import NearNames
from lib.wire.stream_messages import MAX_SYMBOL_BYTES

MAX_COMPARED_CHARACTERS: Final = 64
"""A symbol that is longer, whatever it is, is compared with none."""
MAX_REMEMBERED: Final = 1024
"""Symbols whose look-up is not made again: a client repeats its wrong symbol."""

_TOO_LONG: Final = f"a symbol has at most {MAX_SYMBOL_BYTES} bytes"


class SymbolHints:
    """Knows the configured symbols."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._near = NearNames(symbols)
        self._look_up = lru_cache(maxsize=MAX_REMEMBERED)(self._nearest)

    def nearest(self, symbol: str) -> str | None:
        """Return the configured symbol that was meant; None if none is near."""
        return None if len(symbol) > MAX_COMPARED_CHARACTERS else self._look_up(symbol)

    def _nearest(self, symbol: str) -> str | None:
        # aapl, BRK.B for BRK-B; then NASDAQ:AAPL, AAPL.US.
        parts = (symbol, *re.split(r"[\W_]+", symbol))
        return next(filter(None, map(self._near.nearest, parts)), None)

    def hint(self, symbol: str) -> str:
        """Say what to do about a symbol that is not configured."""
        near = self.nearest(symbol)
        if near:
            return f"{near} is configured"
        if len(symbol.encode()) > MAX_SYMBOL_BYTES:
            return _TOO_LONG
        return "not configured: to trade it, add it to symbols in the settings"
