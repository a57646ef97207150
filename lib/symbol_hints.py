"""What to do about a symbol that is not configured: which one is near.

Pure. A look-up takes some 20 µs, so it is made for what is refused or reaches the log only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lib.near_names import NearNames
from lib.stream_messages import MAX_SYMBOL_BYTES

MAX_COMPARED_CHARACTERS: Final = 64
"""A symbol that is longer, whatever it is, is compared with none."""

_TOO_LONG: Final = f"a symbol has at most {MAX_SYMBOL_BYTES} bytes"


class SymbolHints:
    """Knows the configured symbols."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._near = NearNames(symbols)

    def nearest(self, symbol: str) -> str | None:
        """Return the configured symbol that was meant; None if none is near."""
        if len(symbol) > MAX_COMPARED_CHARACTERS:
            return None
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
