"""Finds the known name nearest to an unknown one: `quantty`, `aapl`, `BTCUSD` for `BTC-USD`.

Two names are near if they differ only in case and punctuation, or do so when up to two letters are
deleted from them: a letter too many, too few, wrong or swapped. The index holds the known names
with letters deleted, so a look-up costs some 20 µs, however many names there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MOST_LEFT_OUT: Final = 2
"""How many letters may be deleted, from both names together."""
MOST_OF_A_SHORT_ONE: Final = 1
"""How many letters may be deleted if a name is `SHORT`: most short names are near each other."""
SHORT: Final = 3
"""The length up to which a name is short."""
FEW: Final = 32
"""Up to so many names, their letters are compared before the index is searched."""
MAX_INDEXED: Final = 1000
"""The most names that are indexed with deleted letters; of more names (the index would be large),
only those are near that differ in case and punctuation."""

_PUNCTUATION: Final = re.compile(r"[\W_]+")


class NearNames:
    """An index of names. Costs memory: up to 150 entries a name of 16 letters."""

    def __init__(self, names: Iterable[str]) -> None:
        keys = {name: key_of(name) for name in names}
        self._longest = max(map(len, keys.values()), default=0)
        self._most = MOST_LEFT_OUT if len(keys) <= MAX_INDEXED else 0
        self._letters = [(len(key), frozenset(key)) for key in keys.values()]
        self._index: dict[str, list[tuple[int, str]]] = {}
        """By the remaining letters: how many were deleted, and the name."""
        for name, key in keys.items():
            for rest, left_out in _rests(key, self._most).items():
                self._index.setdefault(rest, []).append((left_out, name))

    def nearest(self, name: str) -> str | None:
        """Return the nearest name; None if none is near."""
        if len(name) > 2 * (self._longest + self._most):  # twice: there may be punctuation
            return None
        key = key_of(name)
        if not key or len(key) > self._longest + self._most or not self._may_be_near(key):
            return None
        found = [
            (left_out + of_known, known)
            for rest, left_out in _rests(key, self._most).items()
            for of_known, known in self._index.get(rest, ())
            if left_out + of_known <= _most_between(key, key_of(known))
        ]
        return min(found, key=lambda near: near[0])[1] if found else None

    def _may_be_near(self, key: str) -> bool:
        """Whether length and letters allow a near name. True for an index of many names."""
        if len(self._letters) > FEW:
            return True
        length, letters, most = len(key), frozenset(key), self._most
        return any(
            -most <= length - of_known <= most and len(letters ^ known) <= most
            for of_known, known in self._letters
        )


def key_of(name: str) -> str:
    """Return a name in lower case without punctuation."""
    return _PUNCTUATION.sub("", name.casefold())


def _most_between(key: str, other: str) -> int:
    return MOST_OF_A_SHORT_ONE if min(len(key), len(other)) <= SHORT else MOST_LEFT_OUT


def _rests(word: str, most: int) -> dict[str, int]:
    """Return a word with up to `most` letters deleted, in every way, with how many were."""
    rests = {word: 0}
    for left_out in range(1, most + 1):
        for rest in [rest for rest, already in rests.items() if already == left_out - 1]:
            for at in range(len(rest)):
                rests.setdefault(rest[:at] + rest[at + 1 :], left_out)
    return rests
