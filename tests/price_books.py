"""Price books whose ticks are all different, so that a mixture of two is seen."""

from __future__ import annotations

import numpy as np

from lib.price_book.book import Batch, SharedPriceBook
from lib.price_book.segment_files import SHM_DIR

SYMBOLS = ("AAPL", "MSFT", "GOOG")
RING = 64


def open_by_name(name: str, ring: int = RING) -> SharedPriceBook:
    return SharedPriceBook(SYMBOLS, name, ring_capacity=ring)


def files_of(name: str) -> list[str]:
    """The names of all files of a price book."""
    return sorted(path.name for path in SHM_DIR.glob(f"{name}*"))


# Every value of a tick follows from its number and its writer's, so that no mixture passes.


def ticks_of(numbers: np.ndarray, writer: int = 0) -> tuple[np.ndarray, ...]:
    """What `update_batch` takes, for the ticks of these numbers."""
    symbols = (numbers * 7 % len(SYMBOLS)).astype(np.int32)
    prices = numbers * 1_000_003 % 999_999_937 + writer + 1
    return symbols, prices, numbers, numbers + (writer << 40)


def write(book: SharedPriceBook, first: int, count: int, writer: int = 0) -> None:
    """As an orderbook does: a few one by one, many as arrays."""
    columns = ticks_of(np.arange(first, first + count), writer)
    if count <= 24:
        book.update_few(list(zip(*(column.tolist() for column in columns), strict=True)))
    else:
        book.update_batch(*columns)


def assert_true_ticks(ticks: np.ndarray) -> None:
    """Each tick is one that some writer has written, and the numbers follow the positions."""
    expected = ticks_of(ticks["sequence"], ticks["sent_ns"] >> 40)
    assert np.array_equal(ticks["symbol"], expected[0])
    assert np.array_equal(ticks["price"], expected[1])
    assert np.array_equal(ticks["sent_ns"] & (1 << 40) - 1, expected[2])
    assert np.array_equal(ticks["position"], ticks["sequence"])


def positions(batch: Batch) -> list[int]:
    return batch.ticks["position"].tolist()
