"""The frame of the programs that the stack is compared with: their roles, and their result.

A rival is a chain of processes: a producer, a relay, and a consumer. Only the transport between
them differs, and a rival's own module has nothing else: `NAME` (shown in the report),
`measure(load)`, and one function a process. `run` collects the result.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.processes import Part, begin, hear, started
from bench.rivals.load import Load
from lib.clock import SECOND_NS

HOST: Final = "127.0.0.1"
MEMORY: Final = "tradewire-bench-"
"""The prefix of everything that a rival makes in /dev/shm; the pid of the bench follows it."""
END_S: Final = 30.0
"""How long after the load's own seconds everything must have arrived."""

ProcessContext = Part[Load]


class RivalUnavailable(BenchError):  # noqa: N818 - no error of a run, but a gap in it
    """A rival cannot run here. The text says what is missing, on one line."""


def require(module: str, package: str) -> None:
    """Raise RivalUnavailable unless `module` can be imported."""
    if importlib.util.find_spec(module) is None:
        raise RivalUnavailable(
            f"{package} is not installed (pip install -r requirements-bench.txt)"
        )


class ConsumerResult(NamedTuple):
    """What a consumer returns at its end."""

    sent: int
    """How many ticks the producer has sent."""
    ticks: int
    """How many of them were decided, in order, each once."""
    latencies_ns: array[int]
    """SENT_NS to decision: one for each message, whose ticks are sent and decided together."""
    ended_ns: int
    above: int = 0
    """After how many ticks the short average was above the long one: equal for equal ticks in every
    rival, which proves that it did the work."""


@dataclass(frozen=True, slots=True)
class RivalResult:
    """The result of one measurement of a rival: that of its consumer, seen from the start."""

    ticks: int
    missing: int
    """How many ticks were sent and did not arrive."""
    seconds: float
    """The time from the start of sending to the end of the last decision."""
    latencies_ns: NDArray[np.int64]
    above: int = 0


Role = Callable[[ProcessContext], ConsumerResult | None]
"""The function of one process. That of the consumer returns the result."""


@contextmanager
def tcp_connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make a TCP connection for a `link`: yield the end that sends, and the one that receives.

    Every process has both ends, so the sender has to shut it down.
    """
    with closing(socket.create_server((HOST, 0))) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with sender, receiver:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sender, receiver


def run(load: Load, *roles: Role, link: Any = None) -> RivalResult:
    """Run the roles, from the producer to the consumer, each in its own process.

    Raises BenchError if one of them fails, or is not ready or the consumer not finished in time.
    """
    with started([(role, load) for role in roles], link) as children:
        began_ns = begin(children)
        [result] = hear(children, children[-1:], load.seconds + END_S, "not finished in time")
    return RivalResult(
        result.ticks,
        result.sent - result.ticks,
        (result.ended_ns - began_ns) / SECOND_NS,
        np.array(result.latencies_ns, np.int64),
        result.above,
    )


def main(name: str, measure: Callable[[Load], RivalResult]) -> None:
    """Measure the load of the command line, and print the result."""
    parser = argparse.ArgumentParser(description=name)
    parser.add_argument("--rate", type=float, default=2000.0, help="ticks a second; 0: unpaced")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--ticks-a-message", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=4)
    try:
        found = measure(Load(**vars(parser.parse_args())))
    except BenchError as error:
        parser.exit(1, f"{name}: {error}\n")
    p50, p99 = np.quantile(found.latencies_ns, (0.5, 0.99), method="inverted_cdf") / 1000
    print(
        f"{name}: {found.ticks:,} ticks, {found.missing:,} missing,"
        f" {found.ticks / found.seconds:,.0f} a second, p50 {p50:,.1f} us, p99 {p99:,.1f} us"
    )
