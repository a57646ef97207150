"""The stack, the floor and the alternatives at the same loads, interleaved round by round.

What the machine does meanwhile befalls each of them: in every round each program has its turn with
each load. There are three: paced with one message a tick, for the latency; and as fast as it goes,
with one message a tick and with as many ticks in a message as are best for the program. The stack
is always the whole stack under supervisord, and makes its messages as large as it likes.

As fast as it goes means without loss. The rivals have flow control from end to end for that. The
stack has none, because no reader may hold up the writer: it is paced just below the rate that was
found to hold with as many symbols and one strategy (`bench.measure.throughput`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import measured_stack
from bench.measure.observer import observe
from bench.measure.throughput import attempt, fast_settings
from bench.plan import SideBySide
from bench.results import LatencyDistribution, ProgramRound, Throughput
from bench.rivals.alternatives import (
    multiprocessing_queue,
    nats_core,
    textbook,
    zeromq,
    zeromq_arrays,
)
from bench.rivals.floor import (
    three_processes,
    three_processes_in_c,
    two_processes,
    two_processes_in_c,
)
from bench.rivals.rival import Load, RivalResult

STACK: Final = "stack"
OWN_BATCHING: Final = 0
"""The ticks in a message of the stack."""
WARM_UP_S: Final = 1.0
BELOW_HELD: Final = 0.95
"""Of the rate that was found to hold, at which the stack goes as fast as it can without loss."""


class Rival(NamedTuple):
    """What the stack is measured beside."""

    name: str
    measure: Callable[[Load], RivalResult]
    best_batch: int | None
    """None: it knows paced loads only."""


RIVALS: Final = (
    *(
        Rival(floor.NAME, floor.measure, None)
        for floor in (
            two_processes,
            three_processes,
            two_processes_in_c,
            three_processes_in_c,
        )
    ),
    *(
        Rival(alternative.NAME, alternative.measure, alternative.BEST_BATCH)
        for alternative in (zeromq, zeromq_arrays, multiprocessing_queue, nats_core, textbook)
    ),
)


def loads_of(rival: Rival, plan: SideBySide) -> list[Load]:
    """Return the loads that one of them gets in each round."""
    loads = [Load(plan.rate, plan.paced_s, 1, plan.symbols)]
    if rival.best_batch is not None and plan.unpaced_s:
        loads += [Load(0.0, plan.unpaced_s, ticks, plan.symbols) for ticks in (1, rival.best_batch)]
    return loads


def rival_hops(rival: Rival, plan: SideBySide, number: int) -> Iterable[ProgramRound]:
    """Measure it with each of its loads."""
    for load in loads_of(rival, plan):
        outcome = rival.measure(load)
        yield ProgramRound(
            name=rival.name,
            round=number,
            rate=load.rate,
            ticks_a_message=load.ticks_a_message,
            symbols=load.symbols,
            ticks=outcome.ticks,
            missing=outcome.missing,
            seconds=outcome.seconds,
            latency=LatencyDistribution.of(outcome.latencies_ns) if load.rate else None,
        )


def lossless_rate(found: Sequence[Throughput], symbols: int) -> float | None:
    """Return the rate for a stack that loses nothing; None if none was found to hold."""
    rates = [
        one.trials[-1].rate  # that which confirmed it
        for one in found
        if (one.symbols, one.strategies) == (symbols, 1) and one.ticks_per_s
    ]
    return BELOW_HELD * max(rates) if rates else None


def stack_hops(plan: SideBySide, number: int, lossless: float | None) -> Iterable[ProgramRound]:
    """Measure a stack, paced first and then as fast as it goes: at the rate `lossless`.

    Raises BenchError, also for a rate that is not known.
    """
    settings = fast_settings(plan.symbols)
    paced = replace(settings, gateway=replace(settings.gateway, rate=plan.rate))
    with measured_stack(paced) as stack:
        time.sleep(WARM_UP_S)
        seen = observe(stack, plan.paced_s)
        if not len(seen.sequences):
            raise BenchError("no tick was seen up to its decision")
        yield ProgramRound(
            name=STACK,
            round=number,
            rate=plan.rate,
            ticks_a_message=OWN_BATCHING,
            symbols=plan.symbols,
            ticks=len(seen.sequences),
            missing=seen.published - len(seen.sequences),
            seconds=seen.seconds,
            latency=LatencyDistribution.of(seen.decided_ns - seen.sent_ns),
        )
        if not plan.unpaced_s:
            return
        if lossless is None:
            raise BenchError("how fast it goes without loss is not known: no rate was held")
        blind: list[str] = []
        trial = attempt(stack, lossless, plan.unpaced_s, blind).trial
        if not trial.held:
            raise BenchError(f"round {number + 1} at {lossless:,.0f} ticks/s: {trial.why}")
        yield ProgramRound(
            name=STACK,
            round=number,
            rate=0.0,
            ticks_a_message=OWN_BATCHING,
            symbols=plan.symbols,
            ticks=trial.evaluated,
            missing=trial.published - trial.evaluated,
            seconds=trial.seconds,
            latency=None,
        )
