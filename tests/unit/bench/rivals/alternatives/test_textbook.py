"""The bounded buffer of the textbook."""

from __future__ import annotations

from contextlib import closing
from multiprocessing.shared_memory import SharedMemory

from bench.rivals.alternatives.textbook import CAPACITY, Shared


def test_the_ring_tells_when_it_is_full_and_gives_every_record_in_order():
    segment = SharedMemory(create=True, size=Shared.size(1))
    try:
        with closing(Shared(segment.name, 1)) as shared:
            few, many = CAPACITY // 3, CAPACITY - CAPACITY // 3
            for first in (1, 1 + CAPACITY):  # the second time the ring goes round
                assert shared.has_room(CAPACITY)
                shared.write(first, 7, [0] * few, [1.5] * few)
                shared.write(first + few, 8, [0] * (many - 1), [2.5] * (many - 1))
                shared.write(first + CAPACITY - 1, 9, [0], [3.5])
                assert not shared.has_room(1)
                records = shared.read()
                assert records["sequence"].tolist() == list(range(first, first + CAPACITY))
                assert records["price"][[0, few, -1]].tolist() == [1.5, 2.5, 3.5]
                assert shared.latest[0] == 3.5
                assert not shared.has_news()
    finally:
        segment.close()
        segment.unlink()
