"""`multiprocessing.Queue`: two of them, from the producer to the relay to the consumer.

As the library's page shows it: a queue is made by the parent and given to the processes, objects
are put and got, `put` and `get` wait. It recommends queues or pipes over locks for what goes from
process to process ("Programming guidelines"). `maxsize` lets `put` wait for a free slot, so that a
producer that is quicker than the consumer is slowed down, and nothing is lost or piles up.
Source: docs.python.org/3.11/library/multiprocessing.html.

`SimpleQueue` and `Pipe` of the same library are leaner, and would be quicker for two processes;
`Queue` is the one in common use. Many ticks are one object, which is pickled at once.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue
from time import monotonic_ns
from typing import Any, Final, NamedTuple

from bench.rivals.rival import (
    Averages,
    ConsumerResult,
    Decisions,
    Load,
    Pace,
    PriceBook,
    ProcessContext,
    RivalResult,
    RivalTape,
    main,
    one_by_one,
    run,
)

NAME: Final = "multiprocessing.Queue"
BEST_BATCH: Final = 2048
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""

MAX_SIZE: Final = 10_000
"""The bound of a queue, in messages."""


class Queues(NamedTuple):
    """The queues, shared by all processes."""

    text: Queue[Any]
    """From the producer to the relay: first number, SENT_NS, frames; no frames at the end."""
    prices: Queue[Any]
    """From the relay to the consumer: first number, SENT_NS, symbols, prices."""


def _producer(part: ProcessContext) -> int:
    queue = part.link.text
    size = part.load.ticks_a_message
    bodies = RivalTape(part.load).bodies()
    part.start()
    for number in one_by_one(pace := Pace(part.load)):
        queue.put((1 + number * size, monotonic_ns(), bodies[number % len(bodies)]))
    queue.put((1 + pace.sent * size, monotonic_ns(), b""))
    return pace.sent * size


def _relay(part: ProcessContext) -> None:
    book = PriceBook(part.load)
    text, prices = part.link
    part.start()
    body = b"more"
    while body:
        first, sent_ns, body = text.get()
        prices.put((first, sent_ns, *book.read_body(body)))


def _consumer(part: ProcessContext) -> ConsumerResult:
    decisions = Decisions(Averages(part.load.symbols).decide)
    prices = part.link.prices
    part.start()
    while decisions.take(*prices.get()):
        pass
    return decisions.decided()


def measure(load: Load) -> RivalResult:
    """Measure one load. Needs nothing but Python."""
    context = multiprocessing.get_context("spawn")  # as the processes are started; see `run`
    size = min(MAX_SIZE, load.in_flight)
    link = Queues(context.Queue(size), context.Queue(size))
    try:
        return run(load, _producer, _relay, _consumer, link=link)
    finally:
        for queue in link:
            queue.close()


if __name__ == "__main__":
    main(NAME, measure)
