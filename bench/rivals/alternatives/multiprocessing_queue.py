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
from typing import Final

from bench.rivals.load import Load, RivalTape, messages
from bench.rivals.rival import ConsumerResult, ProcessContext, RivalResult, main, run
from bench.rivals.work import Decisions, PriceBook

NAME: Final = "multiprocessing.Queue"
BEST_BATCH: Final = 2048
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""
MAX_SIZE: Final = 10_000
"""The bound of a queue, in messages."""


def _producer(part: ProcessContext) -> None:
    text, _ = part.link
    bodies = RivalTape(part.load).texts()
    part.start()
    for message in messages(part.load, bodies, b""):
        text.put(message)


def _relay(part: ProcessContext) -> None:
    text, prices = part.link
    book = PriceBook(part.load)
    part.start()
    body = b"more"
    while body:
        first, sent_ns, body = text.get()
        prices.put((first, sent_ns, *book.decode(body)))


def _consumer(part: ProcessContext) -> ConsumerResult:
    _, prices = part.link
    decisions = Decisions(part.load)
    part.start()
    while decisions.take(*prices.get()):
        pass
    return decisions.result()


def measure(load: Load) -> RivalResult:
    """Measure one load. Needs nothing but Python."""
    context = multiprocessing.get_context("spawn")  # as the processes are started; see `run`
    size = min(MAX_SIZE, load.in_flight)
    text, prices = context.Queue(size), context.Queue(size)
    try:
        return run(load, _producer, _relay, _consumer, link=(text, prices))
    finally:
        text.close()
        prices.close()


if __name__ == "__main__":
    main(NAME, measure)
