"""The frame of the programs that the stack is compared with: their processes, and their result.

A rival is a chain of processes, each with its own interpreter: a producer, mostly a relay, and a
consumer. Only the transport between them differs, and a rival's own module has nothing else: `NAME`
(shown in the report), `measure(load)`, and one function a process. `run` starts the processes,
collects the result, and leaves nothing running, whatever happens.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import multiprocessing
import os
import signal
import socket
import time
import traceback
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.rivals.load import Load
from lib.clock import SECOND_NS
from lib.process.run_identity import end_with

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


class RivalUnavailable(Exception):  # noqa: N818 - it is no error of a run, but a gap in it
    """A rival cannot run here. The text says what is missing, on one line."""


class RivalError(Exception):
    """A rival failed while it ran."""


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


class ProcessContext:
    """What one process of a rival works with."""

    def __init__(self, load: Load, link: Any, bench: Connection) -> None:
        self.load = load
        self.link = link
        """What all processes share, as passed to `run`: addresses, sockets, queues."""
        self.bench = bench

    def start(self) -> None:
        """Report that this process is ready, and wait until all are. Every process calls it."""
        self.bench.send(None)
        self.bench.recv()

    def stay(self) -> None:
        """Wait for the end of the run; for processes whose own end would lose messages."""
        self.bench.recv()


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


class _Failed(NamedTuple):
    reason: str


class _Child:
    """A process of one role, with its own interpreter (start method spawn)."""

    def __init__(self, role: Role, load: Load, link: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = role.__name__.strip("_")
        self.bench, theirs = context.Pipe()
        part = ProcessContext(load, link, theirs)
        self.process = context.Process(
            target=_process_main, args=(role, part, os.getpid()), daemon=True
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
    RivalError if one of them fails, or is not ready or the consumer not finished in time.
    """
    children: list[_Child] = []
    try:
        for role in roles:
            children.append(_Child(role, load, link))
        _hear(children, children, START_S, "not ready in time")
        started_ns = time.monotonic_ns()
        for child in children:
            child.bench.send(None)
        [result] = _hear(children, children[-1:], load.seconds + END_S, "not finished in time")
    except BrokenPipeError:
        raise RivalError("a process has ended before the start") from None
    finally:
        for child in children:
            child.end()
    return RivalResult(
        result.ticks,
        result.sent - result.ticks,
        (result.ended_ns - started_ns) / SECOND_NS,
        np.array(result.latencies_ns, np.int64),
        result.above,
    )


def _hear(children: list[_Child], awaited: list[_Child], limit_s: float, trouble: str) -> list[Any]:
    """Return a message of each awaited child. Raises RivalError if one of all children fails."""
    deadline_s = time.monotonic() + limit_s
    silent, heard = list(children), dict[_Child, Any]()
    while missing := [child for child in awaited if child not in heard]:
        ready = wait([child.bench for child in silent], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            raise RivalError(f"the {' and the '.join(c.name for c in missing)}: {trouble}")
        for child in [child for child in silent if child.bench in ready]:
            heard[child] = child.hear()
            silent.remove(child)
        if failures := [one.reason for one in heard.values() if isinstance(one, _Failed)]:
            # The first one reported may not be the cause.
            late = [child.hear() for child in silent if child.bench.poll(SETTLE_S)]
            failures += [one.reason for one in late if isinstance(one, _Failed)]
            raise RivalError("; ".join(failures))
    return [heard[child] for child in awaited]


def _process_main(role: Role, part: ProcessContext, parent_pid: int) -> None:
    """The main function of each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the bench ends its processes itself
    if not end_with(parent_pid):
        return
    # Nothing here makes cycles, and a collection in the middle would count against the rival.
    gc.disable()
    # If the bench has closed its end, it is about to kill this process.
    with suppress(BrokenPipeError):
        try:
            part.bench.send(role(part))
        except Exception:
            part.bench.send(_Failed(traceback.format_exc().strip()))


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
