"""The reader: every tick once and in order, a lap known exactly, asleep until there is one."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lib.price_book import reader as reader_module
from lib.price_book import wake_up
from lib.price_book.book import MAX_SLEEP_S, SharedPriceBook
from lib.price_book.records import record_check
from lib.price_book.segment_files import SHM_DIR
from lib.price_book.wake_up import RESERVED_SLOTS, SLOTS
from lib.wire.ticks import TICK
from tests.helpers import wait_until
from tests.price_books import RING, SYMBOLS, assert_true_ticks, positions, write
from tests.processes import forked


class TestReader:
    def test_gets_a_private_copy_and_keeps_its_book_open(self, name, book):
        write(book, 1, 20)
        reader = SharedPriceBook.attach(name).reader(0)
        ticks = reader.read().ticks
        assert ticks.dtype == TICK
        ticks["price"] = 0
        assert_true_ticks(book.reader(0).read().ticks)

    def test_begins_at_its_position(self, book):
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

    @pytest.mark.parametrize(
        "forged",
        [
            *([1, 1, 1, 1, len(SYMBOLS)], [1, 1 << 63, 1, 1, 1], [1, 1, 1 << 63, 1, 1]),
            *([1, 1, 1, 1 << 63, 1], [1, 1, 1, 1, 1 << 63]),
        ],
    )
    def test_never_returns_values_out_of_range(self, book, forged):
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


class TestWaking:
    def test_a_reader_does_not_sleep_over_what_is_there_already_nor_for_ever(self, book):
        with book.reader() as reader:
            book.update("AAPL", 1)
            assert not reader.arm()
            assert reader.wait(30)
            reader.read()
            assert not reader.wait(0.001)
            assert not any(book._segment.waiting)

    def test_a_lost_wake_up_costs_a_bounded_delay(self, book, monkeypatch):
        sleeps_ms = []

        class Poll:
            def register(self, *_):
                pass

            def poll(self, timeout_ms: float) -> None:  # no wake-up comes
                sleeps_ms.append(timeout_ms)
                if len(sleeps_ms) == 3:
                    book.update("AAPL", 1)

        monkeypatch.setattr(select, "poll", Poll)
        with book.reader() as reader:
            assert reader.wait(30)
        assert sleeps_ms == [1000 * MAX_SLEEP_S] * 3

    def test_a_reader_that_waits_takes_a_slot_again_when_its_fifo_is_lost(self, name, book):
        with book.reader() as reader:
            assert not reader.wait(0)
            [fifo] = SHM_DIR.glob(f"{name}.reader-*")
            fifo.unlink()
            assert not reader.wait(0.001)
            assert fifo.is_fifo()
            assert not reader.has_lost_its_fifo()
            assert reader.arm()
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]

    def test_a_reader_is_woken_once_for_each_sleep(self, book):
        with book.reader() as reader:
            assert reader.arm()
            for _ in range(5):
                book.update("AAPL", 1)
            assert os.read(reader.fileno(), 100) == b"\0"

    def test_a_reader_that_polls_takes_a_slot_that_becomes_free(self, book, monkeypatch):
        monkeypatch.setattr(wake_up, "CLAIM_AGAIN_S", 0.0)
        with ExitStack() as readers, capture_logs(), book.reader() as reader:
            # They have all slots that are not reserved for roles.
            others = [readers.enter_context(book.reader()) for _ in range(SLOTS - RESERVED_SLOTS)]
            for other in others:
                other.fileno()
            fileno = reader.fileno()
            assert reader.arm()
            assert not any(book._segment.waiting)
            others[7].close()
            assert reader.arm()
            assert bytes(book._segment.waiting).find(1) == RESERVED_SLOTS + 7
            assert reader.fileno() == fileno
            book.update("AAPL", 1)
            assert select.select([reader], [], [], 30)[0]
            assert not any(book._segment.waiting)

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

    def test_a_process_that_a_reader_has_forked_does_not_keep_its_slot(self, book):
        ours, theirs = socket.socketpair()

        def worker():
            theirs.send(b"forked")
            signal.pause()

        reader = book.reader()
        assert reader.arm()
        with ours, theirs, forked(worker):
            assert ours.recv(100) == b"forked"
            reader.close()
            with book.reader() as successor:
                assert successor.arm()
                assert bytes(book._segment.waiting).find(1) == RESERVED_SLOTS
