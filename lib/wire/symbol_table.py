"""Finds which symbols many texts are, all at once: a hash table in arrays.

Pure. A symbol of at most 16 bytes is two little-endian words: its last eight bytes, and those
before them (0 for most symbols). One multiplication turns the words of a text into its slot; the
symbol in the slot is compared word by word, so that a hash collision is not a match. Symbols that
hash to a taken slot go into the next free one.

Looking up costs some 6 ns a text, whatever the number of symbols (a binary search takes ten times
as long with 5,000 of them in no order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.wire.stream_messages import MAX_SYMBOL_BYTES

WORD_BYTES: Final = 8
NOT_FOUND: Final = -1

_SLOTS_A_SYMBOL: Final = 4
_ROOMY_SLOTS: Final = 1 << 14
"""Up to so many slots, the table has the number of symbols squared: few symbols collide."""
_ATTEMPTS: Final = 32
"""How many multipliers are tried, to find one without collisions."""
_FIRST_MULTIPLIER: Final = 0x9E3779B97F4A7C15
_NEXT_MULTIPLIER: Final = 0xD1342543DE82EF94  # even: the multipliers stay odd
_HEAD_FACTOR: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_WORD: Final = 2**64 - 1


def words_of(symbol: bytes) -> tuple[int, int]:
    """Return the two words of a symbol: its last eight bytes, and those before them."""
    head, tail = symbol[:-WORD_BYTES], symbol[-WORD_BYTES:]
    return int.from_bytes(tail, "little"), int.from_bytes(head, "little")


class SymbolTable:
    """The symbols of one codec, found by their words. Immutable."""

    def __init__(self, symbols: Sequence[bytes]) -> None:
        """Raises ValueError if a symbol has no or more than `MAX_SYMBOL_BYTES` bytes."""
        assert MAX_SYMBOL_BYTES <= 2 * WORD_BYTES
        for symbol in symbols:
            if not 1 <= len(symbol) <= MAX_SYMBOL_BYTES:
                raise ValueError(f"a symbol has 1 to {MAX_SYMBOL_BYTES} bytes, not {symbol!r}")
        words = np.array([words_of(symbol) for symbol in symbols], np.uint64).reshape(-1, 2)
        tails, heads = np.ascontiguousarray(words.T)
        count = len(symbols)
        bits = max(_SLOTS_A_SYMBOL * count, min(count * count, _ROOMY_SLOTS)).bit_length()
        self._shift = np.uint64(64 - bits)
        self._last_slot = (1 << bits) - 1
        self._multiplier = self._choose_multiplier(tails, heads)
        # In lists, which are filled faster than arrays.
        table = [NOT_FOUND] * (1 << bits)
        self._longest_search = 1
        for index, slot in enumerate(self._slots(tails, heads).tolist()):
            search = 1
            while table[slot] != NOT_FOUND:
                slot = (slot + 1) & self._last_slot
                search += 1
            table[slot] = index
            self._longest_search = max(self._longest_search, search)
        self._index = np.array(table, np.int32)
        # An empty slot has words that no text has: NUL is in no symbol.
        self._tails = np.where(self._index >= 0, tails[self._index], np.uint64(0))
        self._heads = np.where(self._index >= 0, heads[self._index], np.uint64(0))

    def find(
        self, tails: NDArray[np.uint64], heads: NDArray[np.uint64] | None
    ) -> NDArray[np.int32]:
        """Return the index of the symbol with these words, NOT_FOUND where it is none.

        `heads` is None where all are 0.
        """
        slots = self._slots(tails, heads)
        found = self._matches(slots, tails, heads)
        if not found.all():
            (left,) = np.nonzero(~found)
            for _ in range(self._longest_search - 1):
                slots[left] = (slots[left] + 1) & self._last_slot
                found[left] = self._matches(
                    slots[left], tails[left], None if heads is None else heads[left]
                )
                left = left[~found[left]]
            return np.where(found, self._index[slots], np.int32(NOT_FOUND))
        return self._index[slots]

    def _matches(
        self,
        slots: NDArray[np.int64],
        tails: NDArray[np.uint64],
        heads: NDArray[np.uint64] | None,
    ) -> NDArray[np.bool_]:
        matches: NDArray[np.bool_] = self._tails[slots] == tails
        matches &= self._heads[slots] == (0 if heads is None else heads)
        return matches

    def _slots(
        self, tails: NDArray[np.uint64], heads: NDArray[np.uint64] | None
    ) -> NDArray[np.int64]:
        mixed = tails if heads is None else tails + heads * _HEAD_FACTOR
        return (mixed * self._multiplier >> self._shift).view(np.int64)

    def _choose_multiplier(self, tails: NDArray[np.uint64], heads: NDArray[np.uint64]) -> np.uint64:
        """Return the multiplier with the fewest collisions, out of a few."""
        best, most_slots = np.uint64(_FIRST_MULTIPLIER), -1
        multiplier = _FIRST_MULTIPLIER
        for _ in range(_ATTEMPTS):
            self._multiplier = np.uint64(multiplier)
            slots_used = len(set(self._slots(tails, heads).tolist()))
            if slots_used > most_slots:
                best, most_slots = self._multiplier, slots_used
            if slots_used == len(tails):
                break
            multiplier = (multiplier + _NEXT_MULTIPLIER) & _WORD
        return best
