"""One run of the bench: everything in a plan, step by step, into one recording.

A step that cannot be done leaves a gap, which says why, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from bench.errors import BenchError
from bench.footprint import measure_at_rest, measure_segment
from bench.latency import NEWS_INTERVAL_S, measure_latency
from bench.orders import NO_NEWS_S, measure_orders
from bench.plan import LatencyRun, OrdersRun, Plan, ThroughputRun
from bench.progress import Progress
from bench.results import (
    Call,
    Hops,
    Orders,
    Recording,
    Segment,
    Stage,
    Throughput,
    TickToDecision,
    Usage,
)
from bench.rival import RivalError, RivalUnavailable
from bench.side_by_side import STACK, Turn, turns
from bench.stages import measure_alone
from bench.throughput import measure_throughput
from lib.clock import utc_stamp
from lib.machine import machine_facts, software_facts

STACK_S: Final = 5.0
"""What a private stack takes to start, to warm up and to end. This and the following make the
progress bar: nothing depends on them."""
TRIAL_S: Final = 3.0
"""What a trial takes on top of its seconds; and all of one that does not hold."""
RIVAL_S: Final = 1.3
"""What a rival takes on top of its seconds, for each load."""
ALONE: Final = 8
"""Stages and calls."""
ORDERS_A_SECOND: Final = 30_000


SETTINGS: Final[dict[str, Any]] = {
    "gateway": {
        "news_interval": f"{NEWS_INTERVAL_S:g} for tick to decision, {NO_NEWS_S:g} for orders"
    }
}
"""Where the settings of private stacks are not the default; rates and symbols stand elsewhere."""


class Found(msgspec.Struct):
    """What has been found so far; the fields are those of a recording."""

    tick_to_decision: list[TickToDecision] = []
    throughput: list[Throughput] = []
    stages: list[Stage] = []
    calls: list[Call] = []
    orders: list[Orders] = []
    at_rest: list[Usage] = []
    segments: list[Segment] = []
    hops: list[Hops] = []
    gaps: list[str] = []


class Step(NamedTuple):
    """Something that is measured."""

    what: str
    expected_s: float
    run: Callable[[Found, Progress], None]
    """May raise BenchError, RivalError or RivalUnavailable: then there is a gap."""
    subject: str = ""
    """What a gap is about, where several steps are about the same; "" for `what`."""


def run(
    plan: Plan, progress_of: Callable[[float], Progress], command: str, quick: bool
) -> Recording:
    """Measure everything in the plan; return it. Raises what is no failure of a measurement."""
    began_utc, began_s = utc_stamp(), time.monotonic()
    machine, software = machine_facts(), software_facts()
    found = perform(list(steps(plan)), progress_of)
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


def perform(todo: Sequence[Step], progress_of: Callable[[float], Progress]) -> Found:
    """Do all steps, one after the other."""
    found = Found()
    progress = progress_of(sum(step.expected_s for step in todo))
    try:
        for step in todo:
            progress.begin(step.what)
            try:
                step.run(found, progress)
            except (BenchError, RivalError, RivalUnavailable) as error:
                reason = str(error).strip().splitlines()[-1]  # of a traceback, what it was
                gap = f"{step.subject or step.what}: {reason}"
                if gap not in found.gaps:
                    found.gaps.append(gap)
                    progress.line(f"not measured: {gap}")
            progress.end(step.expected_s)
    finally:
        progress.close()
    return found


def steps(plan: Plan) -> Iterator[Step]:
    """Return all steps of a plan."""
    for one in plan.latency:
        what = f"tick to decision at {one.rate:,.0f} ticks/s with {_scale(one)}"
        yield Step(what, STACK_S + one.seconds, partial(_latency, one))
    for search in plan.throughput:
        expected_s = STACK_S + search.trials * (TRIAL_S + search.seconds / 2)
        yield Step(f"throughput with {_scale(search)}", expected_s, partial(_throughput, search))
    yield Step("daemons at rest", 2 * STACK_S + plan.rest_s, partial(_at_rest, plan.rest_s))
    for symbols in plan.stage_symbols:
        expected_s = 1 + ALONE * plan.stage_s
        do = partial(_alone, symbols, plan.stage_s)
        yield Step(f"each stage alone with {symbols:,} symbols", expected_s, do)
    yield Step("shared memory", 1.0, partial(_segments, plan.segment_symbols))
    orders_s = sum(1 + one.clients * (0.2 + one.orders / ORDERS_A_SECOND) for one in plan.orders)
    yield Step("orders", STACK_S + orders_s, partial(_orders, plan.orders))
    side = plan.side_by_side
    for number in range(side.rounds):
        for turn in turns(side, number):
            what = f"side by side, round {number + 1} of {side.rounds}: {turn.name}"
            expected_s = turn.loads * (side.seconds + RIVAL_S)
            if turn.name == STACK:
                expected_s += STACK_S
            yield Step(what, expected_s, partial(_hops, turn), turn.name)


def _scale(one: LatencyRun | ThroughputRun) -> str:
    strategies = "one strategy" if one.strategies == 1 else f"{one.strategies} strategies"
    return f"{one.symbols:,} symbols and {strategies}"


def _latency(one: LatencyRun, found: Found, _: Progress) -> None:
    figures, gaps = measure_latency(one)
    found.tick_to_decision.append(figures)
    found.gaps += gaps


def _throughput(one: ThroughputRun, found: Found, progress: Progress) -> None:
    figures, gaps = measure_throughput(one, progress.say)
    found.throughput.append(figures)
    found.gaps += gaps


def _at_rest(seconds: float, found: Found, _: Progress) -> None:
    found.at_rest += measure_at_rest(seconds)


def _alone(symbols: int, seconds: float, found: Found, _: Progress) -> None:
    stages, calls = measure_alone(symbols, seconds)
    found.stages += stages
    found.calls += calls


def _segments(symbols: Sequence[int], found: Found, _: Progress) -> None:
    found.segments += map(measure_segment, symbols)


def _orders(runs: Sequence[OrdersRun], found: Found, progress: Progress) -> None:
    found.orders += measure_orders(runs, progress.say)


def _hops(turn: Turn, found: Found, _: Progress) -> None:
    for hops in turn.run():
        found.hops.append(hops)
