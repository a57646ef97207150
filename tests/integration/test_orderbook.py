"""The order book as a process, against a gateway that the test plays itself.

What it asks for, books and reports after cuts, gaps and new tapes is shown by the simulation, and
rule by rule by the unit tests of `StreamClient`, `StreamFeed` and `TickIngest`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from lib.shared_memory_utils import SharedPriceBook
from tests.clients import NOISE, FakeServer, Peer
from tests.helpers import wait_until
from tests.stack import PrivateStack

SETTINGS = {"": {"symbols": ["AAPL", "MSFT"]}}
TAPE = "tape-1"


class World:
    """An order book, the gateway it talks to, and a reader of everything it has booked."""

    def __init__(self, stack: PrivateStack) -> None:
        self.stack = stack
        self.gateway = FakeServer(stack.price_port)
        stack.start_by_hand("orderbook")
        stack.wait_for_event("orderbook", "started")
        self.book = SharedPriceBook.attach(stack.book_name)
        self._reader = self.book.reader(0)
        self._booked: list[int] = []

    def join(self) -> Peer:
        """The book's first connection, answered."""
        peer = self.gateway.accept()
        assert peer.frame() == b"HELLO,1,1"
        peer.send(b"HELLO,1,%b,1*" % TAPE.encode())
        return peer

    def booked(self, count: int) -> list[int]:
        """The sequences of all ticks in the book, once there are this many."""

        def all_so_far() -> list[int]:
            batch = self._reader.read()
            assert batch.missed is None
            self._booked += batch.ticks["sequence"].tolist()
            return self._booked

        wait_until(lambda: len(all_so_far()) >= count, f"{count} ticks are in the book")
        assert len(self._booked) == count
        return self._booked

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.stack.events("orderbook", event)

    def counted(self, event: str) -> int:
        """How many events of a kind the book has logged, over all lines."""
        return sum(entry["count"] for entry in self.events(event))

    def close(self) -> None:
        self.gateway.close()
        self.book.close()


@pytest.fixture
def world(stack: PrivateStack) -> Iterator[World]:
    world = World(stack)
    yield world
    world.close()


def batch(first: int, *frames: bytes, sent_ns: int = 1) -> bytes:
    header = b"BATCH,%d,%d,%d*" % (first, len(frames), sent_ns)
    return header + b"".join(frame + b"*" for frame in frames)


def test_a_flood_of_bad_frames_is_counted_to_the_last_and_told_in_a_few_lines(
    world: World,
) -> None:
    begin = time.monotonic()
    peer = world.join()
    count = 100_000
    for first in range(1, count, 10_000):
        peer.send(batch(first, *[b"AAPL,nan"] * 5000, *[b"TSLA,1.00"] * 5000))
    peer.send(batch(count + 1, b"AAPL,1.00"))
    assert world.booked(1) == [count + 1]
    for event in ("malformed_frames", "unknown_symbols"):
        wait_until(lambda: world.counted(event) >= count // 2, "all are counted")  # noqa: B023
        assert world.counted(event) == count // 2
        # One a second, however long it took.
        assert len(world.events(event)) <= time.monotonic() - begin + 2
    assert len(world.events("disconnected")) == 0


BROKEN = {
    "a batch that ends early": b"BATCH,2,3,5*AAPL,1.00*BATCH,4,1,5*AAPL,9.00*",
    "a number again": b"BATCH,1,1,5*AAPL,9.00*",
    "a second answer": b"HELLO,1,tape-1,2*",
    **NOISE,
}
"""What may not follow the first tick of a stream."""


def test_whatever_breaks_the_protocol_costs_the_connection_and_no_tick(world: World) -> None:
    peer = world.join()
    peer.send(batch(1, b"AAPL,1.00"))
    world.booked(1)
    following = 2
    for data in BROKEN.values():
        peer.send_until_disconnected(data)
        peer.frames_until_the_end()
        peer.close()
        peer = world.gateway.accept()
        word, version, asked, tape = peer.frame().split(b",")
        assert (word, version, tape) == (b"HELLO", b"1", TAPE.encode())
        # One good frame before the first fault may count, and then the book must have it.
        assert int(asked) in (following, following + (following == 2))
        following = int(asked)
        assert world.booked(following - 1) == [*range(1, following)]
        peer.send(b"HELLO,1,%b,%d*" % (TAPE.encode(), following))
    peer.send(batch(following, b"MSFT,2.00"))
    assert world.booked(following) == [*range(1, following + 1)]
    assert (world.book.read("AAPL"), world.book.read("MSFT")) == (1.0, 2.0)
    assert len(world.events("protocol_error")) == len(BROKEN)
    assert world.stack.missed("orderbook") == []
