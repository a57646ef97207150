"""The pace of the slowest role: how many ticks may be written before it would be lapped."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.price_book import pace
from lib.price_book.book import SharedPriceBook
from lib.price_book.pace import (
    KILLED_NS,
    LOOK_NS,
    MOST_BEHIND_TICKS,
    READER_STALL_LIMIT_NS,
    ReaderPace,
    ReaderPacing,
)
from lib.wire.framing import RECEIVE_BYTES
from tests.helpers import wait_until
from tests.price_books import RING, open_by_name, write
from tests.processes import forked

NOW_NS = 10 * SECOND_NS
HALF = 500
"""Of a ring of 1,000 ticks."""


@pytest.fixture
def of_small_ring() -> ReaderPace:
    return ReaderPace(2 * HALF, hang_after_ns=0)


class TestReaderPace:
    def test_leaves_the_half_of_a_small_ring_and_less_of_a_large_one(self) -> None:
        for ring, room in ((2, 1), (2 * HALF, HALF), (1 << 26, MOST_BEHIND_TICKS)):
            assert ReaderPace(ring, 0).room(10**9, {}, NOW_NS) == room
            assert ReaderPace(ring, 0).room(10**9, {3: 10**9}, NOW_NS) == room

    def test_the_slowest_reader_counts(self, of_small_ring: ReaderPace) -> None:
        assert of_small_ring.room(1000, {0: 1000, 1: 900, 5: 950}, NOW_NS) == HALF - 100

    @pytest.mark.parametrize("position", [0, 500, 599, 620])
    def test_no_tick_may_be_written_while_there_is_room_for_a_few_only(
        self, of_small_ring: ReaderPace, position: int
    ) -> None:
        assert of_small_ring.room(1000, {0: position}, NOW_NS) == 0

    def test_a_reader_without_progress_is_not_waited_for_until_it_moves(
        self, of_small_ring: ReaderPace
    ) -> None:
        end_ns = NOW_NS + READER_STALL_LIMIT_NS
        assert of_small_ring.room(1000, {0: 500}, NOW_NS) == 0
        assert of_small_ring.room(1000, {0: 500}, end_ns - 1) == 0
        assert of_small_ring.room(1000, {0: 500}, end_ns) == HALF
        assert of_small_ring.room(1000, {0: 501}, end_ns + 1) == 0
        assert of_small_ring.room(1000, {0: 501, 1: 500}, end_ns + 1 + READER_STALL_LIMIT_NS) == 0

    def test_a_reader_is_waited_for_as_long_as_the_watchdog_lets_it_run(self) -> None:
        hang_after_ns = 2 * READER_STALL_LIMIT_NS
        decides = ReaderPace(2 * HALF, hang_after_ns)
        assert decides.room(1000, {0: 500}, NOW_NS) == 0
        assert decides.room(1000, {0: 500}, NOW_NS + hang_after_ns) == 0
        assert decides.room(1000, {0: 500}, NOW_NS + hang_after_ns + KILLED_NS) == HALF

    def test_a_reader_that_makes_some_progress_is_waited_for_however_long(
        self, of_small_ring: ReaderPace
    ) -> None:
        for number in range(100):
            now_ns = NOW_NS + number * (READER_STALL_LIMIT_NS - 1)
            assert of_small_ring.room(1000, {0: 400 + number}, now_ns) == 0

    def test_a_reader_that_had_nothing_to_read_has_not_stalled(
        self, of_small_ring: ReaderPace
    ) -> None:
        assert of_small_ring.room(500, {0: 500}, NOW_NS) == HALF
        assert of_small_ring.room(1000, {0: 500}, NOW_NS + SECOND_NS * 3600) == 0

    def test_what_is_said_of_an_owner_of_a_slot_does_not_count_for_the_next_one(
        self, of_small_ring: ReaderPace
    ) -> None:
        assert of_small_ring.room(1000, {0: 500}, NOW_NS) == 0
        assert of_small_ring.room(1000, {}, NOW_NS) == HALF
        assert of_small_ring.room(1000, {0: 500}, NOW_NS + READER_STALL_LIMIT_NS) == 0

    @given(
        ring=st.integers(2, 3000),
        steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2000)), max_size=60),
    )
    def test_a_writer_that_keeps_to_it_laps_no_reader_and_always_comes_to_write(
        self, ring: int, steps: list[tuple[int, int]]
    ) -> None:
        """Readers 1 to 3 read so many ticks, whenever; 0 writes as many as it may."""
        decides, newest, reached = ReaderPace(ring, 0), 0, dict.fromkeys((1, 2, 3), 0)
        for reader, count in steps:
            if reader:
                reached[reader] = min(newest, reached[reader] + count)
            else:
                newest += min(count, decides.room(newest, reached, NOW_NS))
            assert newest - min(reached.values()) <= ring
        assert decides.room(newest, dict.fromkeys(reached, newest), NOW_NS) > 0


class TestReaderPacing:
    """On a real book: the places of its roles, and what becomes of them."""

    limits: list[int]
    now_ns: int

    @pytest.fixture
    def pacing(self, book: SharedPriceBook, monkeypatch: pytest.MonkeyPatch) -> ReaderPacing:
        monkeypatch.setattr(pace, "LEAST_FRAME_BYTES", 1)  # so that the limits are ticks
        self.limits, self.now_ns = [], NOW_NS
        return ReaderPacing(book, self.limits.append, lambda: self.now_ns, 0)

    def test_receives_no_more_than_the_slowest_role_leaves_room_for(
        self, book: SharedPriceBook, name: str, pacing: ReaderPacing
    ) -> None:
        with SharedPriceBook.attach(name, as_role=True) as attached:
            reader = attached.reader()
            assert reader.arm()
            write(book, 1, 20)
            pacing.look()
            assert pacing.next_deadline_ns() is None
            write(book, 21, 12)
            pacing.look()
            assert pacing.next_deadline_ns() == NOW_NS + LOOK_NS
            pacing.on_time(NOW_NS + LOOK_NS)
            reader.read()
            # What was read may be given back: it counts as read with the next `arm`.
            pacing.on_time(NOW_NS + 2 * LOOK_NS)
            reader.arm()
            pacing.on_time(NOW_NS + 3 * LOOK_NS)
            assert pacing.next_deadline_ns() is None
        half = RING // 2
        assert self.limits == [half, half - 20, 0, 0, 0, half]

    def test_a_full_read_of_the_shortest_ticks_fits_into_the_room(self) -> None:
        limits: list[int] = []
        with SharedPriceBook(["A"], ring_capacity=1 << 20) as book:
            ReaderPacing(book, limits.append, lambda: NOW_NS, 0)
        assert limits == [RECEIVE_BYTES]
        assert len(b"A,1*") == pace.LEAST_FRAME_BYTES
        assert RECEIVE_BYTES <= MOST_BEHIND_TICKS * pace.LEAST_FRAME_BYTES

    def test_a_role_that_was_killed_is_not_waited_for(
        self, book: SharedPriceBook, name: str, pacing: ReaderPacing
    ) -> None:
        def attach_and_hang() -> None:
            reader = SharedPriceBook.attach(name, as_role=True).reader()
            reader.arm()
            signal.pause()

        with forked(attach_and_hang):
            wait_until(book.reached, "the role waits")
            write(book, 1, RING)
            pacing.look()
        pacing.on_time(NOW_NS + MILLISECOND_NS)
        assert self.limits[1:] == [0, RING // 2]
        assert book.reached() == {}

    def test_only_roles_say_how_far_they_are_and_a_closed_reader_has_no_place(
        self, book: SharedPriceBook, name: str
    ) -> None:
        with ExitStack() as clean_up:
            role = clean_up.enter_context(SharedPriceBook.attach(name, as_role=True))
            other = clean_up.enter_context(open_by_name(name))
            first, second = role.reader(), role.reader()
            for reader in (first, second, other.reader(), book.reader()):
                reader.fileno()
            assert book.reached() == {0: 0, 1: 0}
            book.forget_dead_roles()
            assert book.reached() == {0: 0, 1: 0}
            first.close()
            assert book.reached() == {1: 0}
