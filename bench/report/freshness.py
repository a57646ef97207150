"""Whether the recordings are of today's plan, programs and roles. Pure.

A figure of another plan, or of a stack with other roles, does not say how the stack of today does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from bench.measure.side_by_side import OWN_BATCHING, STACK, Rival, loads_of
from bench.plan import Plan
from bench.report.recorded import RecordedBench
from lib.reports.units import whole

ROLES: Final = "daemons at rest"
LATENCY: Final = "tick to decision"
THROUGHPUT: Final = "throughput"
STAGES: Final = "each stage alone"
SEGMENTS: Final = "shared memory"
ORDERS: Final = "orders"
ROUNDS: Final = "rounds side by side"
PROFILE: Final = "profile"
WATCHED: Final = "watched"

Contents = dict[str, set[str]]
"""What is measured, by kind; the kind of a gap is what the gap begins with (`bench.run.steps`)."""


def outdated(
    bench: RecordedBench, plan: Plan, rivals: Sequence[Rival], roles: Collection[str]
) -> list[str]:
    """Say how the recordings differ from the plan and from the roles, a line each difference.

    What is missing and has a gap with the reason is no difference.
    """
    wanted, found = planned(plan, rivals, roles), recorded(bench)
    gaps = (
        *bench.recording.gaps,
        *(f"{PROFILE}: {gap}" for gap in bench.profile.gaps),
        *(f"{WATCHED}: {gap}" for gap in bench.watched.gaps),
    )
    differences = []
    for kind in wanted | found:
        too_many = found.get(kind, set()) - wanted.get(kind, set())
        missing = wanted.get(kind, set()) - found.get(kind, set())
        if any(gap.startswith((f"{kind}:", f"{kind} at ", f"{kind} with ")) for gap in gaps):
            missing = set()
        differences += [f"{kind}: {what} is recorded, not planned" for what in sorted(too_many)]
        differences += [f"{kind}: {what} is planned, not recorded" for what in sorted(missing)]
    return differences


def planned(plan: Plan, rivals: Sequence[Rival], roles: Collection[str]) -> Contents:
    """Return what complete recordings of this plan contain."""
    side = plan.side_by_side
    stack_rates = (side.rate, 0.0) if side.unpaced_s else (side.rate,)
    return {
        ROLES: set(roles),
        LATENCY: {_latency(r.rate, r.symbols, r.strategies, r.seconds) for r in plan.latency},
        THROUGHPUT: {_scale(r.symbols, r.strategies) for r in plan.throughput},
        STAGES: {_symbols(symbols) for symbols in plan.stage_symbols},
        SEGMENTS: {_symbols(symbols) for symbols in plan.segment_symbols},
        ORDERS: {_orders(r.clients, r.under_way, r.clients * r.orders) for r in plan.orders},
        ROUNDS: {whole(side.rounds)},
        STACK: {_load(side.symbols, rate, OWN_BATCHING) for rate in stack_rates},
        PROFILE: {_load(load.symbols, load.rate, OWN_BATCHING) for load in plan.profile},
        WATCHED: {
            _watched(viewers.label, run.latency.rate, run.rounds)
            for run in plan.watched
            for viewers in run.viewers
        },
    } | {
        rival.name: {
            _load(load.symbols, load.rate, load.ticks_a_message) for load in loads_of(rival, side)
        }
        for rival in rivals
    }


def recorded(bench: RecordedBench) -> Contents:
    """Return what the recordings contain, in the words of `planned`."""
    recording, rounds = bench.recording, Counter(one.watched_by for one in bench.watched.rounds)
    contents: Contents = {
        ROLES: {usage.role for usage in recording.at_rest},
        LATENCY: {
            _latency(one.rate, one.symbols, one.strategies, one.seconds)
            for one in recording.tick_to_decision
        },
        THROUGHPUT: {_scale(one.symbols, one.strategies) for one in recording.throughput},
        STAGES: {_symbols(one.symbols) for one in recording.stages},
        SEGMENTS: {_symbols(one.symbols) for one in recording.segments},
        ORDERS: {_orders(one.clients, one.under_way, one.orders) for one in recording.orders},
        ROUNDS: {whole(len({hop.round for hop in recording.hops}))},
        PROFILE: {_load(one.symbols, one.rate, OWN_BATCHING) for one in bench.profile.loads},
        WATCHED: {_watched(label, bench.watched.rate, n) for label, n in rounds.items()},
    }
    for hop in recording.hops:
        load = _load(hop.symbols, hop.rate, hop.ticks_a_message)
        contents.setdefault(hop.name, set()).add(load)
    return contents


def _latency(rate: float, symbols: int, strategies: int, seconds: float) -> str:
    return f"{whole(rate)} ticks/s for {seconds:.0f} s with {_scale(symbols, strategies)}"


def _scale(symbols: int, strategies: int) -> str:
    return f"{_symbols(symbols)}, strategies: {strategies}"


def _symbols(symbols: int) -> str:
    return f"symbols: {whole(symbols)}"


def _orders(clients: int, under_way: int, orders: int) -> str:
    return f"{whole(orders)} of {clients} clients, {whole(under_way)} under way each"


def _load(symbols: int, rate: float, ticks_a_message: int) -> str:
    speed = f"{whole(rate)} ticks/s" if rate else "full speed"
    return f"{speed}, ticks a message: {whole(ticks_a_message)}, {_symbols(symbols)}"


def _watched(viewers: str, rate: float, rounds: int) -> str:
    return f"{viewers}, {whole(rate)} ticks/s, rounds: {rounds}"
