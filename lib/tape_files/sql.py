"""Texts and names as SQL."""

from __future__ import annotations


def quoted_text(text: str) -> str:
    """Return the text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """Return the name of a column as SQL."""
    return '"' + name.replace('"', '""') + '"'
