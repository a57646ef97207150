"""What reading a tape's file has found: what it was taken for, what it has, what is odd."""

from __future__ import annotations

from msgspec import Struct, field


class SymbolFindings(Struct, frozen=True, kw_only=True):
    """The ticks of one symbol. Prices are exact decimal text."""

    ticks: int
    first: str
    last: str


class Findings(Struct, frozen=True, kw_only=True):
    """Of ticks or of sentiments. Each warning is one line for people, whole."""

    recognised: list[str] = field(default_factory=list)
    """One line each: the kind of file, dialect, layout, columns."""
    length: int = 0
    """How many ticks or sentiments would be played."""
    symbols: dict[str, SymbolFindings] = field(default_factory=dict)
    """By configured symbol, in the order of the settings; only those with a tick."""
    skipped: int = 0
    """How many rows (of a wide file: cells) are not played because of their content."""
    other_symbols: dict[str, int] = field(default_factory=dict)
    """How many rows each symbol has that is not configured, the most frequent ones."""
    warnings: list[str] = field(default_factory=list)
