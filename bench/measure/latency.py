"""Tick to decision: the latency of each tick in a stack that runs at a given rate."""

from __future__ import annotations

import time
from typing import Final

from msgspec.structs import replace

from bench.measure.measured_stack import UsageMeter, measured_stack, settings_for
from bench.measure.observer import LAST_S, Observation, observe
from bench.plan import LatencyRun
from bench.results import LatencyDistribution, Recording, TickToDecision, Usage
from lib.clock import SECOND_NS
from lib.settings import Settings

NEWS_INTERVAL_S: Final = 0.05
"""More often than by default: orders need news, and the measurement needs many orders."""
WARM_UP_S: Final = 1.5
"""The shortest time between the start and the measurement, in which connections are made and Python
specialises its code. With many symbols it takes until their windows are full."""


def latency_settings(run: LatencyRun) -> Settings:
    """Return the settings of the measured stack."""
    settings = settings_for(run.symbols)
    gateway = replace(settings.gateway, rate=run.rate, news_interval=NEWS_INTERVAL_S)
    return replace(settings, gateway=gateway)


def warm_up_s(run: LatencyRun) -> float:
    """Return how long a stack runs before the measurement."""
    return max(WARM_UP_S, run.symbols * Settings().strategy.long_window / run.rate)


def measure_latency(run: LatencyRun, found: Recording) -> None:
    """Run a stack and observe it. Raises BenchError."""
    with measured_stack(latency_settings(run), run.strategies) as stack:
        time.sleep(warm_up_s(run))
        meter = UsageMeter(stack)
        seen = observe(stack, run.seconds)
        found.tick_to_decision.append(judge(run, seen, meter.read(), found.gaps))


def judge(
    run: LatencyRun, seen: Observation, usage: tuple[Usage, ...], gaps: list[str]
) -> TickToDecision:
    """Compute the figures of an observation; what is in none of them is added to `gaps`.

    Raises BenchError if it has no ticks.
    """
    where = f"tick to decision at {run.rate:,.0f} ticks/s"
    if seen.missed:
        gaps.append(f"{where}: {seen.missed:,} ticks were missed, and are in no latency")
    if seen.unanswered:
        gaps.append(
            f"{where}: {seen.unanswered:,} orders had no execution report {LAST_S:g} s after the "
            "end, and are in no figure"
        )
    if seen.shifted_ns:
        gaps.append(
            f"{where}: the gateway was late by {seen.shifted_ns / SECOND_NS:.1f} s and shifted its "
            "schedule: the ticks after that count as late against the schedule before"
        )
    return TickToDecision(
        symbols=run.symbols,
        strategies=run.strategies,
        rate=run.rate,
        seconds=seen.seconds,
        ticks=len(seen.sequences),
        missed=seen.missed,
        from_sent=seen.from_sent,
        from_intended=seen.from_intended,
        to_report=LatencyDistribution.of(seen.to_report_ns) if len(seen.to_report_ns) else None,
        usage=usage,
    )
