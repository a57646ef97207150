"""The writer: ticks one by one and in batches, taking over, epochs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lib.price_book.book import SharedPriceBook
from lib.price_book.segment import EPOCHS, PUBLISHED
from lib.price_book.writer import PriceBookWriter
from lib.prices import MAX_PRICE
from tests.price_books import (
    RING,
    SYMBOLS,
    assert_true_ticks,
    open_by_name,
    positions,
    ticks_of,
    write,
)


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

    def test_of_nothing_changes_nothing(self, book):
        nothing = np.empty(0, np.int64)
        book.update_batch(nothing, nothing, nothing, nothing)
        book.update_few([])
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


class TestEpochs:
    def test_number_their_ticks_anew(self, book):
        for tape in (None, "tape-1", ""):
            if tape is not None:
                book.begin_epoch(tape)
            book.update("AAPL", 1)
            book.update("AAPL", 1)
        ticks = book.reader(0).read().ticks
        assert ticks["sequence"].tolist() == [1, 2] * 3
        assert ticks["epoch"].tolist() == [0, 0, 1, 1, 2, 2]
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
