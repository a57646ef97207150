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

import struct
import tempfile
from functools import cache
from typing import Any, Final

from bench.errors import BenchError
from bench.rivals.load import Load, RivalTape, messages
from bench.rivals.rival import (
    HOST,
    ConsumerResult,
    ProcessContext,
    RivalResult,
    main,
    require,
    run,
)
from bench.rivals.work import Decisions, PriceBook
from lib.stack.private_stack import free_ports

NAME: Final = "ZeroMQ"
BEST_BATCH: Final = 2048
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""
CONNECT_MS: Final = 10_000
DEFAULT_HIGH_WATER_MARK: Final = 1000
"""ZeroMQ's default, in messages."""


def _producer(part: ProcessContext) -> None:
    address, _ = part.link
    bodies = RivalTape(part.load).texts()
    push = _socket("PUSH", address, part)
    part.start()
    for message in messages(part.load, bodies, b""):
        push.send(b"%d,%d,%b" % message)
    part.stay()


def _relay(part: ProcessContext) -> None:
    address, next_address = part.link
    book = PriceBook(part.load)
    pull = _socket("PULL", address, part)
    push = _socket("PUSH", next_address, part)
    part.start()
    body = b"more"
    while body:
        first, sent_ns, body = pull.recv().split(b",", 2)
        symbols, prices = book.decode(body)
        push.send(_packing(len(symbols)).pack(int(first), int(sent_ns), *symbols, *prices))
    part.stay()


def _consumer(part: ProcessContext) -> ConsumerResult:
    _, address = part.link
    decisions = Decisions(part.load)
    pull = _socket("PULL", address, part)
    part.start()
    more = True
    while more:
        message = pull.recv()
        count = (len(message) - 16) // 12
        values = _packing(count).unpack(message)
        more = decisions.take(values[0], values[1], values[2 : 2 + count], values[2 + count :])
    return decisions.result()


@cache
def _packing(count: int) -> struct.Struct:
    """Return the format of a decoded message: 16 bytes, and 12 for each tick."""
    return struct.Struct(f"<qq{count}i{count}d")


def _socket(kind: str, address: str, part: ProcessContext) -> Any:
    """Make a socket, which lasts as long as its process: PULL listens, PUSH connects."""
    import zmq

    made: Any = zmq.Context.instance().socket(getattr(zmq, kind))
    made.set_hwm(min(DEFAULT_HIGH_WATER_MARK, part.load.in_flight))
    if kind == "PULL":
        made.bind(address)
        return made
    made.set(zmq.IMMEDIATE, 1)  # writable means connected
    made.connect(address)
    if not made.poll(CONNECT_MS, zmq.POLLOUT):  # only now may a message be stamped and sent
        raise BenchError("ZeroMQ does not connect")
    return made


def measure(load: Load) -> RivalResult:
    """Measure one load. Raises RivalUnavailable if pyzmq is not installed."""
    require("zmq", "pyzmq")
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="tradewire-bench-") as directory:
        link = (f"tcp://{HOST}:{port}", f"ipc://{directory}/prices")
        return run(load, _producer, _relay, _consumer, link=link)


if __name__ == "__main__":
    main(NAME, measure)
