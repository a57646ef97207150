"""ZeroMQ, with pyzmq: PUSH and PULL.

The guide has four patterns; for stages that hand on a stream of work it is the pipeline, PUSH and
PULL. Publish-subscribe, which it shows for prices, is out of the question here: a PUB socket drops
messages at its high-water mark, where a PUSH socket blocks, and nothing may be lost.
Source: zguide.zeromq.org/docs/chapter2, "Messaging Patterns" and "High-Water Marks".

The first hop is TCP like the stack's, the second ipc, the transport between processes of one host
(same chapter, "Unicast Transports"). A few ticks are a small message, which pyzmq copies (below
`zmq.COPY_THRESHOLD`, 64 KiB, it always does). Many ticks are one message: the guide's way to batch
is to put more into a message. The high-water marks are the default, 1,000 messages, or fewer where
messages are large ("takes into account your message sizes", same place).

A process that pushes stays until everything has arrived: if it closes while the other side is at
its high-water mark, messages in flight are lost, whatever the linger period (zeromq/pyzmq issue
1934, zeromq/libzmq issue 4660; in batches it happened here in every second run).
"""

from __future__ import annotations

import tempfile
from typing import Any, Final

from bench.rivals.rival import (
    HOST,
    Averages,
    ConsumerResult,
    Decisions,
    Feed,
    Load,
    Pace,
    PriceBook,
    ProcessContext,
    RivalError,
    RivalResult,
    main,
    one_by_one,
    pack,
    require,
    run,
    unpack,
)

NAME: Final = "ZeroMQ"
BEST_BATCH: Final = 2048
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""

CONNECT_MS: Final = 10_000
DEFAULT_HIGH_WATER_MARK: Final = 1000
"""ZeroMQ's default, in messages."""


def _producer(part: ProcessContext) -> int:
    import zmq

    feed = Feed(part.load)
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        connect(push, part)
        part.start()
        for number in one_by_one(pace := Pace(part.load)):
            push.send(feed.message(number))
        push.send(feed.end(pace.sent))
        part.stay()
    return pace.sent * part.load.ticks_a_message


def _relay(part: ProcessContext) -> None:
    import zmq

    book = PriceBook(part.load)
    with (
        zmq.Context() as context,
        context.socket(zmq.PULL) as pull,
        context.socket(zmq.PUSH) as push,
    ):
        bind_tcp(pull, part)
        connect(push, part)
        part.start()
        more = True
        while more:
            ticks = book.read(pull.recv())
            push.send(pack(ticks))
            more = bool(ticks.symbols)
        part.stay()


def _consumer(part: ProcessContext) -> ConsumerResult:
    import zmq

    decisions = Decisions(Averages(part.load.symbols).decide)
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        bind_ipc(pull, part)
        part.start()
        while decisions.take(*unpack(pull.recv())):
            pass
    return decisions.decided()


def bind_tcp(pull: Any, part: ProcessContext) -> None:
    """Listen for the previous process over TCP."""
    pull.set_hwm(high_water_mark(part.load))
    part.listening(f"tcp://{HOST}:{pull.bind_to_random_port(f'tcp://{HOST}')}")


def bind_ipc(pull: Any, part: ProcessContext) -> None:
    """Listen for the previous process over ipc, in the directory `part.link`."""
    pull.set_hwm(high_water_mark(part.load))
    address = f"ipc://{part.link}/prices"
    pull.bind(address)
    part.listening(address)


def connect(push: Any, part: ProcessContext) -> None:
    """Connect to the next process; only then may a message be stamped and sent."""
    import zmq

    push.set_hwm(high_water_mark(part.load))
    push.set(zmq.IMMEDIATE, 1)  # writable means connected
    push.connect(part.next_address())
    if not push.poll(CONNECT_MS, zmq.POLLOUT):
        raise RivalError("ZeroMQ does not connect")


def high_water_mark(load: Load) -> int:
    """Return how many messages may wait on each side of a connection."""
    return min(DEFAULT_HIGH_WATER_MARK, load.in_flight)


def measure(load: Load) -> RivalResult:
    """Measure one load. Raises RivalUnavailable if pyzmq is not installed."""
    require("zmq", "pyzmq")
    with tempfile.TemporaryDirectory(prefix="tradewire-bench-") as directory:
        return run(load, _producer, _relay, _consumer, link=directory)


if __name__ == "__main__":
    main(NAME, measure)
