"""The layout of a segment."""

from __future__ import annotations

import re
import threading
from multiprocessing import resource_tracker

import pytest

from lib.price_book import segment as price_book_segment
from lib.price_book.segment import EPOCHS, SegmentLayout
from lib.price_book.segment_files import (
    MAGIC,
    RETIRED_OFFSET,
)


class TestLayout:
    @pytest.mark.parametrize(("symbols", "ring_capacity"), [(1, 1), (3, 1_000), (100, 262_144)])
    def test_is_as_the_documentation_says_and_is_read_as_it_was_written(
        self, symbols, ring_capacity
    ):
        layout = SegmentLayout.of([f"ÄÖ€{i}" for i in range(symbols)], ring_capacity)
        formula = re.search(r"(\d+) \+ (\d+) S \+ (\d+) C bytes", price_book_segment.__doc__)
        fixed, per_symbol, per_tick = map(int, formula.groups())
        assert layout.epochs_offset == 768 + 16 * symbols
        assert layout.latest_offset == fixed + 16 * symbols == layout.epochs_offset + EPOCHS * 80
        assert layout.ring_offset == fixed + per_symbol * symbols
        assert layout.total_bytes == layout.ring_offset + per_tick * ring_capacity
        beginning = layout.beginning()
        assert beginning[:8] == MAGIC
        assert beginning[RETIRED_OFFSET : RETIRED_OFFSET + 8] == bytes(8)
        assert SegmentLayout.read(memoryview(beginning.ljust(layout.total_bytes, b"\0"))) == layout


class TestSegment:
    def test_hides_from_the_tracker_only_what_its_own_thread_opens(self, monkeypatch):
        registered = []
        monkeypatch.setattr(resource_tracker, "register", lambda *what: registered.append(what))
        register = resource_tracker.register
        with price_book_segment._no_tracking_in_this_thread():
            resource_tracker.register("ours", "shared_memory")
            other = threading.Thread(
                target=lambda: resource_tracker.register("theirs", "semaphore")
            )
            other.start()
            other.join()
        assert registered == [("theirs", "semaphore")]
        assert resource_tracker.register is register
