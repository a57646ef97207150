"""Symbols, and settings with them, in any number."""

from __future__ import annotations

from msgspec.structs import replace

from lib.settings import Settings


def symbols_of(count: int) -> tuple[str, ...]:
    """Return `count` symbols: the default ones if they suffice, otherwise S0000 and so on."""
    usual = Settings().symbols
    if count <= len(usual):
        return usual[:count]
    return tuple(f"S{number:04d}" for number in range(count))


def settings_for(symbols: int) -> Settings:
    """Return the default settings with so many symbols."""
    return replace(Settings(), symbols=symbols_of(symbols))
