"""Everything that the templates show of the bench, by the name that they use for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from bench.measure.observer import LAST_S, LOOK_S
from bench.measure.profile import SAMPLED_S, SAMPLES_PER_S
from bench.measure.side_by_side import BELOW_HELD
from bench.measure.throughput import (
    CATCH_UP_S,
    END_LAG_S,
    FIRST_SHARE,
    PUBLISHED_SHARE,
    RESOLUTION,
    RING_TICKS,
)
from bench.report import targets
from bench.report.comparison import (
    LATENCY_RATE,
    count_rounds,
    with_best_batching,
    with_one_message_a_tick,
)
from bench.report.recorded import RecordedBench
from bench.report.targets import Judgement
from bench.results import DaemonProfile, HotFunction, Recording, TickToDecision, Usage
from lib.price_book.segment import SegmentLayout
from lib.reports.machine import processor

HOPS: Final = 3
"""The number of processes that a tick passes through: producer, relay, consumer."""
SHOWN_FUNCTIONS: Final = 10
"""How many functions of each daemon are shown, at most; the rest is one row."""
LEAST_SAMPLES: Final = 5
"""A function that was found less often is part of the rest: its share would be noise."""
P99_SAMPLES: Final = 100
"""With fewer samples p99 is the maximum, and is not shown."""
P999_SAMPLES: Final = 1_000
"""With fewer samples p99.9 is the maximum, and is not shown."""


class SegmentFormula(NamedTuple):
    """The size of a segment in bytes: fixed + symbols x a_symbol + ticks of the ring x a_tick."""

    fixed: int
    a_symbol: int
    a_tick: int


def bench_figures(recorded: RecordedBench) -> dict[str, Any]:
    """Return the figures of all pages."""
    recording, watched = recorded.recording, recorded.watched
    usual = usual_latencies(recording)
    throughput_roles, throughput_usages = usage_tables(one.usage for one in recording.throughput)
    rates = [None, *(one.rate for one in usual)]  # None: at rest
    load_roles, usages = usage_tables([recording.at_rest, *(one.usage for one in usual)])
    kinds = [one.watched_by for one in watched.rounds]
    found = targets.targets(recording)
    return {
        "recording": recording,
        "machine": processor(recording.machine),
        "few_cores": (recording.machine.get("cores") or HOPS) < HOPS,
        # the answers, None if not measured
        "latency_rate": LATENCY_RATE,
        "latency": targets.at_rate(recording, LATENCY_RATE),
        "busy_rate": targets.BUSY_RATE,
        "busy": targets.at_rate(recording, targets.BUSY_RATE),
        "lossless": targets.lossless(recording),
        "ring_ticks": RING_TICKS,
        "clients": targets.CLIENTS,
        "most_orders": targets.most_orders(recording.orders, targets.CLIENTS),
        "lonely_order": targets.lonely_order(recording.orders),
        "beside_alternatives": targets.beside_alternatives(recording),
        "segment": targets.default_segment(recording),
        "largest": targets.largest(recording.at_rest),
        "targets": found,
        "reached": targets.judged(found, Judgement.REACHED),
        "missed": targets.judged(found, Judgement.MISSED),
        # the tables
        "usual": usual,
        "others": [one for one in recording.tick_to_decision if one not in usual],
        "throughput_roles": throughput_roles,
        "throughput": list(zip(recording.throughput, throughput_usages, strict=True)),
        "tape_speeds": targets.tape_speeds(recording),
        "stage_symbols": sorted({stage.symbols for stage in recording.stages}),
        "stages": stages(recording),
        "formula": segment_formula(recording),
        "loads": [load for load in zip(rates, usages, strict=True) if load[1]],
        "load_roles": load_roles,
        "single": with_one_message_a_tick(recording),
        "batched": with_best_batching(recording),
        "rounds": count_rounds(recording),
        "side_symbols": sorted({hop.symbols for hop in recording.hops}),
        "p99_samples": P99_SAMPLES,
        "p999_samples": P999_SAMPLES,
        # the profile, and the other recording
        "samples_per_s": SAMPLES_PER_S,
        "looks": SAMPLES_PER_S * SAMPLED_S,
        "least_samples": LEAST_SAMPLES,
        "hot_functions": hot_functions,
        "watched": watched,
        "watched_machine": processor(watched.machine),
        "watched_rounds": sorted(watched.rounds, key=lambda one: kinds.index(one.watched_by)),
        # how it was measured
        "look_s": LOOK_S,
        "last_s": LAST_S,
        "below_held": BELOW_HELD,
        "catch_up_s": CATCH_UP_S,
        "end_lag_s": END_LAG_S,
        "first_share": FIRST_SHARE,
        "published_share": PUBLISHED_SHARE,
        "resolution": RESOLUTION,
    }


def usual_latencies(recording: Recording) -> list[TickToDecision]:
    """Return those with one strategy and the symbols that most rates are for, by rate."""
    rates = sorted({one.rate for one in recording.tick_to_decision})
    found = (targets.at_rate(recording, rate) for rate in rates)
    return [one for one in found if one is not None]


def usage_tables(loads: Iterable[Sequence[Usage]]) -> tuple[list[str], list[dict[str, Usage]]]:
    """Return all daemons, in the order of their first occurrence, and their usage in each load."""
    tables = [{usage.role: usage for usage in usages} for usages in loads]
    return list(dict.fromkeys(role for usages in tables for role in usages)), tables


def stages(recording: Recording) -> dict[tuple[str, int], dict[int, float]]:
    """Return ns a tick of each stage and size of batch, by the number of symbols."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for one in recording.stages:
        found.setdefault((one.name, one.batch_ticks), {})[one.symbols] = one.ns_per_tick
    return found


def hot_functions(daemon: DaemonProfile) -> list[HotFunction]:
    """Return the functions of a daemon to be shown, the hottest first."""
    enough = (hot for hot in daemon.functions if round(hot.share * daemon.samples) >= LEAST_SAMPLES)
    return list(islice(enough, SHOWN_FUNCTIONS))


def segment_formula(recording: Recording) -> SegmentFormula | None:
    """Return the formula for the size of a segment, None if it no longer fits the recording."""

    def size(symbols: int, ring_capacity: int) -> int:
        return SegmentLayout(tuple(map(str, range(symbols))), ring_capacity).total_bytes

    if any(size(s.symbols, s.ring_capacity) != s.formula_bytes for s in recording.segments):
        return None
    a_symbol, a_tick = size(2, 1) - size(1, 1), size(1, 2) - size(1, 1)
    return SegmentFormula(size(1, 1) - a_symbol - a_tick, a_symbol, a_tick)
