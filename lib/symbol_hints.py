"""What to do about a symbol that a feed sends and the settings do not name: which one is close.

Pure. Nothing here is quick, so it is asked for the few symbols that reach the log.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final

from lib.stream_messages import MAX_SYMBOL_BYTES

MAX_COMPARED: Final = 100
"""Beyond so many configured symbols, only those are found that differ in case, punctuation or a
market's name: comparing letter by letter takes 4 µs each."""
MAX_COMPARED_CHARACTERS: Final = 64
"""Nor is a symbol that is longer, whatever it is, compared with any."""
MAX_REMEMBERED: Final = 1024
"""Hints that are kept, because the same symbols come again every second."""

_TOO_LONG: Final = f"a symbol has at most {MAX_SYMBOL_BYTES} bytes"


class SymbolHints:
    """Knows the configured symbols. Not shared between threads."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = symbols
        # Of two that are written alike, the first one.
        self._by_letters = {_letters(symbol): symbol for symbol in reversed(symbols)}
        self._hints: dict[str, str] = {}

    def hint(self, symbol: str) -> str:
        """Say what to do about a symbol that is not configured."""
        if len(symbol) > MAX_COMPARED_CHARACTERS:
            return _TOO_LONG
        hint = self._hints.get(symbol)
        if hint is None:
            if len(self._hints) >= MAX_REMEMBERED:
                self._hints.clear()
            hint = self._hints[symbol] = self._make_hint(symbol)
        return hint

    def _make_hint(self, symbol: str) -> str:
        near = self._near(symbol)
        if near:
            return f"{near} is configured"
        if len(symbol.encode()) > MAX_SYMBOL_BYTES:
            return _TOO_LONG
        return "not configured: to trade it, add it to symbols in the settings"

    def _near(self, symbol: str) -> str | None:
        # aapl, BRK.B for BRK-B; then NASDAQ:AAPL, AAPL.US.
        for part in (symbol, *re.split(r"[\W_]+", symbol)):
            letters = _letters(part)
            if letters and letters in self._by_letters:
                return self._by_letters[letters]
        if len(self._symbols) > MAX_COMPARED:
            return None
        close = difflib.get_close_matches(_letters(symbol), self._by_letters, n=1)
        return self._by_letters[close[0]] if close else None


def _letters(symbol: str) -> str:
    """Return what is left of a symbol without case and punctuation."""
    return re.sub(r"[\W_]+", "", symbol).casefold()
