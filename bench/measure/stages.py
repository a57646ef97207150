"""Each stage of a tick's way alone, and the calls of the price book that a user makes.

In one otherwise idle process with the environment of the roles. A stage is repeated until its time
is up and the best repetition counts: disturbances only ever make it slower.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

import numpy as np

from bench.measure.measured_stack import symbols_of
from bench.processes import Part, hear, started
from bench.results import CallCost, Recording, StageCost
from lib.settings import PROJECT_ROOT, Settings
from lib.shared_memory_utils import SharedPriceBook
from lib.signals import MovingAverageAndNews
from lib.tapes.random_walk import RandomWalkTape
from lib.wire.framing import split
from lib.wire.tick_codec import TickCodec

BATCH_TICKS: Final = 4096
BATCHES: Final = 16
"""How many different batches a repetition processes, so that no stage benefits from repetition."""
SEED: Final = 7
BULLISH: Final = 70
"""A sentiment that makes the signal buy."""
CALLS: Final = 1_000
"""How many calls are timed together."""
LONGEST_S: Final = 120.0
"""How long all stages and calls together may take."""
WARM_UP: Final = 2
"""How many repetitions do not count."""


class Work(NamedTuple):
    """One timed repetition: `run` processes `units` ticks or calls."""

    name: str
    units: int
    run: Callable[[], object]
    batch_ticks: int = 1


def measure_alone(symbols: int, seconds: float, found: Recording) -> None:
    """Measure all stages and calls, each for `seconds`, in a separate process. Raises BenchError.

    Its environment is that of the roles (`etc/run-role`): it decides, at the start of a process,
    how memory is returned to the system, which is a good part of the cost of arrays.
    """
    before = dict(os.environ)
    os.environ.update(role_environment())
    try:
        with started([(_measure_all, (symbols, seconds))]) as children:
            [(stages, calls)] = hear(children, children, LONGEST_S, "not finished in time")
    finally:
        os.environ.clear()
        os.environ.update(before)
    found.stages += stages
    found.calls += calls


def role_environment() -> dict[str, str]:
    """Return the environment variables that `etc/run-role` sets."""
    script = (PROJECT_ROOT / "etc" / "run-role").read_text(encoding="utf-8")
    exports = re.findall(r"^export (.+)$", script, re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(exports)))


def _measure_all(
    part: Part[tuple[int, float]],
) -> tuple[list[StageCost], list[CallCost]]:
    """The main function of the process."""
    symbols, seconds = part.load
    with ExitStack() as stack:
        stages = [
            StageCost(work.name, symbols, work.batch_ticks, best_ns(work, seconds))
            for stages_of in (_stages_of_many, _stages_of_one)
            for work in stages_of(symbols, stack)
        ]
    with ExitStack() as stack:
        works = _calls(symbols, stack)
        calls = [CallCost(work.name, symbols, best_ns(work, seconds)) for work in works]
    return stages, calls


def _calls(symbols: int, stack: ExitStack) -> Iterator[Work]:
    names = symbols_of(symbols)
    asked = [names[number % symbols] for number in range(CALLS)]
    prices = [170.0 + number % 999 / 100 for number in range(CALLS)]
    book = stack.enter_context(SharedPriceBook(names))
    for symbol in names:
        book.update(symbol, 172.53)
    yield Work("read", CALLS, lambda: [book.read(symbol) for symbol in asked])
    yield Work("update", CALLS, lambda: [*map(book.update, asked, prices)])
    reader = stack.enter_context(book.reader())
    # Last, because from then on each update would wake the reader.
    yield Work("reader().arm", CALLS, lambda: [reader.arm() for _ in range(CALLS)])


def best_ns(work: Work, seconds: float) -> float:
    """Repeat for `seconds`, at least once; return the best time for one unit."""
    for _ in range(WARM_UP):
        work.run()
    best = float("inf")
    end_s = time.monotonic() + seconds
    while True:
        begin_ns = time.perf_counter_ns()
        work.run()
        best = min(best, time.perf_counter_ns() - begin_ns)
        if time.monotonic() >= end_s:
            return best / work.units


def _stages_of_many(symbols: int, stack: ExitStack) -> Iterator[Work]:
    """As arrays: the way of a stack that is busy."""
    names = symbols_of(symbols)
    tape = RandomWalkTape(names, SEED)
    firsts = range(1, BATCHES * BATCH_TICKS, BATCH_TICKS)
    units = BATCHES * BATCH_TICKS
    ahead = iter(range(1, 1 << 62, BATCH_TICKS))

    yield Work(
        "generate",
        units,
        # Always onwards, as a gateway does: what a tape remembers of earlier reads is of no use.
        lambda: [tape.read(next(ahead), BATCH_TICKS) for _ in range(BATCHES)],
        BATCH_TICKS,
    )
    batches = [tape.read(first, BATCH_TICKS) for first in firsts]
    codec = TickCodec(names)
    yield Work("encode", units, lambda: [codec.encode(*batch) for batch in batches], BATCH_TICKS)
    encoded = [codec.encode(*batch) for batch in batches]
    yield Work("decode", units, lambda: [codec.decode(frames) for frames in encoded], BATCH_TICKS)

    capacity = Settings().price_book.ring_capacity
    book = stack.enter_context(SharedPriceBook(names, ring_capacity=capacity))
    book.begin_epoch("tape")
    numbers = np.arange(BATCH_TICKS)
    sequences = iter(range(1, 1 << 62, BATCH_TICKS))

    def write() -> None:
        for indices, prices in batches:
            book.update_batch(indices, prices, next(sequences) + numbers, 1)

    yield Work("book write", units, write, BATCH_TICKS)

    begin = book.reader().position - units

    def read() -> None:
        reader = book.reader(begin)
        for _ in range(BATCHES):
            reader.read(BATCH_TICKS)

    yield Work("book read", units, read, BATCH_TICKS)
    signal = MovingAverageAndNews(Settings().strategy)
    yield Work(
        "signal",
        units,
        lambda: [signal.on_batch(*batch, BULLISH, names) for batch in batches],
        BATCH_TICKS,
    )


def _stages_of_one(symbols: int, stack: ExitStack) -> Iterator[Work]:
    """Yield the stages tick by tick, as in a stack that keeps up with every tick.

    Generating and encoding are left out: the gateway always does them ahead, many at a time.
    """
    names = symbols_of(symbols)
    indices, prices = RandomWalkTape(names, SEED).read(1, CALLS)
    codec = TickCodec(names)
    messages = split(codec.encode(indices, prices))
    yield Work("decode", CALLS, lambda: [codec.read(message) for message in messages])

    plain = list(zip(indices.tolist(), prices.tolist(), strict=True))
    book = stack.enter_context(SharedPriceBook(names))
    book.begin_epoch("tape")
    reader = stack.enter_context(book.reader())
    sequences = itertools.count(1)

    def write_and_read() -> None:
        for index, price in plain:
            book.update_few([(index, price, next(sequences), 1)])
            reader.read_few()

    yield Work("book write and read", CALLS, write_and_read)
    signal = MovingAverageAndNews(Settings().strategy)
    of_names = [(names[index], price) for index, price in plain]
    yield Work("signal", CALLS, lambda: [signal.on_tick(*tick, BULLISH) for tick in of_names])
