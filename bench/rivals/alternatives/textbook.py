"""JSON over TCP, and a lock around a structured array in shared memory, as textbooks write them.

A message is a line of JSON: a delimiter is one of the ways to know where a message ends
(docs.python.org/3/howto/sockets.html), and `socket.makefile` gives lines. The relay and the
consumer share NumPy structured arrays in `multiprocessing.shared_memory`, made as the page of that
library shows, `numpy.ndarray(…, buffer=shm.buf)`. One of them is the latest price of every symbol.
Alone it would lose every tick for which the consumer is too late, so the other is the textbook's
bounded buffer: a ring, one `multiprocessing.Lock`, and a `Condition` on it, on which the consumer
waits while it is empty, and the relay while it is full.
Sources: docs.python.org/3.11/library/multiprocessing.shared_memory.html, and "Condition objects" of
docs.python.org/3.11/library/threading.html, the producer and the consumer.

Many ticks are an array in one line of JSON, and are stored at once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
from contextlib import closing
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Condition
from time import monotonic_ns
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.rivals.rival import (
    MEMORY,
    Averages,
    ConsumerResult,
    Decisions,
    Load,
    Pace,
    ProcessContext,
    RivalResult,
    RivalTape,
    main,
    one_by_one,
    run,
)

NAME: Final = "JSON over TCP, a lock around an array"
BEST_BATCH: Final = 1024
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""

RING: Final = np.dtype(
    [("sequence", "i8"), ("sent_ns", "i8"), ("symbol", "i4"), ("price", "f8")], align=True
)
LATEST: Final = np.dtype([("sequence", "i8"), ("price", "f8")])
CAPACITY: Final = 65_536
"""The size of the ring, in ticks. A message must fit."""
NO_SYMBOL: Final = -1
"""The symbol in the record that ends the stream."""
FEW_TICKS: Final = 8
"""Up to so many ticks, storing them one by one is faster than as arrays."""


class RingHandles(NamedTuple):
    """The segment and the condition, shared by all processes."""

    segment: str
    changed: Condition


class Shared:
    """The arrays in a segment. Everything but constructing and closing it needs the lock."""

    def __init__(self, name: str, symbols: int) -> None:
        self._segment = SharedMemory(name)
        buffer = self._segment.buf
        self.counts: NDArray[np.int64] = np.ndarray(2, np.int64, buffer)
        """The total numbers of records written and read."""
        self.latest: NDArray[Any] = np.ndarray(symbols, LATEST, buffer, 16)
        ring_offset = 16 + LATEST.itemsize * symbols
        self.ring: NDArray[Any] = np.ndarray(CAPACITY, RING, buffer, ring_offset)

    @staticmethod
    def size(symbols: int) -> int:
        """Return the size of the segment, in bytes."""
        return 16 + LATEST.itemsize * symbols + RING.itemsize * CAPACITY

    def close(self) -> None:
        """Close the segment and drop its arrays."""
        del self.counts, self.latest, self.ring
        self._segment.close()

    def has_news(self) -> bool:
        """Whether there are unread records."""
        return bool(self.counts[0] > self.counts[1])

    def has_room(self, count: int) -> bool:
        """Whether the ring has room for `count` records."""
        return bool(CAPACITY - (self.counts[0] - self.counts[1]) >= count)

    def write(self, first: int, sent_ns: int, symbols: list[int], prices: list[float]) -> None:
        """Append the ticks to the ring, and store the latest prices."""
        begin, count = int(self.counts[0]), len(symbols)
        if count <= FEW_TICKS:
            for offset, (symbol, price) in enumerate(zip(symbols, prices, strict=True)):
                self.ring[(begin + offset) % CAPACITY] = (first + offset, sent_ns, symbol, price)
                self.latest[symbol] = (first + offset, price)
        else:
            sequences = np.arange(first, first + count)
            places = np.arange(begin, begin + count) % CAPACITY
            self.ring["sequence"][places] = sequences
            self.ring["sent_ns"][places] = sent_ns
            self.ring["symbol"][places] = symbols
            self.ring["price"][places] = prices
            # NumPy assigns in order: of a repeated symbol, the last price stays.
            self.latest["sequence"][symbols] = sequences
            self.latest["price"][symbols] = prices
        self.counts[0] = begin + count

    def write_end(self, first: int, sent_ns: int) -> None:
        """Append the record that ends the stream."""
        self.ring[int(self.counts[0]) % CAPACITY] = (first, sent_ns, NO_SYMBOL, 0.0)
        self.counts[0] += 1

    def read(self) -> NDArray[Any]:
        """Return a copy of all unread records."""
        written, had = self.counts.tolist()
        self.counts[1] = written
        if written - had == 1:
            place = had % CAPACITY
            return self.ring[place : place + 1].copy()
        records: NDArray[Any] = self.ring[np.arange(had, written) % CAPACITY]
        return records


def _producer(part: ProcessContext) -> int:
    size = part.load.ticks_a_message
    tape = RivalTape(part.load)
    names = [tape.names[symbol] for symbol in tape.symbols]
    messages = tape.split(list(zip(names, tape.prices, strict=True)))
    with part.connect() as sock:
        part.start()

        def send(number: int, ticks: list[Any]) -> None:
            message = {"first": 1 + number * size, "sent_ns": monotonic_ns(), "ticks": ticks}
            sock.sendall(json.dumps(message).encode() + b"\n")

        for number in one_by_one(pace := Pace(part.load)):
            send(number, messages[number % len(messages)])
        send(pace.sent, [])
    return pace.sent * size


def _relay(part: ProcessContext) -> None:
    index = {name: number for number, name in enumerate(RivalTape(part.load).names)}
    changed = part.link.changed
    shared = Shared(part.link.segment, part.load.symbols)
    with closing(shared), part.accept() as sock, sock.makefile("rb") as lines:
        part.start()
        for line in lines:
            message = json.loads(line)
            symbols = [index[symbol] for symbol, _ in message["ticks"]]
            prices = [price for _, price in message["ticks"]]
            with changed:
                changed.wait_for(partial(shared.has_room, max(1, len(symbols))))
                if symbols:
                    shared.write(message["first"], message["sent_ns"], symbols, prices)
                else:
                    shared.write_end(message["first"], message["sent_ns"])
                changed.notify()


def _consumer(part: ProcessContext) -> ConsumerResult:
    decisions = Decisions(Averages(part.load.symbols).decide)
    changed = part.link.changed
    shared = Shared(part.link.segment, part.load.symbols)
    with closing(shared):
        part.start()
        more = True
        while more:
            with changed:
                changed.wait_for(shared.has_news)
                records = shared.read()
                changed.notify()
            more = _decide(decisions, records)
    return decisions.decided()


def _decide(decisions: Decisions, records: NDArray[Any]) -> bool:
    """Decide message by message, as sent: the ticks of a message have the same SENT_NS."""
    if len(records) == 1:
        first, sent_ns, symbol, price = records[0].item()
        symbols = () if symbol == NO_SYMBOL else (symbol,)
        return decisions.take(first, sent_ns, symbols, (price,))
    cuts = np.flatnonzero(np.diff(records["sent_ns"])) + 1
    return all(_decide_message(decisions, message) for message in np.split(records, cuts))


def _decide_message(decisions: Decisions, records: NDArray[Any]) -> bool:
    first, sent_ns = int(records["sequence"][0]), int(records["sent_ns"][0])
    symbols = records["symbol"].tolist()
    if symbols == [NO_SYMBOL]:
        symbols = []
    return decisions.take(first, sent_ns, symbols, records["price"].tolist())


def measure(load: Load) -> RivalResult:
    """Measure one load. Raises ValueError for messages that do not fit into the ring."""
    if load.ticks_a_message > CAPACITY:
        raise ValueError(f"at most {CAPACITY} ticks fit into the ring")
    context = multiprocessing.get_context("spawn")  # as the processes are started; see `run`
    name = f"{MEMORY}{os.getpid()}-{secrets.token_hex(4)}"
    segment = SharedMemory(name, create=True, size=Shared.size(load.symbols))
    try:
        link = RingHandles(segment.name, context.Condition(context.Lock()))
        return run(load, _producer, _relay, _consumer, link=link)
    finally:
        segment.close()
        segment.unlink()


if __name__ == "__main__":
    main(NAME, measure)
