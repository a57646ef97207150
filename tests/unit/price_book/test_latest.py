"""The latest price of a symbol, also while it is written."""

from __future__ import annotations

import array
import itertools
import math
from decimal import Decimal

import numpy as np
import pytest

from lib.price_book.book import SharedPriceBook
from lib.price_book.segment import PUBLISHED
from lib.prices import PRICE_SCALE
from tests.price_books import RING, SYMBOLS, ticks_of, write


class TestLatestPrice:
    @pytest.mark.parametrize("price", [172, Decimal("172.53"), 0.00000001])
    def test_is_what_was_written_last(self, book, price):
        book.update("AAPL", 1.5)
        book.update("AAPL", price)
        book.update("MSFT", 3.25)
        assert book.read("AAPL") == float(price)
        assert book.read("MSFT") == 3.25
        assert math.isnan(book.read("GOOG"))
        assert book.latest("GOOG") is None

    def test_of_an_unknown_symbol_is_a_key_error(self, book):
        for ask in (book.read, book.latest, lambda symbol: book.update(symbol, 1.0)):
            with pytest.raises(KeyError):
                ask("TSLA")

    @pytest.mark.parametrize("price", [0, math.nan, 1e10])
    def test_must_be_positive_and_possible(self, book, price):
        with pytest.raises(ValueError, match="price"):
            book.update("AAPL", price)
        assert math.isnan(book.read("AAPL"))

    @pytest.mark.parametrize("count", [1, 20, 50])
    def test_says_which_tick_it_is_of(self, book, count):
        book.begin_epoch("tape-1")
        write(book, 1001, count)
        book.update("AAPL", 2)
        latest = book.latest("AAPL")
        assert latest.price == 2 * PRICE_SCALE
        assert (latest.sequence, latest.position) == (1001 + count, count + 1)
        assert book.tape(latest.epoch) == "tape-1"
        assert latest.sent_ns > 0

    @pytest.mark.parametrize("count", [1, 5, 16, 17, 50, RING + 1, 5 * RING])
    def test_of_a_batch_is_that_of_the_last_tick_of_each_symbol(self, book, count):
        write(book, 1, count)
        symbols, prices, *_ = ticks_of(np.arange(1, count + 1))
        for index, symbol in enumerate(SYMBOLS):
            of_symbol = prices[symbols == index]
            if len(of_symbol):
                assert book.latest(symbol).price == of_symbol[-1]
            else:
                assert book.latest(symbol) is None

    def test_of_a_symbol_absent_from_a_large_batchs_end_is_still_of_that_batch(self, book):
        symbols = np.zeros(10 * RING, np.int32)
        symbols[0] = 1
        numbers = np.arange(1, 10 * RING + 1)
        book.update_batch(symbols, numbers, numbers, 5)
        assert book.latest("MSFT").price == 1
        # What is written next must not overwrite it before it is published.
        newest = book._segment.latest[:, 0].reshape(-1, 2).argmax(axis=1)
        assert list(book._writer._next_latest[:2]) == (1 - newest[:2]).tolist()


LOADS = 8
"""More than one `read` makes if it need not look again."""


class Recorder:
    """Stands for the words of a segment; keeps every store and makes none."""

    def __init__(self, words: memoryview) -> None:
        self.words = array.array("Q", words)
        self.stores: list[tuple[int, int]] = []

    def __getitem__(self, key):
        return self.words[key]

    def __setitem__(self, index: int, value: int) -> None:
        self.words[index] = value
        self.stores.append((index, value))


class Interleaved:
    """Stands for the words of a segment; before each load the writer makes some of its stores."""

    def __init__(self, words: memoryview, stores: list[tuple[int, int]], steps: list[int]) -> None:
        self.words = array.array("Q", words)
        self._stores = iter(stores)
        self._steps = iter(steps)

    def __getitem__(self, key):
        for index, value in itertools.islice(self._stores, next(self._steps, 0)):
            self.words[index] = value
        return self.words[key]


@pytest.mark.parametrize("ticks_before", [0, 1, 2])
def test_a_read_of_the_latest_price_between_any_stores_of_the_writer_is_right(ticks_before):
    """The writer is anywhere in three updates, and runs on by any number of stores at any load."""
    with SharedPriceBook(["AAPL"], ring_capacity=8) as book:
        for price in range(1, ticks_before + 1):
            book.update("AAPL", price)
        book.become_writer()
        words = book._segment.words
        book._writer._words = recorder = Recorder(words)
        for price in range(ticks_before + 1, ticks_before + 4):
            book.update("AAPL", price)
        stores = recorder.stores
        published = [0, *itertools.accumulate(index == PUBLISHED for index, _ in stores)]
        assert published[-1] == 3
        for before, later in itertools.combinations_with_replacement(range(len(stores) + 1), 2):
            for load in range(1, LOADS):
                steps = [before, *[0] * (load - 1), later - before]
                book._latest._words = Interleaved(words, stores, steps)
                price = book.read("AAPL")
                number = 0 if math.isnan(price) else int(price)
                low, high = ticks_before + published[before], ticks_before + published[later]
                assert low <= number <= high, f"{before} stores, and {later} before load {load}"
        book._latest._words = book._writer._words = words
