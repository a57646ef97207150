"""Text from elsewhere, made fit for people."""

from __future__ import annotations

from typing import Final

MAX_SHOWN_BYTES: Final = 60
"""Of what a peer sent. The longest tick, a symbol of 16 bytes and 18 digits, is shown whole."""


def printable(text: str) -> str:
    """Show control characters instead of sending them to a terminal: peers choose some texts."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most_characters: int) -> str:
    """Return the text as it is, or its beginning and an ellipsis; printable in any case."""
    shown = printable(text[:most_characters])
    if len(text) <= most_characters and len(shown) <= most_characters:
        return shown
    return f"{shown[:most_characters]}…"


def shown(data: bytes) -> str:
    """Return the beginning of what a peer sent, fit for a terminal and a JSON log."""
    return shortened(data[: MAX_SHOWN_BYTES + 1].decode(errors="backslashreplace"), MAX_SHOWN_BYTES)
