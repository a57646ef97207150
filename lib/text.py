"""Text from elsewhere, made fit for people."""

from __future__ import annotations


def printable(text: str) -> str:
    """Show control characters instead of sending them to a terminal: peers choose some texts."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
