"""One run of the bench: all measurements of a plan, step by step, into one recording.

A step that fails leaves a gap with the reason, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from bench.errors import BenchError
from bench.measure.footprint import measure_at_rest, measure_segment
from bench.measure.latency import NEWS_INTERVAL_S, WARM_UP_S, measure_latency, warm_up_s
from bench.measure.orders import NO_NEWS_S, measure_orders
from bench.measure.side_by_side import (
    RIVALS,
    STACK,
    Rival,
    loads_of,
    lossless_rate,
    rival_hops,
    stack_hops,
)
from bench.measure.stages import measure_alone
from bench.measure.throughput import RING_TICKS, measure_throughput
from bench.plan import LatencyRun, OrdersRun, Plan, SideBySide, ThroughputRun
from bench.progress import BenchProgress
from bench.results import (
    CallCost,
    OrderFigures,
    ProgramRound,
    Recording,
    SegmentSize,
    StageCost,
    Throughput,
    TickToDecision,
    Usage,
)
from lib.clock import utc_stamp
from lib.reports.machine import machine_facts, software_facts

# Expected durations on two cores, for the time left only.
STACK_S: Final = 3.5
"""The time to start, warm up and end a private stack."""
FILL_S: Final = 5.0
"""The time to fill the ring once and to restart the gateway."""
ORDERS_S: Final = 2.0
"""The time of a load of orders."""
RIVAL_S: Final = 1.2
"""The overhead of a rival, for each load."""
ALONE: Final = 11
"""The number of stages and calls."""

RIVAL_PACKAGES: Final = ("pyzmq",)
SETTINGS: Final[dict[str, Any]] = {
    "gateway": {
        "news_interval": f"{NEWS_INTERVAL_S:g} for tick to decision, {NO_NEWS_S:g} for orders"
    },
    "price_book": {"ring_capacity": f"{RING_TICKS} for throughput, and beside the alternatives"},
}
"""The settings of the private stacks that are not the default, without rates and symbols."""


class PartialRecording(msgspec.Struct):
    """What was measured so far; the fields are those of a recording."""

    tick_to_decision: list[TickToDecision] = []
    throughput: list[Throughput] = []
    stages: list[StageCost] = []
    calls: list[CallCost] = []
    orders: list[OrderFigures] = []
    at_rest: list[Usage] = []
    segments: list[SegmentSize] = []
    hops: list[ProgramRound] = []
    gaps: list[str] = []


class Step(NamedTuple):
    """One step of a run: a measurement."""

    what: str
    expected_s: float
    run: Callable[[PartialRecording], None]
    """May raise BenchError, which becomes a gap."""
    subject: str = ""
    """The subject of a gap that several steps share; "" for `what`."""


def run(plan: Plan, progress_to: TextIO, command: str, quick: bool) -> Recording:
    """Measure everything in the plan; return the recording."""
    began_utc, began_s = utc_stamp(), time.monotonic()
    machine, software = machine_facts(), software_facts() | rival_versions()
    found = perform(list(steps(plan)), progress_to)
    return Recording(
        began_utc=began_utc,
        ended_utc=utc_stamp(),
        seconds=round(time.monotonic() - began_s, 1),
        quick=quick,
        command=command,
        machine=machine,
        software=software,
        settings=SETTINGS,
        **{name: tuple(getattr(found, name)) for name in found.__struct_fields__},
    )


def rival_versions() -> dict[str, str]:
    """Return the versions of the installed packages that the alternatives need."""
    versions = {}
    for package in RIVAL_PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def perform(todo: Sequence[Step], progress_to: TextIO) -> PartialRecording:
    """Do all steps, one after the other."""
    found = PartialRecording()
    progress = BenchProgress(progress_to, sum(step.expected_s for step in todo))
    with closing(progress):
        for step in todo:
            progress.begin(step.what)
            try:
                step.run(found)
            except BenchError as error:
                reason = str(error).strip().splitlines()[-1]  # of a traceback, the error
                gap = f"{step.subject or step.what}: {reason}"
                if gap not in found.gaps:
                    found.gaps.append(gap)
            progress.end(step.expected_s)
    return found


def steps(plan: Plan) -> Iterator[Step]:
    """Return all steps of a plan."""
    for one in plan.latency:
        what = f"tick to decision at {one.rate:,.0f} ticks/s with {_scale(one)}"
        expected_s = STACK_S + warm_up_s(one) - WARM_UP_S + one.seconds
        yield Step(what, expected_s, partial(_latency, one))
    for search in plan.throughput:
        # A trial also restarts the gateway; one that is not held ends early.
        expected_s = 2 * STACK_S + search.trials * (2.5 + 0.4 * search.seconds)
        yield Step(f"throughput with {_scale(search)}", expected_s, partial(_throughput, search))
    yield Step("daemons at rest", STACK_S + FILL_S + plan.rest_s, partial(_at_rest, plan.rest_s))
    for symbols in plan.stage_symbols:
        do = partial(_alone, symbols, plan.stage_s)
        yield Step(f"each stage alone with {symbols:,} symbols", 1 + ALONE * plan.stage_s, do)
    yield Step("shared memory", 1.0, partial(_segments, plan.segment_symbols))
    yield Step("orders", STACK_S + ORDERS_S * len(plan.orders), partial(_orders, plan.orders))
    for number in range(plan.side_by_side.rounds):
        programs = list(_side_by_side(plan.side_by_side, number))
        first = number % len(programs)  # each round begins with another program
        yield from programs[first:] + programs[:first]


def _side_by_side(side: SideBySide, number: int) -> Iterator[Step]:
    which = f"side by side, round {number + 1} of {side.rounds}"
    expected_s = STACK_S + side.paced_s + (side.unpaced_s and STACK_S + side.unpaced_s)
    yield Step(f"{which}: {STACK}", expected_s, partial(_stack_hops, side, number), STACK)
    for rival in RIVALS:
        expected_s = sum(RIVAL_S + load.seconds for load in loads_of(rival, side))
        do = partial(_rival_hops, rival, side, number)
        yield Step(f"{which}: {rival.name}", expected_s, do, rival.name)


def _scale(one: LatencyRun | ThroughputRun) -> str:
    strategies = "one strategy" if one.strategies == 1 else f"{one.strategies} strategies"
    return f"{one.symbols:,} symbols and {strategies}"


def _latency(one: LatencyRun, found: PartialRecording) -> None:
    figures, gaps = measure_latency(one)
    found.tick_to_decision.append(figures)
    found.gaps += gaps


def _throughput(one: ThroughputRun, found: PartialRecording) -> None:
    figures, gaps = measure_throughput(one)
    found.throughput.append(figures)
    found.gaps += gaps


def _at_rest(seconds: float, found: PartialRecording) -> None:
    found.at_rest += measure_at_rest(seconds)


def _alone(symbols: int, seconds: float, found: PartialRecording) -> None:
    stages, calls = measure_alone(symbols, seconds)
    found.stages += stages
    found.calls += calls


def _segments(symbols: Sequence[int], found: PartialRecording) -> None:
    found.segments += map(measure_segment, symbols)


def _orders(runs: Sequence[OrdersRun], found: PartialRecording) -> None:
    found.orders += measure_orders(runs)


def _stack_hops(side: SideBySide, number: int, found: PartialRecording) -> None:
    lossless = lossless_rate(found.throughput, side.symbols)
    for hops in stack_hops(side, number, lossless):  # the paced ones count if the others fail
        found.hops.append(hops)


def _rival_hops(rival: Rival, side: SideBySide, number: int, found: PartialRecording) -> None:
    for hops in rival_hops(rival, side, number):
        found.hops.append(hops)
