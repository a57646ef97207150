"""The price book: alone, and with real processes that are killed, stopped and replaced."""

from __future__ import annotations

import array
import itertools
import math
import multiprocessing
import os
import pickle
import random
import secrets
import select
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lib.price_book import reader as reader_module
from lib.price_book import wake_up as wakeup
from lib.price_book import writer as writer_module
from lib.price_book.book import (
    MAX_SLEEP_S,
    Batch,
    PriceBookError,
    PriceBookInUse,
    PriceBookMismatch,
    PriceBookReader,
    SharedPriceBook,
    remove_segments,
)
from lib.price_book.records import record_check
from lib.price_book.segment import EPOCHS, PUBLISHED, RECORD_WORDS, RETIRED
from lib.price_book.segment_files import SHM_DIR
from lib.price_book.wake_up import RESERVED_SLOTS, SLOTS
from lib.price_book.writer import PriceBookWriter
from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.process.run_identity import Run
from lib.wire.ticks import TICK
from tests.helpers import wait_until
from tests.processes import Child, forked, run_python

SYMBOLS = ("AAPL", "MSFT", "GOOG")
RING = 64


@pytest.fixture
def name() -> Iterator[str]:
    """A name that is nobody else's; nothing of it is left behind."""
    name = f"test-{os.getpid()}-{secrets.token_hex(6)}"
    yield name
    remove_segments(name)


@pytest.fixture
def book(name: str) -> Iterator[SharedPriceBook]:
    with SharedPriceBook(SYMBOLS, name, ring_capacity=RING) as book:
        yield book


def files_of(name: str) -> list[str]:
    return sorted(path.name for path in SHM_DIR.glob(f"{name}*"))


# Ticks whose every value follows from their number and their writer's, so that no mixture passes.


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


class TestLatestPrice:
    def test_is_nan_before_the_first_tick(self, book):
        assert math.isnan(book.read("AAPL"))
        assert book.latest("AAPL") is None

    @pytest.mark.parametrize("price", [172.53, 172, Decimal("172.53"), 0.00000001])
    def test_is_what_was_written_last(self, book, price):
        book.update("AAPL", 1.5)
        book.update("AAPL", price)
        book.update("MSFT", 3.25)
        assert book.read("AAPL") == float(price)
        assert book.read("MSFT") == 3.25
        assert math.isnan(book.read("GOOG"))

    def test_of_an_unknown_symbol_is_a_key_error(self, book):
        for ask in (book.read, book.latest, lambda symbol: book.update(symbol, 1.0)):
            with pytest.raises(KeyError):
                ask("TSLA")

    @pytest.mark.parametrize("price", [0, -1, math.nan, math.inf, 1e10, 1e-9])
    def test_must_be_positive_and_possible(self, book, price):
        with pytest.raises(ValueError, match="price"):
            book.update("AAPL", price)
        assert math.isnan(book.read("AAPL"))

    def test_tells_which_tick_it_is_of(self, book):
        book.begin_epoch("tape-1")
        write(book, 1, 1)
        book.update("AAPL", 2)
        latest = book.latest("AAPL")
        assert latest.price == 2 * PRICE_SCALE
        assert (latest.sequence, latest.position, book.tape(latest.epoch)) == (2, 2, "tape-1")
        assert latest.sent_ns > 0

    @pytest.mark.parametrize("count", [1, 20, 50])
    def test_after_a_batch_is_numbered_on(self, book, count):
        write(book, 1001, count)
        book.update("AAPL", 2)
        latest = book.latest("AAPL")
        assert (latest.sequence, latest.position) == (1001 + count, count + 1)

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


class TestUpdateFew:
    @pytest.mark.parametrize("count", [1, 3, 20, 2 * RING])
    def test_publishes_what_update_batch_does(self, book, count):
        columns = ticks_of(np.arange(1, count + 1))
        reader = book.reader()
        book.update_few(list(zip(*(column.tolist() for column in columns), strict=True)))
        few = reader.read().ticks
        book.update_batch(*columns)
        many = reader.read().ticks
        for field in ("sequence", "price", "sent_ns", "symbol"):
            assert few[field].tolist() == many[field].tolist()
        assert_true_ticks(few)

    @pytest.mark.parametrize(
        "wrong",
        [
            *[(3, 1, 1, 1), (-1, 1, 1, 1), (0, 0, 1, 1), (0, MAX_PRICE + 1, 1, 1), (0, 1, 0, 1)],
            *[(0, 1, 2**63, 1), (0, 1, 1, -1), (0, 1, 1, 2**63)],
        ],
    )
    def test_refuses_what_cannot_be_ticks_and_publishes_nothing(self, book, wrong):
        with pytest.raises(ValueError, match="out of range"):
            book.update_few([(0, 1, 1, 1), wrong])
        assert len(book.reader(0).read().ticks) == 0

    def test_of_nothing_changes_nothing(self, book):
        book.update_few([])
        assert book._segment.words[PUBLISHED] == 0


class TestUpdateBatch:
    def columns(self, **changed: np.ndarray) -> dict[str, np.ndarray]:
        columns = dict.fromkeys(("prices", "sequences", "sent_ns"), np.arange(1, 4))
        return columns | {"symbol_indices": np.arange(3, dtype=np.int32)} | changed

    @pytest.mark.parametrize(
        "wrong",
        [
            {"prices": np.arange(1, 3)},
            {"prices": np.ones(3)},
            {"prices": np.array([1, 0, 1])},
            {"prices": np.array([1, MAX_PRICE + 1, 1])},
            {"symbol_indices": np.array([0, 3, 0])},
            {"symbol_indices": np.array([0, -1, 0])},
            {"sequences": np.array([0, 1, 2])},
            {"sequences": np.array([[1, 2, 3]])},
            {"sent_ns": np.array([1, -1, 1])},
            {"sent_ns": np.array([1, 2**63, 1], np.uint64)},
        ],
    )
    @pytest.mark.parametrize("times", [1, 20])
    def test_refuses_what_cannot_be_ticks_and_publishes_nothing(self, book, wrong, times):
        wrong = {key: np.repeat(value, times, axis=-1) for key, value in wrong.items()}
        right = {key: np.repeat(value, times, axis=-1) for key, value in self.columns().items()}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            book.update_batch(**(right | wrong))
        assert len(book.reader(0).read().ticks) == 0

    def test_takes_one_time_for_all(self, book):
        book.update_batch(**self.columns(sent_ns=77))
        assert book.reader(0).read().ticks["sent_ns"].tolist() == [77, 77, 77]

    def test_of_nothing_changes_nothing(self, book):
        nothing = np.empty(0, np.int64)
        book.update_batch(nothing, nothing, nothing, nothing)
        assert book._segment.words[PUBLISHED] == 0

    def test_larger_than_the_ring_leaves_the_last_ticks_and_counts_all(self, book):
        reader = book.reader()
        write(book, 1, 3 * RING + 5)
        batch = reader.read()
        assert positions(batch) == list(range(2 * RING + 6, 3 * RING + 6))
        assert batch.missed == (1, 2 * RING + 5)
        assert_true_ticks(batch.ticks)

    @pytest.mark.parametrize("stop_at", ["_store_as_latest", "_publish"])
    def test_that_is_interrupted_leaves_no_trace(self, book, monkeypatch, stop_at):
        write(book, 1, 3)
        with monkeypatch.context() as patch:
            patch.setattr(PriceBookWriter, stop_at, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                write(book, 4, 3, writer=9)
        book.update("AAPL", 1.0)
        batch = book.reader(0).read()
        assert positions(batch) == [1, 2, 3, 4]
        assert_true_ticks(batch.ticks[:3])
        for symbol in ("MSFT", "GOOG"):
            assert book.latest(symbol).sent_ns < 9 << 40


class TestTakingOver:
    def test_wipes_out_what_the_last_writer_stored_and_did_not_publish(self, name, book):
        write(book, 1, 30)
        write(book, 31, 10)
        book._segment.words[PUBLISHED] = 30  # as if it had been killed before the last store
        book.close()
        with open_by_name(name) as successor:
            write(successor, 31, 1, writer=2)
            assert positions(successor.reader(0).read()) == list(range(1, 32))
            assert all(successor.latest(symbol).position <= 31 for symbol in SYMBOLS)
            # Were the published position visible before the records that belong to it, nothing of
            # the dead writer's must be there.
            successor._segment.words[PUBLISHED] = 40
            batch = successor.reader(31).read()
            assert positions(batch) == []
            assert batch.missed == (32, 40)
            assert all(successor.latest(symbol).position <= 31 for symbol in SYMBOLS)

    def test_goes_on_from_the_last_price_whichever_of_the_two_records_holds_it(self, name, book):
        for price in range(1, 6):
            with open_by_name(name) as writer:
                writer.update("AAPL", price)
            assert book.read("AAPL") == price
            at = 1 - int(np.argmax(book._segment.latest[:2, 0]))
            book._segment.latest[at] = 0  # the older one: a killed writer may have been at it
            assert book.read("AAPL") == price


class TestBelongingToARun:
    def test_a_segment_belongs_to_the_run_it_was_made_for(self, name):
        with SharedPriceBook(SYMBOLS, name, ring_capacity=RING, run=Run(7, 70)) as book:
            assert book.run == Run(7, 70)
            assert not book.retired
            with SharedPriceBook.attach(name) as same:
                assert same.run == Run(7, 70)

    def test_a_segment_that_was_made_for_no_run_belongs_to_none(self, book):
        book.update("AAPL", 1)
        assert book.run is None

    def test_a_segment_has_an_identity_that_its_successor_does_not_have(self, name, book):
        identity = book.identity
        with SharedPriceBook.attach(name) as same:
            assert same.identity == identity
        book.unlink()
        with open_by_name(name) as successor:
            assert successor.identity != identity

    def test_a_segment_belongs_to_the_run_of_the_writer_that_took_over(self, name, book):
        book.update("AAPL", 1)
        with SharedPriceBook(SYMBOLS, name, ring_capacity=RING, run=Run(8, 80)) as second:
            assert book.run is None  # it has not written, and may not
            book.close()
            second.become_writer()
            assert second.run == Run(8, 80)
            assert second.read("AAPL") == 1


class TestEpochs:
    def test_number_their_ticks_anew(self, book):
        book.update("AAPL", 1)
        book.update("AAPL", 1)
        book.begin_epoch("tape-1")
        book.update("AAPL", 1)
        book.begin_epoch("")
        book.update("AAPL", 1)
        ticks = book.reader(0).read().ticks
        assert ticks["sequence"].tolist() == [1, 2, 1, 1]
        assert ticks["epoch"].tolist() == [0, 0, 1, 2]
        assert [book.reader().tape(epoch) for epoch in (0, 1, 2)] == ["", "tape-1", ""]

    def test_are_forgotten_by_name_when_there_have_been_many_since(self, book):
        for epoch in range(1, EPOCHS + 3):
            book.begin_epoch(f"tape-{epoch}")
        assert [book.tape(epoch) for epoch in (2, 3, EPOCHS + 2)] == [
            "",
            "tape-3",
            f"tape-{EPOCHS + 2}",
        ]

    @pytest.mark.parametrize("tape", ["x" * 64, "ä", "a\0b"])
    def test_need_a_name_that_fits(self, book, tape):
        with pytest.raises(ValueError, match="tape"):
            book.begin_epoch(tape)

    def test_tell_a_successor_where_to_go_on(self, name, book):
        assert book.resume_point() == (None, 1)
        book.update("AAPL", 1)
        assert book.resume_point() == (None, 2)
        book.begin_epoch("tape-1")
        assert book.resume_point() == ("tape-1", 1)
        write(book, 41, 30)
        assert book.resume_point() == ("tape-1", 71)
        book.close()
        with SharedPriceBook(SYMBOLS, name, ring_capacity=RING) as successor:
            assert successor.resume_point() == ("tape-1", 71)
            successor.update("MSFT", 1)
            latest = successor.latest("MSFT")
            assert (latest.sequence, latest.epoch) == (71, 1)

    def test_half_entered_do_not_count(self, book):
        book.begin_epoch("tape-1")
        at = book._segment.layout.epochs_offset + 2 * 80
        book._segment._bytes[at : at + 8] = (2).to_bytes(8, sys.byteorder)
        assert book.resume_point() == ("tape-1", 1)


class TestReader:
    def test_gets_every_tick_once_and_in_order(self, book):
        reader = book.reader()
        for first, count in ((1, 1), (2, 16), (18, 17), (35, 30)):
            write(book, first, count)
            batch = reader.read()
            assert positions(batch) == list(range(first, first + count))
            assert batch.missed is None
            assert_true_ticks(batch.ticks)
        assert positions(reader.read()) == []

    def test_gets_at_most_what_it_asks_for(self, book):
        write(book, 1, 50)
        reader = book.reader(0)
        assert [positions(reader.read(20)) for _ in range(4)] == [
            list(range(1, 21)),
            list(range(21, 41)),
            list(range(41, 51)),
            [],
        ]

    def test_gets_a_private_copy(self, book):
        write(book, 1, 20)
        ticks = book.reader(0).read().ticks
        assert ticks.dtype == TICK
        ticks["price"] = 0
        assert_true_ticks(book.reader(0).read().ticks)

    def test_begins_where_it_is_told(self, book):
        write(book, 1, RING + 10)
        assert positions(book.reader().read()) == []
        assert positions(book.reader(RING + 7).read()) == [RING + 8, RING + 9, RING + 10]
        oldest = book.reader(0).read()
        assert positions(oldest) == list(range(11, RING + 11))
        assert oldest.missed is None
        assert book.reader(5).read().missed == (6, 10)

    @pytest.mark.parametrize("position", [-1, 4])
    def test_cannot_begin_where_the_segment_has_not_been(self, book, position):
        write(book, 1, 3)
        with pytest.raises(ValueError, match="up to position 3"):
            book.reader(position)

    def test_lapped_by_the_ring_knows_exactly_which_ticks_it_missed(self, book):
        reader = book.reader()
        write(book, 1, 10)
        reader.read()
        write(book, 11, RING + 7)
        batch = reader.read()
        assert batch.missed == (11, 17)
        assert positions(batch) == list(range(18, 18 + RING))
        assert reader.position == RING + 17

    @pytest.mark.parametrize("damaged", [(20, 20), (20, 25), (1, 3), (29, 30), (1, 30)])
    def test_reports_what_can_never_be_read_as_missed_and_goes_on(self, book, damaged):
        write(book, 1, 30)
        for position in range(damaged[0], damaged[1] + 1):
            book._segment.ring[position % RING, 2] ^= 4
        reader = book.reader(0)
        read, missed = [], []
        for _ in range(4):
            batch = reader.read()
            if batch.missed:
                missed.append(batch.missed)
            read += positions(batch)
        assert missed == [damaged]
        assert read == [p for p in range(1, 31) if not damaged[0] <= p <= damaged[1]]

    @pytest.mark.parametrize("count", [1, 30])
    def test_looks_again_at_a_record_that_is_not_visible_yet(self, book, monkeypatch, count):
        write(book, 1, count)
        copy_of_ring = reader_module.copy_of_ring
        looks = []

        def late(ring, first, count):
            looks.append(first)
            copy = copy_of_ring(ring, first, count)
            if len(looks) < 4:
                copy[0, len(looks)] = 0
            return copy

        monkeypatch.setattr(reader_module, "copy_of_ring", late)
        batch = book.reader(0).read()
        assert positions(batch) == list(range(1, count + 1))
        assert batch.missed is None

    @pytest.mark.parametrize("count", [1, 30])
    def test_never_returns_a_symbol_that_the_book_does_not_have(self, book, count):
        write(book, 1, count)
        forged = [1, 1, 1, 1, len(SYMBOLS)]
        book._segment.ring[1] = [*forged, record_check(*forged)]
        batch = book.reader(0).read()
        assert batch.missed == (1, 1)
        assert positions(batch) == list(range(2, count + 1))

    @given(
        capacity=st.integers(1, 40),
        steps=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=30),
    )
    @settings(max_examples=100)
    def test_accounts_for_every_position_whenever_it_reads(self, capacity, steps):
        with SharedPriceBook(SYMBOLS, ring_capacity=capacity) as book:
            reader, written, next_position = book.reader(), 0, 1
            for writes, count in [*steps, (False, 10**6), (False, 1)]:
                if writes:
                    write(book, written + 1, count)
                    written += count
                    continue
                batch = reader.read(count)
                if batch.missed:
                    assert batch.missed == (next_position, written - capacity)
                    next_position = written - capacity + 1
                end = min(written, next_position + count - 1)
                assert positions(batch) == list(range(next_position, end + 1))
                assert_true_ticks(batch.ticks)
                next_position = end + 1
            assert next_position == written + 1


def mixtures(old: list[int], new: list[int]) -> Iterator[list[int]]:
    """Return what a slot can hold while the stores of `new` become visible, in any order."""
    for which in itertools.product((False, True), repeat=RECORD_WORDS):
        yield [n if stored else o for stored, o, n in zip(which, old, new, strict=True)]


class TestReadFew:
    @pytest.mark.parametrize("count", [1, 24])
    def test_returns_what_read_does_as_plain_integers(self, book, count):
        book.begin_epoch("tape")
        write(book, 1001, count)
        few = book.reader(0)
        assert few.read_few() == book.reader(0).read().ticks.tolist()
        assert few.position == count
        assert few.read_few() == []

    def test_leaves_to_read_what_is_not_a_few_whole_ticks(self, book):
        reader = book.reader()
        assert reader.read_few() == []
        write(book, 1, 25)  # many
        assert reader.read_few() == []
        assert positions(reader.read(23)) == list(range(1, 24))
        write(book, 26, RING)  # lapped
        assert reader.read_few() == []
        assert reader.read().missed == (24, 25)
        write(book, 26 + RING, 3)
        book._segment.ring[reader.position % RING + 2, 2] ^= 4  # damaged
        assert reader.read_few() == []
        assert reader.read().missed is None

    def test_of_a_small_ring_that_lapped_it_returns_nothing(self):
        with SharedPriceBook(SYMBOLS, ring_capacity=4) as book:
            reader = book.reader()
            write(book, 1, 5)
            assert reader.read_few() == []
            assert reader.read().missed == (1, 1)

    @pytest.mark.parametrize(
        "forged",
        [
            *([1, 1, 1, 1, len(SYMBOLS)], [1, 1 << 63, 1, 1, 1], [1, 1, 1 << 63, 1, 1]),
            *([1, 1, 1, 1 << 63, 1], [1, 1, 1, 1, 1 << 63]),
        ],
    )
    def test_never_returns_what_nobody_could_work_with(self, book, forged):
        reader = book.reader()
        write(book, 1, 1)
        book._segment.ring[1] = [*forged, record_check(*forged)]
        assert reader.read_few() == []

    def test_ends_a_wait(self, book):
        with book.reader() as reader:
            assert reader.arm()
            write(book, 1, 1)
            assert len(reader.read_few()) == 1
            assert not select.select([reader], [], [], 0)[0]


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


def open_by_name(name: str, ring: int = RING) -> SharedPriceBook:
    return SharedPriceBook(SYMBOLS, name, ring_capacity=ring)


def follow(name: str, sleeps: bool) -> None:
    """Read until the book is retired; check every record and the order of all of them."""
    with SharedPriceBook.attach(name) as book, book.reader(0) as reader:
        expected = None
        newest = dict.fromkeys(SYMBOLS, 0)
        while True:
            retired = reader.retired
            few = reader.read_few()
            batch = Batch(np.array(few, TICK), None) if few else reader.read()
            assert_true_ticks(batch.ticks)
            got = positions(batch)
            if batch.missed is not None:
                assert expected is None or batch.missed[0] == expected
                assert batch.missed[1] >= batch.missed[0]
                expected = batch.missed[1] + 1
            if got:
                assert expected is None or got[0] == expected
                assert got == list(range(got[0], got[-1] + 1))
                expected = got[-1] + 1
            for symbol in SYMBOLS:
                latest = book.latest(symbol)
                assert latest is not None or not newest[symbol]
                if latest is not None:
                    assert latest.position >= newest[symbol]
                    newest[symbol] = latest.position
                    index, price, _, _ = ticks_of(np.array([latest.sequence]), latest.sent_ns >> 40)
                    assert SYMBOLS[index[0]] == symbol
                    assert price[0] == latest.price
            if retired and not got:
                return
            if sleeps and not got:
                reader.wait(1)


class TestProcesses:
    @pytest.mark.parametrize("ring", [500, 20_000])
    def test_readers_check_every_record_of_a_writer_at_full_speed(self, name, ring):
        book = open_by_name(name, ring)

        def writer():
            with open_by_name(name, ring) as book:
                first, lengths = 1, itertools.cycle((1, 3, 20, 200, 700))
                while first < 1_000_000:
                    write(book, first, length := next(lengths))
                    first += length

        with (
            forked(lambda: follow(name, sleeps=True)) as sleeper,
            forked(lambda: follow(name, sleeps=False)) as poller,
            forked(writer) as child,
        ):
            assert child.join() == 0
            book.unlink()
            assert sleeper.join() == 0
            assert poller.join() == 0
        book.close()

    def test_a_writer_is_killed_hundreds_of_times_and_its_successor_carries_on(self, name):
        ring = 1_000
        book = open_by_name(name, ring)
        seed = random.randrange(2**32)
        chance = random.Random(seed)

        def writer(number: int) -> None:
            with open_by_name(name, ring) as book:
                lengths = random.Random(seed + number)
                while True:
                    count = lengths.choice((1, 2, 15, 40, 400, 1_500))
                    write(book, book.resume_point().next_sequence, count, writer=number)

        with (
            forked(lambda: follow(name, sleeps=True)) as sleeper,
            forked(lambda: follow(name, sleeps=False)) as poller,
        ):
            for number in range(1, 301):
                before = book._segment.words[PUBLISHED]
                with forked(lambda number=number: writer(number)) as child:
                    enough = before + chance.randrange(1, 3_000)
                    while book._segment.words[PUBLISHED] < enough and not child.has_ended():
                        pass
                    child.kill()
                    assert child.join() == -signal.SIGKILL, f"seed {seed}"
                assert not sleeper.has_ended(), f"seed {seed}"
                assert not poller.has_ended(), f"seed {seed}"
            book.unlink()
            assert (sleeper.join(), poller.join()) == (0, 0), f"seed {seed}"
        book.close()

    def test_a_second_writer_is_refused_until_the_first_is_killed(self, name):
        book = open_by_name(name)

        def writer():
            with open_by_name(name) as book:
                book.update("AAPL", 1)
                signal.pause()

        with forked(writer) as first:
            wait_until(lambda: book.read("AAPL") == 1, "the first writer writes")
            with pytest.raises(PriceBookInUse, match=f"process {first.pid};") as refusal:
                book.update("AAPL", 2)
            assert refusal.value.pid == first.pid
            first.kill()
            first.join()
            book.update("AAPL", 2)
            assert book.latest("AAPL").position == 2
        book.close()

    def test_a_second_writer_in_one_process_is_refused_until_the_first_closes(self, name, book):
        book.become_writer()
        with open_by_name(name) as second:
            with pytest.raises(PriceBookInUse, match="one writer at a time"):
                second.update("AAPL", 1)
            book.close()
            second.update("AAPL", 1)

    def test_a_child_of_the_writer_is_no_writer(self, name, book):
        book.update("AAPL", 1)

        ours, theirs = socket.socketpair()

        def child():
            with pytest.raises(PriceBookInUse):
                book.update("AAPL", 2)
            theirs.send(b"refused")
            signal.pause()

        with ours, theirs, forked(child):
            book.update("AAPL", 3)
            assert ours.recv(100) == b"refused"
            book.close()
            # Nor does it hold the lock for its parent.
            with open_by_name(name) as successor:
                successor.update("AAPL", 4)

    def test_relatives_that_share_a_lock_may_all_write(self, name):
        lock = multiprocessing.Lock()
        book = SharedPriceBook(SYMBOLS, name, ring_capacity=5_000, lock=lock)

        def relative():
            with SharedPriceBook(SYMBOLS, name, ring_capacity=5_000, lock=lock) as book:
                for number in range(100):
                    book.update(SYMBOLS[number % 3], 1 + number)

        with forked(relative) as a, forked(relative) as b:
            for _ in range(100):
                book.update("AAPL", 1)
            with (
                SharedPriceBook(SYMBOLS, name, ring_capacity=5_000) as stranger,
                pytest.raises(PriceBookInUse),
            ):
                stranger.update("AAPL", 1)
            assert (a.join(), b.join()) == (0, 0)
        ticks = book.reader(0).read().ticks
        assert ticks["sequence"].tolist() == list(range(1, 301))
        book.close()

    def test_a_relative_that_replaced_a_segment_lets_the_others_write(self, name, book):
        lock = multiprocessing.Lock()
        with (
            SharedPriceBook(["TSLA"], name, lock=lock) as one,
            SharedPriceBook(["TSLA"], name, lock=lock) as other,
        ):
            assert book.retired
            one.update("TSLA", 1)
            other.update("TSLA", 2)
            assert one.latest("TSLA").position == 2

    def test_a_lock_that_is_never_released_is_a_timeout(self, name, monkeypatch):
        monkeypatch.setattr(writer_module, "LOCK_TIMEOUT_S", 0.01)
        lock = multiprocessing.Lock()
        with SharedPriceBook(SYMBOLS, name, ring_capacity=RING, lock=lock) as book:
            with lock, pytest.raises(TimeoutError, match="lock="):
                book.update("AAPL", 1)
            book.update("AAPL", 2)
            assert book.read("AAPL") == 2

    def test_a_book_can_be_handed_to_a_process_that_is_spawned(self, book):
        book.update("AAPL", 1.25)
        with pickle.loads(pickle.dumps(book)) as copy:
            assert copy.read("AAPL") == 1.25
            assert copy.symbols == SYMBOLS


class TestWaking:
    @pytest.fixture
    def all_slots_taken(self, book) -> Iterator[list[PriceBookReader]]:
        """The readers that have all slots which are not reserved for roles; none is armed."""
        readers = [book.reader() for _ in range(SLOTS - RESERVED_SLOTS)]
        for reader in readers:
            reader.fileno()
        yield readers
        for reader in readers:
            reader.close()

    def test_a_reader_sleeps_until_there_is_a_tick(self, name, book):
        def reader():
            with SharedPriceBook.attach(name) as book, book.reader(0) as reader:
                assert reader.wait(30)
                assert positions(reader.read()) == [1]

        with forked(reader) as child:
            wait_until(lambda: any(book._segment.waiting), "the reader sleeps")
            book.update("AAPL", 1)
            assert child.join() == 0

    def test_a_wake_up_and_a_socket_are_waited_for_together(self, book):
        ours, theirs = socket.socketpair()
        with ours, theirs, book.reader() as reader, selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ, "ticks")
            selector.register(ours, selectors.EVENT_READ, "bytes")

            def ready() -> set[str]:
                return {key.data for key, _ in selector.select(0)}

            assert reader.arm()
            assert ready() == set()
            theirs.send(b"x")
            assert ready() == {"bytes"}
            book.update("AAPL", 1)
            assert ready() == {"bytes", "ticks"}
            assert positions(reader.read()) == [1]
            assert ready() == {"bytes"}

    def test_a_reader_does_not_sleep_over_what_is_there_already(self, book):
        with book.reader() as reader:
            book.update("AAPL", 1)
            assert not reader.arm()
            assert not any(book._segment.waiting)
            assert reader.wait(30)

    def test_a_reader_wakes_in_time_though_nothing_came(self, book):
        with book.reader() as reader:
            assert not reader.wait(0.001)
            assert not any(book._segment.waiting)

    def test_a_lost_wake_up_costs_a_bounded_delay(self, book, monkeypatch):
        sleeps_ms = []

        class Poll:
            def register(self, *_):
                pass

            def poll(self, timeout_ms: float) -> None:  # nobody wakes us
                sleeps_ms.append(timeout_ms)
                if len(sleeps_ms) == 3:
                    book.update("AAPL", 1)

        monkeypatch.setattr(select, "poll", Poll)
        with book.reader() as reader:
            assert reader.wait(30)
        assert sleeps_ms == [1000 * MAX_SLEEP_S] * 3

    def test_a_reader_is_woken_once_for_each_sleep(self, book):
        with book.reader() as reader:
            assert reader.arm()
            for _ in range(5):
                book.update("AAPL", 1)
            assert os.read(reader.fileno(), 100) == b"\0"

    def test_a_reader_that_only_polls_claims_no_slot(self, name, book):
        reader = book.reader()
        book.update("AAPL", 1)
        assert positions(reader.read()) == [1]
        assert not list(SHM_DIR.glob(f"{name}.reader-*"))

    def test_readers_beyond_the_slots_poll_and_say_so_once(self, name, book, all_slots_taken):
        with capture_logs() as logged, book.reader() as reader:
            for number in range(1, 4):
                assert reader.arm()
                book.update("AAPL", number)
                assert select.select([reader], [], [], 30)[0]
                assert positions(reader.read()) == [number]
                assert not reader.wait(0.001)
        assert [(entry["event"], entry["price_book"]) for entry in logged] == [
            ("reader_polls", name)
        ]

    def test_a_reader_that_polls_notices_that_the_book_is_retired(
        self, name, book, all_slots_taken
    ):
        with capture_logs(), book.reader() as reader, forked(lambda: remove_segments(name)):
            assert reader.wait(30)
            assert reader.retired

    def test_a_reader_that_polls_takes_a_slot_that_becomes_free(
        self, book, all_slots_taken, monkeypatch
    ):
        monkeypatch.setattr(wakeup, "CLAIM_AGAIN_S", 0.0)
        with capture_logs(), book.reader() as reader:
            fileno = reader.fileno()
            assert reader.arm()
            assert not any(book._segment.waiting)
            all_slots_taken[7].close()
            assert reader.arm()
            assert bytes(book._segment.waiting).find(1) == RESERVED_SLOTS + 7
            assert reader.fileno() == fileno
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]
            assert not any(book._segment.waiting)
            assert positions(reader.read()) == [1]
            assert not select.select([reader], [], [], 0)[0]

    def test_a_role_is_woken_by_a_slot_however_many_others_wait(self, name, book, all_slots_taken):
        with SharedPriceBook.attach(name, as_role=True) as same, same.reader() as reader:
            assert reader.arm()
            assert bytes(book._segment.waiting).find(1) < RESERVED_SLOTS
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]
            assert positions(reader.read()) == [1]

    def test_a_frozen_reader_never_blocks_the_writer(self, name, book):
        def reader():
            with SharedPriceBook.attach(name) as book, book.reader(0) as reader:
                while reader.wait(30):
                    reader.read()
                    if book.retired:
                        return

        with forked(reader) as child:
            wait_until(lambda: any(book._segment.waiting), "the reader sleeps")
            child.kill(signal.SIGSTOP)
            for number in range(2_000):
                write(book, 1 + 100 * number, 100)
            child.kill(signal.SIGCONT)
            book.unlink()
            assert child.join() == 0

    def test_a_full_fifo_never_blocks_the_writer(self, book):
        with book.reader() as reader:
            assert reader.arm()
            while select.select([], [reader], [], 0)[1]:  # it is open in both directions
                os.write(reader.fileno(), bytes(4096))
            book.update("AAPL", 1)
            assert positions(reader.read()) == [1]

    def test_a_dead_reader_never_blocks_the_writer_and_leaves_its_slot(self, name, book):
        def reader():
            with SharedPriceBook.attach(name) as book, book.reader() as reader:
                reader.arm()
                signal.pause()

        for _ in range(2):
            with forked(reader) as child:
                wait_until(lambda: any(book._segment.waiting), "the reader sleeps")
                book.update("AAPL", 1)
                assert not any(book._segment.waiting)
                book._segment.waiting[0] = 1
                child.kill()
                child.join()
            book.update("AAPL", 1)
        with book.reader() as reader:
            assert reader.arm()
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]
        assert len(list(SHM_DIR.glob(f"{name}.reader-*"))) == 1

    def test_a_process_that_a_reader_has_forked_does_not_keep_its_slot(self, name, book):
        ours, theirs = socket.socketpair()

        def worker():
            theirs.send(str(os.getpid()).encode())
            signal.pause()

        def reader():
            with SharedPriceBook.attach(name) as book, book.reader() as reader:
                assert reader.arm()
                with forked(worker):
                    signal.pause()

        with ours, theirs, forked(reader) as child:
            worker_pid = int(ours.recv(100))
            child.kill()
            child.join()
            try:
                book.update("AAPL", 1)
                with book.reader() as successor:
                    assert successor.arm()
                    assert bytes(book._segment.waiting).find(1) == RESERVED_SLOTS
            finally:
                os.kill(worker_pid, signal.SIGKILL)

    def test_a_child_of_a_reader_that_polls_does_not_have_its_descriptors(
        self, book, all_slots_taken
    ):
        with capture_logs(), book.reader() as reader:
            fileno = reader.fileno()

            def child():
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fileno)

            with forked(child) as process:
                assert process.join() == 0
            assert reader.fileno() == fileno
            assert select.select([reader], [], [], 30)[0]

    def test_a_child_of_a_reader_leaves_the_flag_alone_and_can_wait_itself(self, book):
        with book.reader() as reader:
            assert reader.arm()

            def child():
                reader.close()
                assert sum(book._segment.waiting) == 1
                assert reader.arm()
                assert sum(book._segment.waiting) == 2
                reader.close()

            with forked(child) as process:
                assert process.join() == 0
            assert sum(book._segment.waiting) == 1
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]


class TestReplacing:
    def test_a_segment_that_does_not_match_retires_it_and_wakes_its_readers(self, name, book):
        def reader():
            with SharedPriceBook.attach(name) as book, book.reader(0) as reader:
                assert reader.wait(30)
                assert reader.retired
                assert not reader.arm()
                with SharedPriceBook.attach(name) as successor:
                    assert successor.symbols == ("TSLA",)

        with forked(reader) as child:
            wait_until(lambda: any(book._segment.waiting), "the reader sleeps")
            with SharedPriceBook(["TSLA"], name, ring_capacity=RING) as replacement:
                assert book.retired
                assert not replacement.retired
                assert child.join() == 0

    def test_a_replaced_reader_is_woken_and_does_not_just_wake_in_time(self, name, book):
        with book.reader() as reader:
            assert reader.arm()
            SharedPriceBook(["TSLA"], name, ring_capacity=RING).close()
            assert select.select([reader], [], [], 0)[0]
            assert not reader.arm()

    @pytest.mark.parametrize(
        ("symbols", "ring"), [(SYMBOLS[::-1], RING), (SYMBOLS, RING + 1), (SYMBOLS[:2], RING)]
    )
    def test_what_matches_is_the_same_symbols_in_the_same_order_and_the_ring(
        self, name, book, symbols, ring
    ):
        with open_by_name(name):
            assert not book.retired
        with SharedPriceBook(symbols, name, ring_capacity=ring) as replacement:
            assert book.retired
            assert replacement.symbols == symbols

    def test_a_live_writer_is_not_replaced(self, name, book):
        book.update("AAPL", 1)
        with pytest.raises(PriceBookInUse, match=f"process {os.getpid()};"):
            SharedPriceBook(["TSLA"], name)
        assert not book.retired

    def test_a_writer_whose_segment_was_replaced_is_told(self, name, book):
        with SharedPriceBook(["TSLA"], name, ring_capacity=RING):
            pass
        with pytest.raises(PriceBookError, match="open it again"):
            book.update("AAPL", 1)

    def test_a_writer_whose_segment_was_removed_while_it_wrote_is_told(self, name, book):
        book.update("AAPL", 1)
        remove_segments(name)
        for _ in range(2):
            with pytest.raises(PriceBookError, match="open it again"):
                book.update("AAPL", 2)
        with open_by_name(name) as successor:
            successor.update("AAPL", 3)

    def test_a_segment_left_retired_is_replaced_and_not_attached_to(self, name, book):
        book._segment.words[RETIRED] = 1
        with pytest.raises(PriceBookMismatch, match="retired"):
            SharedPriceBook.attach(name)
        with open_by_name(name) as successor:
            assert not successor.retired

    def test_unlink_removes_all_files_and_tells_the_readers(self, name, book):
        with book.reader() as reader:
            book.update("AAPL", 1)
            reader.read()
            assert reader.arm()
            assert files_of(name) == [name, f"{name}.lock", f"{name}.reader-16"]
            book.unlink()
            assert files_of(name) == []
            assert select.select([reader], [], [], 30)[0]
            assert reader.retired


class TestCreating:
    def test_only_its_user_may_open_anything(self, name, book):
        book.update("AAPL", 1)
        with book.reader() as reader:
            reader.arm()
            modes = {(SHM_DIR / file).stat().st_mode & 0o7777 for file in files_of(name)}
            assert len(files_of(name)) == 3
        assert modes == {0o600}

    def test_nobody_sees_half_a_segment(self, name):
        rounds = 300

        def creator():
            for _ in range(rounds):
                with open_by_name(name) as book:
                    book.unlink()

        seen = 0
        with forked(creator) as a, forked(creator) as b:
            while not (a.has_ended() and b.has_ended()):
                try:
                    with SharedPriceBook.attach(name) as book:
                        assert book.symbols == SYMBOLS
                        seen += 1
                except FileNotFoundError:
                    pass
                except PriceBookMismatch as error:
                    if "is retired" not in str(error):
                        raise
            assert (a.join(), b.join()) == (0, 0)
        assert seen

    def test_what_a_killed_creator_left_is_removed(self, name):
        dead = Child(lambda: None)
        dead.join()
        leftover = SHM_DIR / f"{name}.new-{dead.pid}"
        leftover.touch()
        live = SHM_DIR / f"{name}.new-{os.getppid()}"
        live.touch()
        with open_by_name(name):
            assert files_of(name) == [name, live.name]

    def test_a_full_memory_is_one_clear_line_and_leaves_nothing(self, name, monkeypatch):
        def no_room(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", no_room)
        with pytest.raises(PriceBookError, match=f"{name} of .* bytes: No space left on device$"):
            open_by_name(name)
        assert files_of(name) == []

    def test_default_settings_stay_under_16_mb(self):
        with SharedPriceBook(["AAPL", "MSFT", "GOOG", "AMZN"]) as book:
            assert (SHM_DIR / book.name).stat().st_size < 16_000_000

    @pytest.mark.parametrize("name", ["", "a.b", "a/b", "../a", "ä", "x" * 101, "a b"])
    def test_a_name_is_letters_digits_and_dashes(self, name):
        for open_book in (
            lambda: SharedPriceBook(SYMBOLS, name),
            lambda: SharedPriceBook.attach(name),
        ):
            with pytest.raises(ValueError, match="letters"):
                open_book()

    @pytest.mark.parametrize(
        "symbols", [[], ["A", "A"], ["A,B"], ["A*"], ["A" * 17], [""], ["A\0"], "AAPL"]
    )
    def test_impossible_symbols_are_refused(self, symbols):
        with pytest.raises(ValueError, match="symbol"):
            SharedPriceBook(symbols)

    @pytest.mark.parametrize("capacity", [0, -1, 2**40])
    def test_an_impossible_ring_is_refused(self, capacity):
        with pytest.raises(ValueError, match="ring_capacity"):
            SharedPriceBook(SYMBOLS, ring_capacity=capacity)


def overwrite(offset: int, data: bytes):
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return damage


def truncate(size: int):
    return lambda path: os.truncate(path, size)


class TestForeignSegments:
    @pytest.mark.parametrize(
        ("damage", "complaint"),
        [
            (truncate(0), "it is empty"),
            (truncate(1), "it has no header"),
            (truncate(255), "it has no header"),
            (truncate(256), "damaged: it has 256 bytes"),
            (truncate(5_000), "damaged: it has 5,000 bytes"),
            (overwrite(0, b"\x7fELF"), "does not begin with TWPRICES"),
            (overwrite(8, b"\x63"), "is of version 99; this program reads 1"),
            (overwrite(24, b"\xff" * 8), "damaged: it has"),
            (overwrite(32, b"\0" * 8), "damaged: it says 0 symbols"),
            (overwrite(32, b"\xff" * 8), "damaged: it says"),
            (overwrite(32, b"\4"), "damaged: it has"),
            (overwrite(40, b"\xff" * 8), "a ring of 18446744073709551615 ticks"),
            (overwrite(40, b"\0" * 8), "a ring of 0 ticks"),
            (overwrite(40, b"\x3f"), "damaged: it has"),
            (overwrite(56, b"12345678"), "digest"),
            (overwrite(64, b"\xff" * 8), "damaged: it says that .* ticks are published"),
            (overwrite(256, b"B"), "digest"),
        ],
    )
    def test_are_refused_with_one_line_and_replaced(self, name, book, damage, complaint):
        damage(SHM_DIR / name)
        with pytest.raises(PriceBookMismatch, match=complaint) as refusal:
            SharedPriceBook.attach(name)
        assert "\n" not in str(refusal.value)
        assert name in str(refusal.value)
        with open_by_name(name) as successor:
            successor.update("AAPL", 1)
        with SharedPriceBook.attach(name) as attached:
            assert attached.read("AAPL") == 1

    def test_that_are_no_files_are_refused(self, name):
        os.mkfifo(SHM_DIR / name)
        with pytest.raises(PriceBookMismatch, match="no price book"):
            SharedPriceBook.attach(name)
        with open_by_name(name) as book:
            book.update("AAPL", 1)

    def test_that_are_not_there_are_not_found(self, name):
        with pytest.raises(FileNotFoundError):
            SharedPriceBook.attach(name)
        assert files_of(name) == []

    @given(
        st.lists(
            st.tuples(st.integers(0, 64 + 3 * 16 + 64 * 80 + 70 * 48), st.binary(min_size=1)),
            min_size=1,
            max_size=8,
        )
    )
    @settings(max_examples=150)
    def test_full_of_nonsense_never_crash_a_reader_nor_the_next_writer(self, scribbles):
        with SharedPriceBook(SYMBOLS, ring_capacity=RING) as book:
            book.begin_epoch("tape")
            write(book, 1, RING + 10)
            for offset, data in scribbles:
                if offset + len(data) <= len(book._segment._bytes) - 64:
                    book._segment._bytes[offset + 64 : offset + 64 + len(data)] = data
            for work in (_use_as_reader, _use_as_writer):
                work(book)

    @pytest.mark.parametrize("published", [2**63 - 1, 2**63, 2**64 - 1, 2**62])
    def test_with_an_impossible_published_position_never_crash(self, book, published):
        reader = book.reader()
        book._segment.words[PUBLISHED] = published
        with reader:
            reader.read()
            assert reader.arm(), "it would read and read, and never sleep"
        _use_as_reader(book)
        _use_as_writer(book)


def _use_as_reader(book: SharedPriceBook) -> None:
    for symbol in book.symbols:
        try:
            book.read(symbol)
        except PriceBookError as error:
            assert "damaged" in str(error)  # noqa: PT017
    book.resume_point()
    for reader in (book.reader(0), book.reader()):
        for _ in range(3):
            ticks = reader.read().ticks
            assert (ticks["symbol"] < len(book.symbols)).all()
            assert (ticks["symbol"] >= 0).all()
        with reader:
            reader.arm()


def _use_as_writer(book: SharedPriceBook) -> None:
    try:
        book.begin_epoch("next")
        book.update("AAPL", 2)
        write(book, 1, 30)
    except PriceBookError as error:
        assert "damaged" in str(error)  # noqa: PT017


PREAMBLE = """
import sys
from lib.price_book.book import SharedPriceBook
def nothing_is_tracked():
    from multiprocessing import resource_tracker
    return resource_tracker._resource_tracker._fd is None
"""


class TestTheEndOfAProcess:
    def test_that_attached_removes_nothing_and_starts_no_tracker(self, name, book):
        book.update("AAPL", 1.5)
        done = run_python(
            PREAMBLE
            + "book = SharedPriceBook.attach(sys.argv[1])\n"
            + "print(book.read('AAPL'), nothing_is_tracked())",
            name,
        )
        assert (done.stdout, done.stderr) == ("1.5 True\n", "")
        assert SharedPriceBook.attach(name).read("AAPL") == 1.5

    def test_that_created_a_named_segment_and_was_killed_removes_nothing(self, name):
        done = run_python(
            PREAMBLE
            + "import os, signal\n"
            + "book = SharedPriceBook(['AAPL'], sys.argv[1]); book.update('AAPL', 1.5)\n"
            + "assert nothing_is_tracked()\n"
            + "os.kill(os.getpid(), signal.SIGKILL)",
            name,
        )
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        with SharedPriceBook.attach(name) as book:
            assert book.read("AAPL") == 1.5

    @pytest.mark.parametrize(
        "forgotten",
        [
            "",
            "reader = book.reader(); reader.arm()",
            "view = book._segment.ring[:5]",
            "import threading, time\n"
            "threading.Thread(target=lambda ring: time.sleep(60), "
            "args=(book._segment.ring,), daemon=True).start()",
            "book.self = book",
            "raise SystemExit(3)",
        ],
    )
    def test_that_forgot_to_close_is_quiet_and_removes_its_own_segment(self, forgotten):
        done = run_python(
            PREAMBLE
            + "book = SharedPriceBook(['AAPL']); book.update('AAPL', 1)\n"
            + "print(book.name)\n"
            + forgotten
        )
        assert done.stderr == ""
        assert files_of(done.stdout.strip()) == []

    def test_that_was_forked_leaves_its_parents_segment(self):
        with SharedPriceBook(SYMBOLS) as book:
            with forked(book.close) as child:
                assert child.join() == 0
            assert files_of(book.name) == [book.name]
        assert files_of(book.name) == []

    def test_a_closed_book_refuses_to_work(self, book):
        reader = book.reader()
        reader.arm()
        book.close()
        book.close()
        for work in (
            lambda: book.read("AAPL"),
            lambda: book.update("AAPL", 1),
            lambda: write(book, 1, 20),
            reader.read,
        ):
            with pytest.raises(ValueError, match="released"):
                work()
        reader.close()

    def test_memory_of_another_thread_is_tracked_as_ever(self, name, book):
        done = run_python(
            PREAMBLE
            + "from multiprocessing import shared_memory\n"
            + "book = SharedPriceBook.attach(sys.argv[1])\n"
            + "other = shared_memory.SharedMemory(create=True, size=10)\n"
            + "assert not nothing_is_tracked()\n"
            + "other.close(); other.unlink(); print('ok')",
            name,
        )
        assert (done.stdout, done.stderr) == ("ok\n", "")
