"""The load of a rival: its ticks, and when each message is sent.

The ticks are a random walk, encoded as text in advance. A message is the number of its first tick,
SENT_NS (the monotonic clock just before sending), and a body: the frames `SYMBOL,PRICE` of its
ticks, in whatever form the rival sends them. It is paced as the stack's gateway is: by an absolute
schedule, waited for with `select`, which has microsecond resolution (lib/net/event_loop.py).
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np

from lib.clock import SECOND_NS, to_ns
from lib.streams.schedule import Schedule

TAPE_TICKS: Final = 65_536
"""About how many ticks are encoded in advance; then they repeat under further numbers."""
SEED: Final = 7
IN_FLIGHT_TICKS: Final = 65_536
"""About how many ticks may wait in one queue, where that can be chosen: deeper queues only add
latency and memory."""
UNPACED_TICKS: Final = 256
"""About how many ticks are sent between two readings of the clock in an unpaced load."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one measurement of a rival."""

    rate: float
    """Ticks a second; 0: as fast as it goes without loss."""
    seconds: float
    ticks_a_message: int = 1
    symbols: int = 4

    @property
    def messages(self) -> int:
        """The number of messages of a paced load."""
        return round(self.rate * self.seconds / self.ticks_a_message)

    @property
    def in_flight(self) -> int:
        """How many messages may wait in one queue."""
        return max(2, IN_FLIGHT_TICKS // self.ticks_a_message)


class RivalTape:
    """The ticks of a load: a random walk for each symbol, equal for equal loads.

    It is `length` ticks long, a whole number of messages, and then repeats.
    """

    def __init__(self, load: Load) -> None:
        self._ticks_a_message = load.ticks_a_message
        self.length = -(-TAPE_TICKS // load.ticks_a_message) * load.ticks_a_message
        generator = np.random.default_rng(SEED)
        self.names = [f"S{number:04d}" for number in range(load.symbols)]
        symbols = generator.integers(load.symbols, size=self.length)
        steps = generator.integers(-5, 6, size=self.length)
        cents = np.empty(self.length, np.int64)
        for symbol in range(load.symbols):
            mine = symbols == symbol
            cents[mine] = 1 + np.abs(17_253 + np.cumsum(steps[mine]))  # reflected at zero
        self.symbols: list[int] = symbols.tolist()
        """The number of the symbol of each tick; `names` has its name."""
        self.prices: list[float] = (cents / 100).tolist()

    def ticks(self) -> list[tuple[str, float]]:
        """Return symbol and price of each tick."""
        return [(self.names[s], price) for s, price in zip(self.symbols, self.prices, strict=True)]

    def texts(self) -> list[bytes]:
        """Return the body of each message as text: `AAPL,172.53*MSFT,325.20`."""
        frames = [f"{name},{price:.2f}".encode() for name, price in self.ticks()]
        return [b"*".join(part) for part in self.split(frames)]

    def split(self, ticks: Sequence[Any]) -> list[Any]:
        """Split a sequence with an item for each tick into messages."""
        size = self._ticks_a_message
        return [ticks[first : first + size] for first in range(0, self.length, size)]


def due(load: Load) -> Iterator[range]:
    """Wait, and yield the numbers of the messages due together, from 0, until the load is over."""
    sent, start_ns = 0, time.monotonic_ns()
    if not load.rate:
        count = max(1, UNPACED_TICKS // load.ticks_a_message)
        while time.monotonic_ns() < start_ns + to_ns(load.seconds):
            yield range(sent, sent + count)
            sent += count
        return
    schedule = Schedule(load.rate / load.ticks_a_message, start_ns)
    with select.epoll() as epoll:  # as in lib/net/event_loop.py: select on an epoll object
        while sent < load.messages:
            wait_ns = schedule.next_ns() - time.monotonic_ns()
            if wait_ns > 0:
                select.select([epoll], [], [], wait_ns / SECOND_NS)
            now_ns = time.monotonic_ns()
            schedule.skip_lateness(now_ns)
            count = min(schedule.take(now_ns), load.messages - sent)
            yield range(sent, sent + count)
            sent += count


def messages(load: Load, bodies: Sequence[Any], end: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield each message when it is due: the number of its first tick, SENT_NS, its body.

    Ticks count from 1, and the bodies repeat. After the last tick comes a message with body `end`.
    """
    first = 1
    for number in chain.from_iterable(due(load)):
        yield first, time.monotonic_ns(), bodies[number % len(bodies)]
        first += load.ticks_a_message
    yield first, time.monotonic_ns(), end
