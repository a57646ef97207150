"""What must hold for every rival of the bench, whatever carries its ticks."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import pytest

from bench.rivals.load import Load, RivalTape
from bench.rivals.rival import MEMORY, RivalResult, RivalUnavailable
from bench.rivals.work import Averages

Measure = Callable[[Load], RivalResult]

SECONDS = 0.3
MARK = "TRADEWIRE_TEST_MARK"


def check_floor(measure: Measure) -> None:
    """2,000 ticks a second arrive, all of them, on time."""
    check(measure, Load(2000, SECONDS))


def check_paced(measure: Measure, ticks_a_message: int = 1) -> None:
    """2,000 ticks a second arrive, all of them, on time, and the work is done."""
    check(measure, Load(2000, SECONDS, ticks_a_message, symbols=3), decides=True)


def check_unpaced(measure: Measure, ticks_a_message: int = 1) -> None:
    """As much as it takes arrives, all of it, and the work is done."""
    check(measure, Load(0, SECONDS, ticks_a_message, symbols=3), decides=True)


def check(measure: Measure, load: Load, *, decides: bool = False) -> None:
    """What was sent has arrived, and was not sent before its time."""
    outcome = measured(measure, load)
    if load.rate:
        assert outcome.ticks == load.messages * load.ticks_a_message
    assert outcome.ticks > 0
    assert outcome.missing == 0
    assert outcome.seconds >= load.seconds
    assert len(outcome.latencies_ns) * load.ticks_a_message == outcome.ticks
    assert outcome.latencies_ns.min() > 0
    if decides:
        tape = RivalTape(load)
        symbols = islice(cycle(tape.symbols), outcome.ticks)
        prices = islice(cycle(tape.prices), outcome.ticks)
        # After how many ticks the short average is above the long one.
        assert outcome.above == Averages(load.symbols).decide(list(symbols), list(prices))


def measured(measure: Measure, load: Load) -> RivalResult:
    """Measure. What is left behind is a failure; a rival that cannot run here skips the test."""
    with nothing_left():
        try:
            return measure(load)
        except RivalUnavailable as reason:
            pytest.skip(str(reason))


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if a process that was started in the block outlives it, or something in memory."""
    mark = uuid.uuid4().hex
    with patch.dict("os.environ", {MARK: mark}):
        yield
    assert marked(mark) == []
    assert list(Path("/dev/shm").glob(f"{MEMORY}{os.getpid()}-*")) == []


def marked(mark: str) -> list[str]:
    """The command lines of all processes that were started under this mark, orphans too."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
            command = (directory / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        # A process that is just ending has lost its command line first.
        if command and f"{MARK}={mark}".encode() in environment.split(b"\0"):
            found.append(command.replace(b"\0", b" ").decode())
    # The tracker belongs to the test's own process, and lives as long.
    return [command for command in found if "resource_tracker" not in command]
