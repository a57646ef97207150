"""The stack, the floor and the alternatives at the same loads, interleaved round by round.

Disturbances of the machine hit all of them alike: in every round each program runs each load. There
are three loads: paced with one message a tick, for the latency; and unpaced, with one message a
tick and with the best number of ticks a message for the program. The stack is always the complete
stack under supervisord, and batches by itself.

Unpaced means as fast as possible without loss. The rivals have end-to-end flow control for that.
The stack has none, because no reader may block the writer: it is paced just below the rate that it
held with the same number of symbols and one strategy (`bench.measure.throughput`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import measured_stack
from bench.measure.observer import observe
from bench.measure.throughput import attempt, fast_settings
from bench.plan import SideBySide
from bench.results import LatencyDistribution, ProgramRound, Recording, Throughput
from bench.rivals.alternatives import multiprocessing_queue, textbook, zeromq
from bench.rivals.floor import hops, three_processes
from bench.rivals.load import Load
from bench.rivals.rival import RivalResult

STACK: Final = "stack"
OWN_BATCHING: Final = 0
"""`ticks_a_message` of the stack, which batches by itself."""
WARM_UP_S: Final = 0.5
"""How long each program runs before its latencies count: connections grow, caches fill, Python
specialises its code."""
BELOW_HELD: Final = 0.95
"""The rate of the stack's unpaced rounds, as a share of the held rate."""


class Rival(NamedTuple):
    """A program that the stack is compared with."""

    name: str
    measure: Callable[[Load], RivalResult]
    best_batch: int | None
    """Its best number of ticks a message; None if it supports only paced loads."""


RIVALS: Final = (
    *(Rival(floor.NAME, floor.measure, None) for floor in (three_processes, hops)),
    *(
        Rival(alternative.NAME, alternative.measure, alternative.BEST_BATCH)
        for alternative in (zeromq, multiprocessing_queue, textbook)
    ),
)


def loads_of(rival: Rival, plan: SideBySide) -> list[Load]:
    """Return the loads of a rival in each round."""
    loads = [Load(plan.rate, WARM_UP_S + plan.paced_s, 1, plan.symbols)]
    if rival.best_batch is not None and plan.unpaced_s:
        loads += [Load(0.0, plan.unpaced_s, ticks, plan.symbols) for ticks in (1, rival.best_batch)]
    return loads


def measure_rival(rival: Rival, plan: SideBySide, number: int, found: Recording) -> None:
    """Measure a rival with each of its loads. Raises BenchError."""
    for load in loads_of(rival, plan):
        outcome = rival.measure(load)
        latencies_ns = outcome.latencies_ns[round(WARM_UP_S * load.rate) :]
        found.hops.append(
            ProgramRound(
                name=rival.name,
                round=number,
                rate=load.rate,
                ticks_a_message=load.ticks_a_message,
                symbols=load.symbols,
                ticks=outcome.ticks,
                missing=outcome.missing,
                seconds=outcome.seconds,
                latency=LatencyDistribution.of(latencies_ns) if load.rate else None,
            )
        )


def lossless_rate(found: Sequence[Throughput], symbols: int) -> float | None:
    """Return the rate of the stack's unpaced rounds; None if no rate was held."""
    rates = [
        one.trials[-1].rate  # the confirming trial
        for one in found
        if (one.symbols, one.strategies) == (symbols, 1) and one.ticks_per_s
    ]
    return BELOW_HELD * max(rates) if rates else None


def measure_stack(plan: SideBySide, number: int, found: Recording) -> None:
    """Measure a stack, first paced, then as fast as it goes without loss. Raises BenchError."""

    def add(
        rate: float, ticks: int, missing: int, seconds: float, latency: LatencyDistribution | None
    ) -> None:
        its = (STACK, number, rate, OWN_BATCHING, plan.symbols, ticks, missing, seconds, latency)
        found.hops.append(ProgramRound(*its))

    settings = fast_settings(plan.symbols)
    paced = replace(settings, gateway=replace(settings.gateway, rate=plan.rate))
    with measured_stack(paced) as stack:
        time.sleep(WARM_UP_S)
        seen = observe(stack, plan.paced_s)
        ticks = len(seen.sequences)
        add(plan.rate, ticks, seen.missed, seen.seconds, seen.from_sent)
        if not plan.unpaced_s:
            return
        lossless = lossless_rate(found.throughput, plan.symbols)
        if lossless is None:
            raise BenchError("how fast it goes without loss is not known: no rate was held")
        trial = attempt(stack, lossless, plan.unpaced_s).trial
        if not trial.held:
            raise BenchError(f"round {number + 1} at {lossless:,.0f} ticks/s: {trial.why}")
        missing = trial.published - trial.evaluated
        add(0.0, trial.evaluated, missing, trial.seconds, None)
