"""Records of the price book: their words, the check over them, whether a copy is whole. Pure.

A copy from shared memory may mix the words of two records, or be no record at all: the check value
shows it.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from lib.price_book.segment import CHECK, POSITION, RECORD_WORDS, SYMBOL_EPOCH

SMALL_BATCH: Final = 24
"""The largest batch, in ticks, for which one tick at a time is quicker than arrays."""
BLOCK_TICKS: Final = 4_096
"""Ticks of a block: large batches go in blocks that fit the processor's cache, three times as fast
as in one piece."""
MAX_WORD: Final = 2**63 - 1
"""The largest value of a word of a record, other than its check value."""
_WORD: Final = (1 << 64) - 1

Record: TypeAlias = tuple[int, int, int, int, int, int]
"""The six words of a record: position, sequence, price, sent_ns, symbol and epoch, check."""


@overload
def record_check(
    position: int, sequence: int, price: int, sent_ns: int, symbol_epoch: int
) -> int: ...
@overload
def record_check(
    position: NDArray[np.uint64],
    sequence: NDArray[np.uint64],
    price: NDArray[np.uint64],
    sent_ns: NDArray[np.uint64],
    symbol_epoch: NDArray[np.uint64],
) -> NDArray[np.uint64]: ...
def record_check(position: Any, sequence: Any, price: Any, sent_ns: Any, symbol_epoch: Any) -> Any:
    """Return the check value of one record (ints below 2**64) or of many (uint64 arrays).

    Stores may become visible in any order, and a writer may be killed between any two, so a slot
    may hold some words of one record and some of another. The sum of the bare words would let the
    mixture pass wherever two differences cancel out. Here every word on its own decides the
    result (each step is a bijection of each word, the factors being odd), and two or more cancel
    out only by an accident of 64 bits. Folding the upper half down in between lets
    upper bits act on lower ones, which a multiplication alone never does.

    One function for both, so that the two cannot differ: NumPy wraps round where `& _WORD` cuts.
    """
    mixed = (position * 0x9E3779B97F4A7C15 + sequence * 0xC2B2AE3D27D4EB4F) & _WORD
    mixed ^= mixed >> 32
    mixed *= 0xD6E8FEB86659FD93
    mixed = (mixed + price * 0xA0761D6478BD642F + sent_ns * 0xE7037ED1A0B428DB) & _WORD
    return mixed ^ (mixed >> 32) ^ symbol_epoch


def make_record(
    position: int, sequence: int, price: int, sent_ns: int, symbol_epoch: int
) -> Record:
    """Return the words of one record."""
    check = record_check(position, sequence, price, sent_ns, symbol_epoch)
    return position, sequence, price, sent_ns, symbol_epoch, check


def make_records(
    first: int,
    sequences: NDArray[np.int64],
    prices: NDArray[np.int64],
    sent_ns: NDArray[np.int64],
    indices: NDArray[np.int64],
    epoch: int,
) -> NDArray[np.uint64]:
    """Return the records of ticks at the positions from `first` on: shape (n, RECORD_WORDS)."""
    columns = [
        column.view(np.uint64)
        for column in (
            np.arange(first, first + len(indices)),
            sequences,
            prices,
            sent_ns,
            indices | epoch << 32,
        )
    ]
    records = np.empty((len(indices), RECORD_WORDS), np.uint64)
    for word, column in enumerate((*columns, record_check(*columns))):
        records[:, word] = column
    return records


def copy_of_ring(ring: NDArray[np.uint64], first: int, count: int) -> NDArray[np.uint64]:
    """Copy the slots of `count` positions from `first` on: at most two pieces."""
    begin = first % len(ring)
    piece = ring[begin : begin + count]
    if len(piece) == count:
        return piece.copy()
    return np.concatenate((piece, ring[: count - len(piece)]))


def which_are_whole(records: NDArray[np.uint64], first: int, symbol_count: int) -> bytes:
    """Return for each record 1 if it is complete and at the position expected, 0 if not.

    The records are a private copy of the slots of the positions from `first` on.
    """
    if len(records) <= SMALL_BATCH:
        return bytes(
            record[POSITION] == position
            and record[CHECK] == record_check(*record[:CHECK])
            and record[SYMBOL_EPOCH] & 0xFFFFFFFF < symbol_count
            for position, record in enumerate(records.tolist(), first)
        )
    position, sequence, price, sent_ns, symbol_epoch, check = np.ascontiguousarray(records.T)
    expected = np.arange(first, first + len(records)).view(np.uint64)
    whole: NDArray[np.bool_] = (
        (position == expected)
        & (check == record_check(position, sequence, price, sent_ns, symbol_epoch))
        & ((symbol_epoch & np.uint64(0xFFFFFFFF)) < symbol_count)
    )
    return whole.tobytes()


def are_overwritten(records: NDArray[np.uint64], first: int) -> bool:
    """Return whether all these slots, of the positions from `first` on, hold later positions."""
    if not len(records):
        return True
    return bool(
        (records[:, POSITION] > np.arange(first, first + len(records)).view(np.uint64)).all()
    )
