"""Makes text from peers and files safe to print."""

from __future__ import annotations

from typing import Final

MAX_SHOWN_BYTES: Final = 60
"""How much is shown of what a peer sent: enough for the longest tick."""


def printable(text: str) -> str:
    """Escape control characters: a peer must not control the terminal that shows its text."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most_characters: int) -> str:
    """Return the text, or its beginning and an ellipsis; printable in any case."""
    shown = printable(text[:most_characters])
    if len(text) <= most_characters and len(shown) <= most_characters:
        return shown
    return f"{shown[:most_characters]}…"


def shown(data: bytes) -> str:
    """Return the beginning of what a peer sent, safe for a terminal and a JSON log."""
    return shortened(data[: MAX_SHOWN_BYTES + 1].decode(errors="backslashreplace"), MAX_SHOWN_BYTES)
