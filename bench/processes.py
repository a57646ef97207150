"""The processes of the bench: those of a rival, clients that send orders, the one of the stages.

Each has its own interpreter and returns a result. Those that begin together report that they are
ready, and wait until all are. Whatever happens, none of them is left.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, NamedTuple, TypeVar

from bench.errors import BenchError
from lib.process.run_identity import end_with

START_S: Final = 30.0
"""How long the processes may take to start and to connect."""
END_S: Final = 30.0
"""How long a process may take to end after SIGKILL."""
SETTLE_S: Final = 0.2
"""How long to wait after a failure for failures of the other processes."""

_Load = TypeVar("_Load")


class Part(Generic[_Load]):
    """What one process works with."""

    def __init__(self, load: _Load, link: Any, bench: Connection) -> None:
        self.load = load
        self.link = link
        """What all processes share: addresses, sockets, queues."""
        self._bench = bench

    def start(self) -> None:
        """Report that this process is ready, and wait until all are (`begin`)."""
        self._bench.send(None)
        self._bench.recv()

    def stay(self) -> None:
        """Wait for the end of the run; for processes whose own end would lose messages."""
        self._bench.recv()

    def send_result(self, result: Any) -> None:
        """Send the result, or a `_Failed`. If the bench has closed its end, it is about to kill."""
        with suppress(BrokenPipeError):
            self._bench.send(result)


class _Failed(NamedTuple):
    reason: str


class Child:
    """A process that runs `role` (start method spawn)."""

    def __init__(self, role: Callable[[Part[_Load]], Any], load: _Load, link: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = role.__name__.strip("_")
        self.bench, theirs = context.Pipe()
        part = Part(load, link, theirs)
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


@contextmanager
def started(
    roles: Sequence[tuple[Callable[[Part[_Load]], Any], _Load]], link: Any = None
) -> Iterator[list[Child]]:
    """Run each role with its load in a process until the end of the block.

    Call it from the main thread: the processes die with the thread that started them. Raises
    BenchError if one of them fails.
    """
    children: list[Child] = []
    try:
        for role, load in roles:
            children.append(Child(role, load, link))
        yield children
    except BrokenPipeError:
        raise BenchError("a process has ended before the start") from None
    finally:
        for child in children:
            child.end()


def begin(children: Sequence[Child]) -> int:
    """Let all begin once all are ready; return when that was. Raises BenchError."""
    hear(children, children, START_S, "not ready in time")
    began_ns = time.monotonic_ns()
    for child in children:
        child.bench.send(None)
    return began_ns


def hear(
    children: Sequence[Child], awaited: Sequence[Child], limit_s: float, trouble: str
) -> list[Any]:
    """Return a message of each awaited child. Raises BenchError if one of all children fails."""
    deadline_s = time.monotonic() + limit_s
    silent, heard = list(children), dict[Child, Any]()
    while missing := [child for child in awaited if child not in heard]:
        ready = wait([child.bench for child in silent], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            raise BenchError(f"the {' and the '.join(c.name for c in missing)}: {trouble}")
        for child in [child for child in silent if child.bench in ready]:
            heard[child] = child.hear()
            silent.remove(child)
        if failures := [one.reason for one in heard.values() if isinstance(one, _Failed)]:
            # The first one reported may not be the cause.
            late = [child.hear() for child in silent if child.bench.poll(SETTLE_S)]
            failures += [one.reason for one in late if isinstance(one, _Failed)]
            raise BenchError("; ".join(failures))
    return [heard[child] for child in awaited]


def _process_main(role: Callable[[Part[_Load]], Any], part: Part[_Load], parent_pid: int) -> None:
    """The main function of each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the bench ends its processes itself
    if not end_with(parent_pid):
        return
    # Nothing here makes cycles, and a collection in the middle would count against the measured.
    gc.disable()
    try:
        result = role(part)
    except BenchError as error:
        result = _Failed(str(error))
    except Exception:
        result = _Failed(traceback.format_exc().strip())
    part.send_result(result)
