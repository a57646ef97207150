"""The stack, the floor and the alternatives at the same loads, interleaved round by round.

What the machine does meanwhile befalls each of them: in every round each program has its turn with
each load. There are three: paced with one message a tick, for the latency; and as fast as it goes,
with one message a tick and with as many ticks in a message as are best for the program. The stack
is always the whole stack under supervisord, and makes its messages as large as it likes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.alternatives import multiprocessing_queue, nats_core, textbook, zeromq, zeromq_arrays
from bench.errors import BenchError
from bench.floor import three_processes, three_processes_in_c, two_processes, two_processes_in_c
from bench.measured_stack import measured_stack
from bench.observer import observe
from bench.plan import SideBySide
from bench.results import Hops, Latency
from bench.rival import Load, Outcome
from bench.symbols import settings_for
from bench.throughput import unpaced

STACK: Final = "stack"
AS_IT_LIKES: Final = 0
"""The ticks in a message of the stack."""
WARM_UP_S: Final = 1.0


class Rival(NamedTuple):
    """What the stack is measured beside."""

    name: str
    measure: Callable[[Load], Outcome]
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


class Turn(NamedTuple):
    """One program with all its loads, once."""

    name: str
    loads: int
    run: Callable[[], Iterable[Hops]]
    """Raises BenchError, RivalError and RivalUnavailable."""


def turns(plan: SideBySide, number: int) -> list[Turn]:
    """Return what is done in one round: the stack, and everything beside it."""
    return [
        Turn(STACK, 2, partial(stack_hops, plan, number)),
        *(
            Turn(rival.name, len(loads_of(rival, plan)), partial(rival_hops, rival, plan, number))
            for rival in RIVALS
        ),
    ]


def loads_of(rival: Rival, plan: SideBySide) -> list[Load]:
    """Return the loads that one of them gets, each for the plan's seconds."""
    loads = [Load(plan.rate, plan.seconds, 1, plan.symbols)]
    if rival.best_batch is not None:
        loads += [Load(0.0, plan.seconds, ticks, plan.symbols) for ticks in (1, rival.best_batch)]
    return loads


def rival_hops(rival: Rival, plan: SideBySide, number: int) -> Iterable[Hops]:
    """Measure it with each of its loads."""
    for load in loads_of(rival, plan):
        outcome = rival.measure(load)
        yield Hops(
            name=rival.name,
            round=number,
            rate=load.rate,
            ticks_a_message=load.ticks_a_message,
            symbols=load.symbols,
            ticks=outcome.ticks,
            missing=outcome.missing,
            seconds=outcome.seconds,
            latency=Latency.of(outcome.latencies_ns) if load.rate else None,
        )


def stack_hops(plan: SideBySide, number: int) -> Iterable[Hops]:
    """Measure a stack, paced first and then as fast as it goes. Raises BenchError."""
    settings = settings_for(plan.symbols)
    paced = replace(settings, gateway=replace(settings.gateway, rate=plan.rate))
    with measured_stack(paced) as stack:
        time.sleep(WARM_UP_S)
        seen = observe(stack, plan.seconds)
        if not len(seen.sequences) or seen.blind:
            raise BenchError("; ".join(seen.blind) or "no tick was seen up to its decision")
        yield Hops(
            name=STACK,
            round=number,
            rate=plan.rate,
            ticks_a_message=AS_IT_LIKES,
            symbols=plan.symbols,
            ticks=len(seen.sequences),
            missing=seen.published - len(seen.sequences),
            seconds=seen.seconds,
            latency=Latency.of(seen.decided_ns - seen.sent_ns),
        )
        stack.set_rate(0.0)
        time.sleep(WARM_UP_S)
        delivered = unpaced(stack, plan.seconds)
        yield Hops(
            name=STACK,
            round=number,
            rate=0.0,
            ticks_a_message=AS_IT_LIKES,
            symbols=plan.symbols,
            ticks=delivered.evaluated,
            missing=delivered.gaps,
            seconds=delivered.seconds,
            latency=None,
        )
