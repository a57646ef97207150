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
    load = Load(2000, SECONDS)
    check_all_arrived(load, measured(measure, load))


def check_paced(measure: Measure, ticks_a_message: int = 1) -> None:
    """2,000 ticks a second arrive, all of them, on time, and the work is done."""
    load = Load(2000, SECONDS, ticks_a_message, symbols=3)
    outcome = measured(measure, load)
    check_all_arrived(load, outcome)
    assert outcome.above == decisions(load, outcome.ticks)


def check_unpaced(measure: Measure, ticks_a_message: int = 1) -> None:
    """As much as it takes arrives, all of it, and the work is done."""
    load = Load(0, SECONDS, ticks_a_message, symbols=3)
    outcome = measured(measure, load)
    assert outcome.ticks > 0
    assert outcome.missing == 0
    assert outcome.seconds >= SECONDS
    assert len(outcome.latencies_ns) * ticks_a_message == outcome.ticks
    assert outcome.latencies_ns.min() > 0
    assert outcome.above == decisions(load, outcome.ticks)


def check_all_arrived(load: Load, outcome: RivalResult) -> None:
    """What was to be sent has arrived, and was not sent before its time."""
    assert outcome.ticks == load.messages * load.ticks_a_message
    assert outcome.missing == 0
    assert outcome.seconds >= load.seconds
    assert len(outcome.latencies_ns) == load.messages
    assert outcome.latencies_ns.min() > 0


def measured(measure: Measure, load: Load) -> RivalResult:
    """Measure. What is left behind is a failure; a rival that cannot run here skips the test."""
    with nothing_left():
        try:
            return measure(load)
        except RivalUnavailable as reason:
            pytest.skip(str(reason))


def decisions(load: Load, ticks: int) -> int:
    """After how many of so many ticks the short average is above the long one."""
    tape = RivalTape(load)
    symbols = islice(cycle(tape.symbols), ticks)
    prices = islice(cycle(tape.prices), ticks)
    return Averages(load.symbols).decide(list(symbols), list(prices))


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
