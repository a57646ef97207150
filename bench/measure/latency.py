"""Tick to decision: how long each tick takes through a stack that runs at a given rate."""

from __future__ import annotations

import time
from typing import Final

from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import MeasuredStack, UsageMeter, measured_stack
from bench.measure.observer import LAST_S, Observation, observe
from bench.measure.symbols import settings_for
from bench.plan import LatencyRun
from bench.results import LatencyDistribution, TickToDecision, Usage
from lib.clock import SECOND_NS
from lib.settings import Settings

NEWS_INTERVAL_S: Final = 0.05
"""Ten times as often as by default: an order needs news, and there shall be many orders."""
WARM_UP_S: Final = 1.5
"""Between the start and the first tick that counts, at least: Python compiles nothing any more and
the first connections are made. With many symbols it is until their windows are full."""


def latency_settings(run: LatencyRun) -> Settings:
    """Return the settings of the stack that is measured."""
    settings = settings_for(run.symbols)
    gateway = replace(settings.gateway, rate=run.rate, news_interval=NEWS_INTERVAL_S)
    return replace(settings, gateway=gateway)


def warm_up_s(run: LatencyRun) -> float:
    """Return how long a stack runs before ticks count."""
    return max(WARM_UP_S, run.symbols * Settings().strategy.long_window / run.rate)


def measure_latency(run: LatencyRun) -> tuple[TickToDecision, list[str]]:
    """Run a stack and observe it; return what came of it, and its gaps. Raises BenchError."""
    with measured_stack(latency_settings(run), run.strategies) as stack:
        time.sleep(warm_up_s(run))
        return observe_latency(stack, run)


def observe_latency(stack: MeasuredStack, run: LatencyRun) -> tuple[TickToDecision, list[str]]:
    """Observe a stack that runs as `run` wants it. Raises BenchError."""
    meter = UsageMeter(stack)
    seen = observe(stack, run.seconds)
    return judge(run, seen, meter.read())


def judge(
    run: LatencyRun, seen: Observation, usage: tuple[Usage, ...]
) -> tuple[TickToDecision, list[str]]:
    """Make figures of what was seen. Raises BenchError if there is nothing of which to make any."""
    if not len(seen.sequences):
        raise BenchError("not a single tick was seen from its sending to its decision")
    intended_ns = seen.schedule.intended_ns(seen.sequences)
    gaps = []
    if seen.unanswered:
        gaps.append(
            f"{seen.unanswered:,} orders had no execution report {LAST_S:g} s after the end, "
            "and are in no figure"
        )
    if seen.shifted_ns:
        gaps.append(
            f"the gateway was late by {seen.shifted_ns / SECOND_NS:.1f} s and shifted its "
            "schedule: the ticks after that count as late against the schedule before"
        )
    found = TickToDecision(
        symbols=run.symbols,
        strategies=run.strategies,
        rate=run.rate,
        seconds=seen.seconds,
        ticks=len(seen.sequences),
        missed=seen.published - len(seen.sequences),
        from_sent=LatencyDistribution.of(seen.decided_ns - seen.sent_ns),
        from_intended=LatencyDistribution.of(seen.decided_ns - intended_ns),
        to_report=LatencyDistribution.of(seen.to_report_ns) if len(seen.to_report_ns) else None,
        usage=usage,
    )
    where = f"tick to decision at {run.rate:,.0f} ticks/s"
    return found, [f"{where}: {gap}" for gap in gaps]
