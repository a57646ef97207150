"""The check value of a record, and that no mixture of two records passes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.price_book.records import record_check
from lib.price_book.segment import PUBLISHED, RECORD_WORDS
from tests.price_books import RING, assert_true_ticks, positions, write

word = st.integers(0, 2**64 - 1)
words = st.tuples(word, word, word, word, word)


class TestRecordCheck:
    @given(st.lists(words, min_size=1, max_size=20))
    def test_is_the_same_for_one_record_and_for_many(self, records):
        many = record_check(*np.array(records, np.uint64).T)
        assert many.tolist() == [record_check(*record) for record in records]

    @given(words, st.integers(0, 4), word)
    def test_differs_wherever_a_single_word_does(self, record, which, other):
        changed = tuple(other if i == which else value for i, value in enumerate(record))
        assert (record_check(*changed) == record_check(*record)) == (changed == record)


def mixtures(old: list[int], new: list[int]) -> Iterator[list[int]]:
    """Return what a slot can hold while the stores of `new` become visible, in any order."""
    for which in itertools.product((False, True), repeat=RECORD_WORDS):
        yield [n if stored else o for stored, o, n in zip(which, old, new, strict=True)]


class TestTheStoresOfOneRecordInEveryOrder:
    """A reader looks after each store; what is stored by then is any subset of the six words."""

    @pytest.mark.parametrize("count", [1, 30], ids=["few ticks", "many ticks"])
    def test_never_show_a_mixture_in_the_ring(self, book, count):
        position = RING + 40
        write(book, 1, position - 1, writer=1)
        ring = book._segment.ring
        old = ring[position % RING].tolist()
        write(book, position, 1, writer=2)
        new = ring[position % RING].tolist()
        assert all(o != n for o, n in zip(old[:4], new[:4], strict=True))
        assert old[0] == position - RING
        for words in mixtures(old, new):
            ring[position % RING] = words
            # A reader that waits for the new record, published because stores may be reordered …
            book._segment.words[PUBLISHED] = position
            few = book.reader(position - 1).read_few()
            assert [tick[0] for tick in few] == ([position] if words == new else [])
            batch = book.reader(position - count).read()
            missed = book.reader(position - 1).read().missed
            assert positions(batch) == list(range(position - count + 1, position + (words == new)))
            assert missed == (None if words == new else (position, position))
            # … and one that still wants the old one.
            book._segment.words[PUBLISHED] = position - 1
            batch = book.reader(position - RING - 1).read(count)
            if words == old:
                assert batch.missed is None
                assert positions(batch) == list(range(old[0], old[0] + count))
            else:
                assert batch.missed == (old[0], old[0])
                assert positions(batch) == list(range(old[0] + 1, old[0] + count))
            assert_true_ticks(batch.ticks)

    def test_never_show_a_mixture_as_the_latest_price(self, book):
        for number, price in ((1, 5), (2, 6), (3, 7)):
            book.update_batch(*(np.array([value]) for value in (0, price, number, 40 + number)))
        latest = book._segment.latest
        slot = 0 if latest[0, 0] == 3 else 1
        new = latest[slot].tolist()
        old = [1, 1, 5, 41, 0, record_check(1, 1, 5, 41, 0)]
        for words in mixtures(old, new):
            latest[slot] = words
            for published in (2, 3):
                book._segment.words[PUBLISHED] = published
                price = 7 if words == new and published == 3 else 6
                assert book.latest("AAPL").price == price

    @given(
        old=st.tuples(*[st.integers(1, 2**40)] * 4, st.integers(0, 2**40)),
        new=st.tuples(*[st.integers(1, 2**40)] * 3, st.integers(0, 2**40)),
        laps=st.integers(1, 2**18),
    )
    @settings(max_examples=200)
    def test_never_pass_the_check_as_a_mixture(self, old, new, laps):
        check = record_check
        new = (old[0] + laps, *new)
        for words in mixtures([*old, check(*old)], [*new, check(*new)]):
            if tuple(words[:5]) not in (old, new):
                assert check(*words[:5]) != words[5]
