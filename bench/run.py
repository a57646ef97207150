"""One run of the bench: all measurements of a plan, step by step, into one recording.

A step that fails leaves a gap with the reason, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Generic, NamedTuple, TextIO, TypeVar

from bench.errors import BenchError
from bench.measure.footprint import measure_at_rest, measure_segments
from bench.measure.latency import NEWS_INTERVAL_S, WARM_UP_S, measure_latency, warm_up_s
from bench.measure.orders import NO_NEWS_S, measure_orders
from bench.measure.profile import PROFILE_S, measure_profile
from bench.measure.side_by_side import RIVALS, STACK, loads_of, measure_rival, measure_stack
from bench.measure.stages import measure_alone
from bench.measure.tapes import measure_tapes
from bench.measure.throughput import RING_TICKS, measure_throughput
from bench.plan import LatencyRun, Plan, SideBySide, ThroughputRun
from bench.results import ClusterRecording, Recording
from lib.clock import utc_stamp
from lib.reports.machine import machine_facts, software_facts
from lib.stack.long_program import time_left

# Expected durations on two cores, for the time left only.
STACK_S: Final = 3.5  # to start, warm up and end a private stack
FILL_S: Final = 5.0  # to fill the ring once and to restart the gateway
ORDERS_S: Final = 2.0  # for each load of orders
RIVAL_S: Final = 1.2  # beside each load of a rival
TAPE_S: Final = 3.0  # to prepare the tape of a round
FILES_S: Final = 8.0  # to write and to prepare files
ALONE: Final = 12  # stages and calls

PACKAGES: Final = ("pyzmq", "py-spy")
"""What `requirements-bench.txt` has for the measurements."""
SETTINGS: Final[dict[str, Any]] = {
    "gateway": {
        "news_interval": f"{NEWS_INTERVAL_S:g} for tick to decision, {NO_NEWS_S:g} for orders"
    },
    "price_book": {"ring_capacity": f"{RING_TICKS} for throughput, and beside the alternatives"},
}
"""The settings of the private stacks that are not the default, without rates and symbols."""

ROLES: Final = "daemons at rest"


_Recording = TypeVar("_Recording", Recording, ClusterRecording)


class Step(NamedTuple, Generic[_Recording]):
    """One step of a run: a measurement."""

    what: str
    expected_s: float
    run: Callable[[_Recording], None]
    """May raise BenchError or OSError, which become a gap."""
    subject: str = ""
    """The subject of a gap that several steps share; "" for `what`."""


def run(plan: Plan, progress_to: TextIO, command: str, quick: bool) -> Recording:
    """Measure everything in the plan; return the recording."""
    began_s = time.monotonic()
    software = software_facts() | versions(PACKAGES)
    found = Recording(utc_stamp(), quick, command, machine_facts(), software, SETTINGS, plan)
    perform(list(steps(plan)), found, progress_to)
    found.ended_utc = utc_stamp()
    found.seconds = round(time.monotonic() - began_s, 1)
    return found


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def perform(todo: Sequence[Step[_Recording]], found: _Recording, progress_to: TextIO) -> None:
    """Do all steps, one after the other.

    The time left is estimated from how long the finished steps took.
    """
    total, done, began_s = sum(step.expected_s for step in todo), 0.0, time.monotonic()
    for step in todo:
        pace = (time.monotonic() - began_s) / done if done else 1.0
        left = time_left((total - done) * pace)
        print(f"[{done / total:4.0%}] {left}: {step.what}", file=progress_to, flush=True)
        try:
            step.run(found)
        except (BenchError, OSError) as error:
            words = str(error).strip() or type(error).__name__
            reason = words.splitlines()[-1]  # of a traceback, the error
            gap = f"{step.subject or step.what}: {reason}"
            if gap not in found.gaps:
                found.gaps.append(gap)
        done += step.expected_s


def steps(plan: Plan) -> Iterator[Step[Recording]]:
    """Return all steps of a plan."""
    for one in plan.latency:
        what = f"tick to decision at {one.rate:,.0f} ticks/s with {_scale(one)}"
        expected_s = STACK_S + warm_up_s(one) - WARM_UP_S + one.seconds
        yield Step(what, expected_s, partial(measure_latency, one))
    for search in plan.throughput:
        # A trial also restarts the gateway; one that is not held ends early.
        expected_s = 2 * STACK_S + search.trials * (2.5 + 0.4 * search.seconds)
        what = f"throughput with {_scale(search)}"
        yield Step(what, expected_s, partial(measure_throughput, search))
    yield Step(ROLES, STACK_S + FILL_S + plan.rest_s, partial(measure_at_rest, plan.rest_s))
    for symbols in plan.stage_symbols:
        do = partial(measure_alone, symbols, plan.stage_s)
        yield Step(f"each stage alone with {symbols:,} symbols", 1 + ALONE * plan.stage_s, do)
    yield Step("shared memory", 1.0, partial(measure_segments, plan.segment_symbols))
    expected_s = STACK_S + ORDERS_S * len(plan.orders)
    yield Step("orders", expected_s, partial(measure_orders, plan.orders))
    for number in range(plan.side_by_side.rounds):
        programs = list(_side_by_side(plan.side_by_side, number))
        first = number % len(programs)  # each round begins with another program
        yield from programs[first:] + programs[:first]
    if tapes := plan.tapes:
        expected_s = FILES_S + tapes.rounds * (2 * (2 * STACK_S + tapes.seconds) + TAPE_S)
        yield Step("tapes from files", expected_s, partial(measure_tapes, tapes))
    for load in plan.profile:
        what = f"profile at {load.rate:,.0f} ticks/s" if load.rate else "profile at full speed"
        yield Step(what, STACK_S + PROFILE_S, partial(measure_profile, load))


def _side_by_side(side: SideBySide, number: int) -> Iterator[Step[Recording]]:
    which = f"side by side, round {number + 1} of {side.rounds}"
    expected_s = STACK_S + side.paced_s + (side.unpaced_s and STACK_S + side.unpaced_s)
    yield Step(f"{which}: {STACK}", expected_s, partial(measure_stack, side, number), STACK)
    for rival in RIVALS:
        expected_s = sum(RIVAL_S + load.seconds for load in loads_of(rival, side))
        do = partial(measure_rival, rival, side, number)
        yield Step(f"{which}: {rival.name}", expected_s, do, rival.name)


def _scale(one: LatencyRun | ThroughputRun) -> str:
    strategies = "one strategy" if one.strategies == 1 else f"{one.strategies} strategies"
    return f"{one.symbols:,} symbols and {strategies}"
