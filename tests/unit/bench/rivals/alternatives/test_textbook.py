"""The bounded buffer of the textbook."""

from __future__ import annotations

from contextlib import closing
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from bench.rivals.alternatives import textbook
from bench.rivals.alternatives.textbook import CAPACITY, RING, Shared
from bench.rivals.load import Load


def test_a_ring_that_a_message_does_not_fit_into_is_refused():
    with pytest.raises(ValueError, match="at most 65536 ticks"):
        textbook.measure(Load(0, 0.3, CAPACITY + 1))


def test_the_ring_tells_when_it_is_full_and_gives_every_record_in_order():
    segment = SharedMemory(create=True, size=Shared.size(1))
    try:
        with closing(Shared(segment.name, 1)) as shared:
            for first in (1, 1 + CAPACITY):  # the second time the ring goes round
                records = np.zeros(CAPACITY, RING)
                records["sequence"] = np.arange(first, first + CAPACITY)
                assert shared.has_room(CAPACITY)
                shared.write(records[:5])
                shared.write(records[5:])
                assert not shared.has_room(1)
                assert shared.has_news()
                assert shared.read().tolist() == records.tolist()
                assert not shared.has_news()
    finally:
        segment.close()
        segment.unlink()
