"""ZeroMQ with arrays: NOT the same work, but an obvious question.

PUSH and PULL as in `zeromq.py`, but without text, and never a tick at a time. Messages are the
buffers of NumPy arrays, as pyzmq's documentation sends them (pyzmq.readthedocs.io, "Serializing
messages with PyZMQ"); the relay stores the latest prices with one assignment and passes the message
on unchanged; the averages are sums over arrays. It leaves out the text, and decoding the text is
most of the work of a stack that takes plain lines.
"""

from __future__ import annotations

import struct
import tempfile
from time import monotonic_ns
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.rivals.alternatives.zeromq import bind_ipc, bind_tcp, connect
from bench.rivals.rival import (
    LONG_WINDOW,
    SHORT_WINDOW,
    ConsumerResult,
    Decisions,
    Load,
    Pace,
    ProcessContext,
    RivalResult,
    RivalTape,
    main,
    one_by_one,
    require,
    run,
)

NAME: Final = "ZeroMQ, arrays in place of text"
BEST_BATCH: Final = 4096
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""

STAMP: Final = struct.Struct("<qq")
SYMBOL: Final = np.dtype(np.int32)
PRICE: Final = np.dtype(np.int64)


class ArrayAverages:
    """The two moving averages of each symbol, over all ticks of a message at once.

    Prices are whole numbers (cents), so that running sums are exact.
    """

    def __init__(self, symbols: int) -> None:
        self._before = np.zeros((symbols, LONG_WINDOW), np.int64)
        """The latest prices of each symbol, the newest last; zero before there are enough."""
        self._seen = np.zeros(symbols, np.int64)

    def decide(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> int:
        """Process ticks; return after how many of them the short average was above the long one.

        The ticks are sorted by symbol, each symbol's after its earlier prices; over that one row of
        numbers, the sum of a window is the difference of two running sums.
        """
        order = np.argsort(symbols, kind="stable")
        present, counts = np.unique(symbols[order], return_counts=True)
        firsts = np.cumsum(counts) - counts
        starts = firsts + LONG_WINDOW * np.arange(len(present))
        row = np.empty(len(symbols) + LONG_WINDOW * len(present), np.int64)
        row[starts[:, None] + np.arange(LONG_WINDOW)] = self._before[present]
        nth = np.arange(len(symbols)) - np.repeat(firsts, counts)
        places = np.repeat(starts + LONG_WINDOW, counts) + nth
        row[places] = prices[order]
        sums = np.cumsum(row)
        short = sums[places] - sums[places - SHORT_WINDOW]
        long = sums[places] - sums[places - LONG_WINDOW]
        full = np.repeat(self._seen[present], counts) + nth + 1 >= LONG_WINDOW
        self._seen[present] += counts
        ends = starts + LONG_WINDOW + counts
        self._before[present] = row[ends[:, None] + np.arange(-LONG_WINDOW, 0)]
        return int(np.count_nonzero(full & (short * LONG_WINDOW > long * SHORT_WINDOW)))


def _producer(part: ProcessContext) -> int:
    import zmq

    size = part.load.ticks_a_message
    tape = RivalTape(part.load)
    bodies = [
        symbols.tobytes() + prices.tobytes()
        for symbols, prices in zip(tape.split(tape.symbols), tape.split(tape.cents), strict=True)
    ]
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        connect(push, part)
        part.start()
        for number in one_by_one(pace := Pace(part.load)):
            stamp = STAMP.pack(1 + number * size, monotonic_ns())
            push.send(stamp + bodies[number % len(bodies)])
        push.send(STAMP.pack(1 + pace.sent * size, monotonic_ns()))
        part.stay()
    return pace.sent * size


def _relay(part: ProcessContext) -> None:
    import zmq

    latest = np.zeros(part.load.symbols, PRICE)
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
            message = pull.recv()
            _, _, symbols, prices = _arrays(message)
            latest[symbols] = prices  # in order: of a repeated symbol, the last price stays
            push.send(message)
            more = len(symbols) > 0
        part.stay()


def _consumer(part: ProcessContext) -> ConsumerResult:
    import zmq

    decisions = Decisions(ArrayAverages(part.load.symbols).decide)
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        bind_ipc(pull, part)
        part.start()
        while decisions.take(*_arrays(pull.recv())):
            pass
    return decisions.decided()


def _arrays(message: bytes) -> tuple[int, int, NDArray[np.int32], NDArray[np.int64]]:
    """Return number, SENT_NS, symbols and prices of a message, without a copy."""
    first, sent_ns = STAMP.unpack_from(message)
    count = (len(message) - STAMP.size) // (SYMBOL.itemsize + PRICE.itemsize)
    symbols = np.frombuffer(message, SYMBOL, count, STAMP.size)
    prices = np.frombuffer(message, PRICE, count, STAMP.size + symbols.nbytes)
    return first, sent_ns, symbols, prices


def measure(load: Load) -> RivalResult:
    """Measure one load. Raises RivalUnavailable if pyzmq is not installed."""
    require("zmq", "pyzmq")
    with tempfile.TemporaryDirectory(prefix="tradewire-bench-") as directory:
        return run(load, _producer, _relay, _consumer, link=directory)


if __name__ == "__main__":
    main(NAME, measure)
