"""The common frame of the programs that the stack is compared with: floor and alternatives.

A rival is a chain of processes, each with its own interpreter: a producer, mostly a relay, and a
consumer. Their work is the same in each rival, and is here:

- The producer sends the ticks of a `RivalTape`, a random walk encoded as text in advance. A message
  is the number of its first tick, SENT_NS (the monotonic clock just before sending), and the frames
  `SYMBOL,PRICE` of its ticks. It is paced as the stack's gateway is: by an absolute schedule,
  waited for with `select`, which has microsecond resolution (lib/net/event_loop.py).
- The relay decodes the text (`PriceBook`), keeps the latest price of every symbol, and passes on
  the decoded ticks.
- The consumer computes two moving averages a symbol, one tick at a time (`Averages`), and records
  when it decided (`Decisions`).

Only the transport between them differs, and a rival's own module has nothing else: `NAME` (shown in
the report), `measure(load)`, and one function a process. `run` starts the processes, connects them,
collects the result, and leaves nothing running, whatever happens.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import multiprocessing
import os
import select
import signal
import socket
import struct
import time
import traceback
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.clock import SECOND_NS, to_ns
from lib.process.run_identity import end_with
from lib.streams.schedule import Schedule

SHORT_WINDOW: Final = 20
LONG_WINDOW: Final = 50
"""The windows in ticks, as in the stack's default settings."""

HOST: Final = "127.0.0.1"
MEMORY: Final = "tradewire-bench-"
"""The prefix of everything that a rival makes in /dev/shm; the pid of the bench follows it."""
START_S: Final = 30.0
"""How long the processes may take to start and to connect."""
END_S: Final = 30.0
"""How long after the load's own seconds everything must have arrived, and how long an end may take.
"""
SETTLE_S: Final = 0.2
"""How long to wait after a failure for failures of the other processes."""

TAPE_TICKS: Final = 65_536
"""About how many ticks are encoded in advance; then they repeat under further numbers."""
SEED: Final = 7
IN_FLIGHT_TICKS: Final = 65_536
"""About how many ticks may wait in one queue, where that can be chosen: deeper queues only add
latency and memory."""
UNPACED_TICKS: Final = 256
"""About how many ticks are sent between two readings of the clock in an unpaced load."""

_STAMP_BYTES: Final = 16
_TICK_BYTES: Final = 12
"""The size of a tick in the format of `pack`."""


class RivalUnavailable(Exception):  # noqa: N818 - it is no error of a run, but a gap in it
    """A rival cannot run here. The text says what is missing, on one line."""


class RivalError(Exception):
    """A rival failed while it ran."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one measurement of a rival."""

    rate: float
    """Ticks a second; 0: as fast as it goes without loss."""
    seconds: float
    ticks_a_message: int = 1
    symbols: int = 4

    def __post_init__(self) -> None:
        if self.rate < 0 or self.seconds <= 0 or self.ticks_a_message < 1 or self.symbols < 1:
            raise ValueError(f"an invalid load: {self}")

    @property
    def messages(self) -> int:
        """The number of messages of a paced load."""
        return max(1, round(self.rate * self.seconds / self.ticks_a_message))

    @property
    def in_flight(self) -> int:
        """How many messages may wait in one queue."""
        return max(2, IN_FLIGHT_TICKS // self.ticks_a_message)


@dataclass(frozen=True, slots=True)
class RivalResult:
    """The result of one measurement of a rival."""

    ticks: int
    """How many ticks the consumer decided, in order, each once."""
    missing: int
    """How many ticks were sent and did not arrive."""
    seconds: float
    """The time from the start of sending to the end of the last decision."""
    latencies_ns: NDArray[np.int64]
    """SENT_NS to decision: one for each message, whose ticks are sent and decided together."""
    above: int = 0
    """After how many ticks the short average was above the long one: equal for equal ticks in every
    rival, which proves that it did the work."""


def require(module: str, package: str) -> None:
    """Raise RivalUnavailable unless `module` can be imported."""
    if importlib.util.find_spec(module) is None:
        raise RivalUnavailable(
            f"{package} is not installed (pip install -r requirements-bench.txt)"
        )


# --- The ticks -------------------------------------------------------------------------------


class RivalTape:
    """The ticks of a load: a random walk for each symbol, equal for equal loads.

    It is `length` ticks long, a whole number of messages, and then repeats.
    """

    def __init__(self, load: Load) -> None:
        self.ticks_a_message = load.ticks_a_message
        self.length = -(-TAPE_TICKS // load.ticks_a_message) * load.ticks_a_message
        generator = np.random.default_rng(SEED)
        self.names = [f"S{number:04d}" for number in range(load.symbols)]
        self.symbols = generator.integers(load.symbols, size=self.length, dtype=np.int32)
        self.cents = np.empty(self.length, np.int64)
        steps = generator.integers(-5, 6, size=self.length)
        for symbol in range(load.symbols):
            mine = self.symbols == symbol
            # Reflected at zero, so that it is always a price.
            self.cents[mine] = 1 + np.abs(17_253 + np.cumsum(steps[mine]))

    @property
    def prices(self) -> list[float]:
        """The prices as a decoder reads them from the text."""
        return [float(text) for text in self._price_texts()]

    def bodies(self) -> list[bytes]:
        """Return the frames of each message: `AAPL,172.53*MSFT,325.20`."""
        frames = [
            f"{self.names[symbol]},{price}".encode()
            for symbol, price in zip(self.symbols.tolist(), self._price_texts(), strict=True)
        ]
        return [b"*".join(part) for part in self.split(frames)]

    def split(self, ticks: Any) -> list[Any]:
        """Split a sequence with an item for each tick into messages."""
        size = self.ticks_a_message
        return [ticks[first : first + size] for first in range(0, self.length, size)]

    def _price_texts(self) -> list[str]:
        return [f"{cents // 100}.{cents % 100:02d}" for cents in self.cents.tolist()]


class Feed:
    """The producer's messages as text, by their number from 0."""

    def __init__(self, load: Load) -> None:
        self._ticks_a_message = load.ticks_a_message
        self._bodies = RivalTape(load).bodies()

    def message(self, number: int) -> bytes:
        """Return a message stamped with the number of its first tick and the time: send it now."""
        body = self._bodies[number % len(self._bodies)]
        return b"%d,%d,%b" % (1 + number * self._ticks_a_message, time.monotonic_ns(), body)

    def end(self, messages: int) -> bytes:
        """Return the message without ticks that ends a stream of so many messages."""
        return b"%d,%d," % (1 + messages * self._ticks_a_message, time.monotonic_ns())


class Pace:
    """When the producer sends which of its messages. Starts with its construction."""

    def __init__(self, load: Load) -> None:
        self.sent = 0
        """The number of messages sent so far."""
        now_ns = time.monotonic_ns()
        self._end_ns = now_ns + to_ns(load.seconds)
        self._messages = load.messages
        self._schedule: Schedule | None = None
        self._chunk = max(1, UNPACED_TICKS // load.ticks_a_message)
        if load.rate:
            self._schedule = Schedule(load.rate / load.ticks_a_message, now_ns)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to send."""
        if self._schedule:
            return self.sent >= self._messages
        return time.monotonic_ns() >= self._end_ns

    def wait_s(self) -> float:
        """Return the time until the next message is due."""
        if not self._schedule:
            return 0.0
        return max(0, self._schedule.next_ns() - time.monotonic_ns()) / SECOND_NS

    def take(self) -> range:
        """Return the numbers of the messages to send now; they count as sent."""
        if self._schedule:
            now_ns = time.monotonic_ns()
            self._schedule.skip_lateness(now_ns)
            count = min(self._schedule.take(now_ns), self._messages - self.sent)
        else:
            count = self._chunk
        first, self.sent = self.sent, self.sent + count
        return range(first, self.sent)


def due(pace: Pace) -> Iterator[range]:
    """Wait, and yield the messages that are due together, until there are no more."""
    with select.epoll() as epoll:  # as in lib/net/event_loop.py: select on an epoll object
        while not pace.over:
            wait_s = pace.wait_s()
            if wait_s:
                select.select([epoll], [], [], wait_s)
            yield pace.take()


def one_by_one(pace: Pace) -> Iterator[int]:
    """Wait, and yield the messages that are due, one by one, until there are no more."""
    return chain.from_iterable(due(pace))


# --- The work of the relay and the consumer --------------------------------------------------


class Ticks(NamedTuple):
    """A decoded message. One without ticks is the last; its `first` is one after the last tick."""

    first: int
    """The number of its first tick; ticks count from 1."""
    sent_ns: int
    symbols: Sequence[int]
    prices: Sequence[float]


class PriceBook:
    """The work of the relay: decodes the text, and keeps the latest price of every symbol."""

    def __init__(self, load: Load) -> None:
        self._index = {name.encode(): index for index, name in enumerate(RivalTape(load).names)}
        self.latest = [float("nan")] * load.symbols

    def read(self, message: bytes) -> Ticks:
        """Decode a message of `Feed`."""
        first, sent_ns, body = message.split(b",", 2)
        symbols, prices = self.read_body(body)
        return Ticks(int(first), int(sent_ns), symbols, prices)

    def read_body(self, body: bytes) -> tuple[list[int], list[float]]:
        """Decode the frames of a message, in the fastest way without NumPy."""
        if not body:
            return [], []
        texts = body.replace(b",", b"*").split(b"*")
        symbols = [self._index[text] for text in texts[::2]]
        prices = [float(text) for text in texts[1::2]]
        for symbol, price in zip(symbols, prices, strict=True):
            self.latest[symbol] = price
        return symbols, prices


def pack(ticks: Ticks) -> bytes:
    """Encode a message in binary, for transports of bytes between relay and consumer."""
    first, sent_ns, symbols, prices = ticks
    return _packing(len(symbols)).pack(first, sent_ns, *symbols, *prices)


def unpack(message: bytes) -> tuple[int, int, Sequence[int], Sequence[float]]:
    """Decode what `pack` wrote: the fields of `Ticks`."""
    count = (len(message) - _STAMP_BYTES) // _TICK_BYTES
    values = _packing(count).unpack(message)
    return values[0], values[1], values[2 : 2 + count], values[2 + count :]


@functools.cache
def _packing(count: int) -> struct.Struct:
    return struct.Struct(f"<qq{count}i{count}d")


class _SymbolWindows:
    """The latest prices of one symbol, initially zeros, so that the windows are always full."""

    __slots__ = ("long", "long_sum", "seen", "short", "short_sum")

    def __init__(self) -> None:
        self.short = deque([0.0] * SHORT_WINDOW, SHORT_WINDOW)
        self.long = deque([0.0] * LONG_WINDOW, LONG_WINDOW)
        self.short_sum = self.long_sum = 0.0
        self.seen = 0


class Averages:
    """Two moving averages a symbol in the textbook way: a deque and its running sum."""

    def __init__(self, symbols: int) -> None:
        self._windows = [_SymbolWindows() for _ in range(symbols)]

    def decide(self, symbols: Iterable[int], prices: Iterable[float]) -> int:
        """Process ticks one by one; return after how many the short average was above the long.

        A symbol with fewer ticks than the long window counts as not above.
        """
        above = 0
        for symbol, price in zip(symbols, prices, strict=True):
            windows = self._windows[symbol]
            windows.short_sum += price - windows.short[0]
            windows.short.append(price)
            windows.long_sum += price - windows.long[0]
            windows.long.append(price)
            windows.seen += 1
            if (
                windows.seen >= LONG_WINDOW
                and windows.short_sum / SHORT_WINDOW > windows.long_sum / LONG_WINDOW
            ):
                above += 1
        return above


class ConsumerResult(NamedTuple):
    """What a consumer returns at its end."""

    ticks: int
    latencies_ns: array[int]
    ended_ns: int
    above: int = 0


class Decisions:
    """The work of the consumer: decides each tick, and records when.

    `decide` is a function such as `Averages.decide`.
    """

    def __init__(self, decide: Callable[[Any, Any], int]) -> None:
        self._decide = decide
        self._next = 1
        self._ticks = 0
        self._above = 0
        self._latencies_ns = array("q")
        self._ended_ns = 0

    def take(self, first: int, sent_ns: int, symbols: Any, prices: Any) -> bool:
        """Decide the ticks of a message. Returns False for the last message.

        Raises RivalError for a tick that is repeated or out of order.
        """
        if first < self._next:
            raise RivalError(f"tick {first} came when {self._next} was the next")
        count = len(symbols)
        if not count:
            self._ended_ns = time.monotonic_ns()
            return False
        self._above += self._decide(symbols, prices)
        self._latencies_ns.append(time.monotonic_ns() - sent_ns)
        self._ticks += count
        self._next = first + count
        return True

    def decided(self) -> ConsumerResult:
        """Return the result, after the last message."""
        return ConsumerResult(self._ticks, self._latencies_ns, self._ended_ns, self._above)


# --- The processes ---------------------------------------------------------------------------


class _ListensAt(NamedTuple):
    """A process listens here, for the previous process."""

    address: Any


class _Ready(NamedTuple):
    """A process has all its connections."""


class _Done(NamedTuple):
    started_ns: int
    answer: Any


class _Failed(NamedTuple):
    reason: str


class ProcessContext:
    """What one process of a rival works with: the load, and the way to its neighbours."""

    def __init__(self, load: Load, link: Any, bench: Connection) -> None:
        self.load = load
        self.link = link
        """What all processes share, as passed to `run`: a queue, the name of a segment."""
        self.started_ns = 0
        self._bench = bench

    def listening(self, address: Any) -> None:
        """Send the previous process the address to connect to."""
        self._bench.send(_ListensAt(address))

    def next_address(self) -> Any:
        """Wait for the next process; return the address that it passed to `listening`."""
        return self._bench.recv()

    def accept(self) -> socket.socket:
        """Wait for the previous process to `connect`."""
        with closing(socket.create_server((HOST, 0))) as server:
            self.listening(server.getsockname())
            sock, _ = server.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self) -> socket.socket:
        """Connect to the next process, which calls `accept`."""
        sock = socket.create_connection(self.next_address())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def start(self) -> None:
        """Report that this process is ready, and wait until all are. Every process calls it."""
        self._bench.send(_Ready())
        self._bench.recv()
        self.started_ns = time.monotonic_ns()

    def stay(self) -> None:
        """Wait until the consumer has everything; for processes whose end would lose messages."""
        self._bench.recv()


Role = Callable[[ProcessContext], Any]
"""The function of one process. The producer returns how many ticks it has sent, the consumer a
`ConsumerResult`."""


class _Child:
    """A process of one role, with its own interpreter (start method spawn)."""

    def __init__(self, role: Role, load: Load, link: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = role.__name__.strip("_")
        self.bench, theirs = context.Pipe()
        self.process = context.Process(
            target=_process_main, args=(role, load, link, theirs, os.getpid()), daemon=True
        )
        with closing(theirs):
            self.process.start()

    def hear(self) -> Any:
        """Return its next message; its death counts as a failure."""
        try:
            message = self.bench.recv()
        except EOFError:
            return _Failed(f"the {self.name} has ended without a message")
        if isinstance(message, _Failed):
            return _Failed(f"the {self.name} failed: {message.reason}")
        return message

    def end(self) -> None:
        """Kill it if it still runs. It owns nothing that would outlive it."""
        self.process.kill()
        self.process.join(END_S)
        self.bench.close()
        self.process.close()


def run(load: Load, *roles: Role, link: Any = None) -> RivalResult:
    """Run the roles, from the producer to the consumer, each in its own process.

    Call it from the main thread: the processes die with the thread that started them. Raises
    RivalError if one of them fails, or does not end in time.
    """
    children: list[_Child] = []
    try:
        for role in roles:
            children.append(_Child(role, load, link))
        _exchange_addresses(children)
        for child in children:
            child.bench.send(None)
        done = _collect(children, time.monotonic() + load.seconds + END_S)
        for child in children:
            child.process.join(END_S)
            if child.process.exitcode != 0:
                raise RivalError(f"the {child.name} ended with {child.process.exitcode}")
    except BrokenPipeError:
        raise RivalError("a process has ended before the start") from None
    finally:
        for child in children:
            child.end()
    sent: int = done[0].answer
    decided: ConsumerResult = done[-1].answer
    return RivalResult(
        decided.ticks,
        sent - decided.ticks,
        (decided.ended_ns - done[0].started_ns) / SECOND_NS,
        np.array(decided.latencies_ns, np.int64),
        decided.above,
    )


def _exchange_addresses(children: list[_Child]) -> None:
    """Send each process the address of the next one, until all are ready."""
    deadline = time.monotonic() + START_S
    starting = list(children)
    while starting:
        child, message = _next_message(starting, deadline, "not ready in time")
        if isinstance(message, _ListensAt):
            children[children.index(child) - 1].bench.send(message.address)
        else:
            starting.remove(child)


def _collect(children: list[_Child], deadline: float) -> list[_Done]:
    done: dict[str, _Done] = {}
    running = list(children)
    while running:
        child, message = _next_message(running, deadline, "not finished in time")
        running.remove(child)
        done[child.name] = message
        if child is children[-1]:
            for other in running:
                with suppress(BrokenPipeError):  # it has ended meanwhile
                    other.bench.send(None)
    return [done[child.name] for child in children]


def _next_message(children: list[_Child], deadline: float, trouble: str) -> tuple[_Child, Any]:
    """Return the next message of any child. Raises RivalError if it is a failure."""
    ready = wait([child.bench for child in children], max(0.0, deadline - time.monotonic()))
    for child in children:
        if child.bench in ready:
            message = child.hear()
            if isinstance(message, _Failed):
                raise RivalError("; ".join([message.reason, *_further_failures(child, children)]))
            return child, message
    raise RivalError(f"the {' and the '.join(child.name for child in children)}: {trouble}")


def _further_failures(failed: _Child, children: list[_Child]) -> list[str]:
    """Return the failures of the other processes: the first one reported may not be the cause."""
    others = [child for child in children if child is not failed and child.bench.poll(SETTLE_S)]
    heard = [child.hear() for child in others]
    return [message.reason for message in heard if isinstance(message, _Failed)]


def _process_main(role: Role, load: Load, link: Any, bench: Connection, parent_pid: int) -> None:
    """The main function of each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the bench ends its processes itself
    if not end_with(parent_pid):
        return
    # Nothing here makes cycles, and a collection in the middle would count against the rival.
    gc.disable()
    part = ProcessContext(load, link, bench)
    # If the bench has closed its end, it is about to kill this process.
    with suppress(BrokenPipeError):
        try:
            answer = role(part)
        except Exception:
            bench.send(_Failed(traceback.format_exc().strip()))
        else:
            bench.send(_Done(part.started_ns, answer))


# --- By hand ---------------------------------------------------------------------------------


def main(name: str, measure: Callable[[Load], RivalResult]) -> None:
    """Measure the load of the command line, and print the result."""
    parser = argparse.ArgumentParser(description=name)
    parser.add_argument("--rate", type=float, default=2000.0, help="ticks a second; 0: unpaced")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--ticks-a-message", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=4)
    arguments = parser.parse_args()
    try:
        found = measure(
            Load(arguments.rate, arguments.seconds, arguments.ticks_a_message, arguments.symbols)
        )
    except (RivalUnavailable, RivalError) as error:
        parser.exit(1, f"{name}: {error}\n")
    p50, p99 = np.quantile(found.latencies_ns, (0.5, 0.99), method="inverted_cdf") / 1000
    print(
        f"{name}: {found.ticks:,} ticks, {found.missing:,} missing,"
        f" {found.ticks / found.seconds:,.0f} a second, p50 {p50:,.1f} us, p99 {p99:,.1f} us"
    )
