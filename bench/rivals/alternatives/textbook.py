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
import socket
from contextlib import closing
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.rivals.load import Load, RivalTape, messages
from bench.rivals.rival import (
    MEMORY,
    ConsumerResult,
    ProcessContext,
    RivalResult,
    main,
    run,
    tcp_connection,
)
from bench.rivals.work import Decisions

NAME: Final = "JSON over TCP, a lock around an array"
BEST_BATCH: Final = 1024
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""

RING: Final = np.dtype(
    [("sequence", "i8"), ("sent_ns", "i8"), ("symbol", "i4"), ("price", "f8")], align=True
)
CAPACITY: Final = 65_536
"""The size of the ring, in ticks. A message must fit."""
END: Final = ""
"""The symbol that ends the stream; its number comes after those of all others."""
FEW_TICKS: Final = 8
"""Up to so many ticks, storing them one by one is faster than as arrays."""


class Shared:
    """The arrays in a segment. Everything but constructing and closing it needs the lock.

    Symbols are numbered; the last number is that of `END`.
    """

    def __init__(self, name: str, symbols: int) -> None:
        self._segment = SharedMemory(name)
        buffer = self._segment.buf
        self.counts: NDArray[np.int64] = np.ndarray(2, np.int64, buffer)
        """The total numbers of records written and read."""
        self.latest: NDArray[np.float64] = np.ndarray(symbols + 1, np.float64, buffer, 16)
        self.ring: NDArray[Any] = np.ndarray(CAPACITY, RING, buffer, 24 + 8 * symbols)

    @staticmethod
    def size(symbols: int) -> int:
        """Return the size of the segment, in bytes."""
        return 24 + 8 * symbols + RING.itemsize * CAPACITY

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
                self.latest[symbol] = price
        else:
            places = np.arange(begin, begin + count) % CAPACITY
            self.ring["sequence"][places] = np.arange(first, first + count)
            self.ring["sent_ns"][places] = sent_ns
            self.ring["symbol"][places] = symbols
            self.ring["price"][places] = prices
            # NumPy assigns in order: of a repeated symbol, the last price stays.
            self.latest[symbols] = prices
        self.counts[0] = begin + count

    def read(self) -> NDArray[Any]:
        """Return a copy of all unread records."""
        written, had = self.counts.tolist()
        self.counts[1] = written
        if written - had == 1:
            place = had % CAPACITY
            return self.ring[place : place + 1].copy()
        records: NDArray[Any] = self.ring[np.arange(had, written) % CAPACITY]
        return records


def _producer(part: ProcessContext) -> None:
    sender, _ = part.link[0]
    tape = RivalTape(part.load)
    bodies = tape.split(tape.ticks())
    part.start()
    for first, sent_ns, ticks in messages(part.load, bodies, [(END, 0.0)]):
        message = {"first": first, "sent_ns": sent_ns, "ticks": ticks}
        sender.sendall(json.dumps(message).encode() + b"\n")
    sender.shutdown(socket.SHUT_WR)


def _relay(part: ProcessContext) -> None:
    (_, receiver), segment, changed = part.link
    index = {name: number for number, name in enumerate(RivalTape(part.load).names)}
    index[END] = part.load.symbols
    with closing(Shared(segment, part.load.symbols)) as shared, receiver.makefile("rb") as lines:
        part.start()
        for line in lines:
            message = json.loads(line)
            symbols = [index[symbol] for symbol, _ in message["ticks"]]
            prices = [price for _, price in message["ticks"]]
            with changed:
                changed.wait_for(partial(shared.has_room, len(symbols)))
                shared.write(message["first"], message["sent_ns"], symbols, prices)
                changed.notify()


def _consumer(part: ProcessContext) -> ConsumerResult:
    _, segment, changed = part.link
    decisions, end = Decisions(part.load), part.load.symbols
    with closing(Shared(segment, part.load.symbols)) as shared:
        part.start()
        more = True
        while more:
            with changed:
                changed.wait_for(shared.has_news)
                records = shared.read()
                changed.notify()
            more = all(_decide(decisions, message, end) for message in _messages(records))
    return decisions.result()


def _messages(records: NDArray[Any]) -> list[NDArray[Any]]:
    """Split records into messages, as sent: the ticks of a message have the same SENT_NS."""
    if len(records) == 1:
        return [records]
    return np.split(records, np.flatnonzero(np.diff(records["sent_ns"])) + 1)


def _decide(decisions: Decisions, records: NDArray[Any], end: int) -> bool:
    symbols = records["symbol"].tolist()
    if symbols == [end]:
        symbols = []
    first, sent_ns = int(records["sequence"][0]), int(records["sent_ns"][0])
    return decisions.take(first, sent_ns, symbols, records["price"].tolist())


def measure(load: Load) -> RivalResult:
    """Measure one load. Needs nothing but NumPy."""
    context = multiprocessing.get_context("spawn")  # as the processes are started; see `run`
    changed = context.Condition(context.Lock())
    name = f"{MEMORY}{os.getpid()}-{secrets.token_hex(4)}"
    segment = SharedMemory(name, create=True, size=Shared.size(load.symbols))
    try:
        with tcp_connection() as connection:
            link = (connection, segment.name, changed)
            return run(load, _producer, _relay, _consumer, link=link)
    finally:
        segment.close()
        segment.unlink()


if __name__ == "__main__":
    main(NAME, measure)
