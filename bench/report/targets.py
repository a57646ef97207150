"""The targets of the stack, and whether a recording reaches them.

A target is judged by the figures of one recording, so ratios to the floor and to the alternatives
are of one machine and one run. A target that was not measured is neither reached nor missed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.report.comparison import (
    FLOOR,
    UNPACED,
    ZEROMQ,
    Contender,
    best_batching,
    contenders,
    fastest_alternative,
    named,
    one_message_a_tick,
)
from bench.results import OrderFigures, Recording, SegmentSize, Throughput, TickToDecision, Usage
from lib.clock import MILLISECOND_NS
from lib.reports.units import MILLION, bare, megabytes, millions, percent, time_of, times, whole
from lib.settings import Settings

SYMBOLS: Final = 100
"""The number of symbols of the throughput target."""
LEAST_TICKS_PER_S: Final = 4e6
AIM_TICKS_PER_S: Final = 8e6
LEAST_TIMES_FASTER: Final = 10.0
LATENCY_RATE: Final = 2_000.0
MOST_TIMES_FLOOR: Final = 1.3
MOST_TIMES_ZEROMQ: Final = 0.5
BUSY_RATE: Final = 200_000.0
BUSY_P99_NS: Final = 2 * MILLISECOND_NS
CALLS_NS: Final = {"read": 1_000, "update": 3_000}
"""The limits of the calls of `SharedPriceBook`."""
MOST_CPU_SHARE: Final = 0.02
MOST_RESIDENT_BYTES: Final = 64 * MILLION
MOST_SEGMENT_BYTES: Final = 16 * MILLION
CLIENTS: Final = 4
LEAST_ORDERS_PER_S: Final = 50_000.0
LONELY_ANSWER_NS: Final = 1 * MILLISECOND_NS


class Judgement(StrEnum):
    """The judgement of a target, as the report shows it."""

    REACHED = "reached"
    MISSED = "**missed**"
    NOT_MEASURED = "not measured"
    AIM = "aim reached"
    BELOW_AIM = "below the aim"
    NO_TARGET = "no target"


class Bound(StrEnum):
    """On which side of its limit a figure has to be."""

    AT_LEAST = "at least"
    MORE_THAN = "more than"
    AT_MOST = "at most"
    UNDER = "under"

    def holds(self, figure: float, limit: float) -> bool:
        """Return whether the figure is on the right side."""
        return _HOLDS[self](figure, limit)


_HOLDS: Final[dict[Bound, Callable[[float, float], bool]]] = {
    Bound.AT_LEAST: operator.ge,
    Bound.MORE_THAN: operator.gt,
    Bound.AT_MOST: operator.le,
    Bound.UNDER: operator.lt,
}


@dataclass(frozen=True)
class Target:
    """One target and its measured figure: a row of the table."""

    what: str
    wanted: str
    measured: str
    ratio: float | None
    """The measured figure divided by the limit; None without a figure, or if the limit is 0."""
    judgement: Judgement


@dataclass(frozen=True)
class _Limit:
    """The limit of one figure."""

    what: str
    bound: Bound
    limit: float
    shown: Callable[[float], str]
    """Formats the figure, and the limit, with the unit."""
    reference: str = ""
    """What the limit is a multiple of, if anything."""

    def judge(self, figure: float | None, note: str = "") -> Target:
        """Judge a figure by the limit; `note` is shown after the figure."""
        wanted = f"{self.bound} {bare(self.shown(self.limit))}{self.reference}"
        if figure is None:
            return Target(self.what, wanted, "-", None, Judgement.NOT_MEASURED)
        held = self.bound.holds(figure, self.limit)
        return Target(
            self.what,
            wanted,
            f"{self.shown(figure)}{note}",
            figure / self.limit if self.limit else None,
            Judgement.REACHED if held else Judgement.MISSED,
        )


def targets(recording: Recording) -> list[Target]:
    """Judge all targets."""
    return [
        *_throughput(recording),
        *_latency(recording),
        *_busy(recording),
        *_calls(recording),
        *_footprint(recording),
        *_orders(recording),
    ]


def missed(recording: Recording) -> list[Target]:
    """Return the missed targets."""
    return [target for target in targets(recording) if target.judgement is Judgement.MISSED]


# What of a recording the targets are about; the summary speaks of the same figures.


def lossless(recording: Recording) -> Throughput | None:
    """Return the highest throughput without a loss where the target is for it."""
    found = (t for t in recording.throughput if (t.symbols, t.strategies) == (SYMBOLS, 1))
    return next(found, None)


def unpaced(recording: Recording) -> list[Contender]:
    """Return all unpaced programs; the stack only if it lost nothing."""
    return [c for c in contenders(recording, UNPACED) if not (c.is_stack and c.missing)]


def stack_ticks_per_s(recording: Recording) -> float | None:
    """Return the lossless throughput of the stack, for comparison with the alternatives.

    It is that of the rounds beside them; if it has none, or lost ticks in them, that of the search.
    """
    stack = next((one for one in unpaced(recording) if one.is_stack), None)
    if stack is not None:
        return stack.ticks_per_s.median
    searched = lossless(recording)
    return searched.ticks_per_s if searched and searched.ticks_per_s else None


def at_rate(recording: Recording, rate: float) -> TickToDecision | None:
    """Return the latencies at one rate, with one strategy and the symbols most rates are for."""
    alone = [one for one in recording.tick_to_decision if one.strategies == 1]
    counts = [one.symbols for one in alone]
    usual = max(counts, key=lambda symbols: (counts.count(symbols), -symbols), default=0)
    return next((one for one in alone if (one.symbols, one.rate) == (usual, rate)), None)


def default_segment(recording: Recording) -> SegmentSize | None:
    """Return the price book of the default settings."""
    settings = Settings()
    usual = len(settings.symbols), settings.price_book.ring_capacity
    found = (s for s in recording.segments if (s.symbols, s.ring_capacity) == usual)
    return next(found, None)


def busiest(usages: Sequence[Usage]) -> Usage | None:
    """Return the daemon with the highest CPU share."""
    return max(usages, key=lambda usage: usage.cpu_share, default=None)


def largest(usages: Sequence[Usage]) -> Usage | None:
    """Return the daemon with the most resident memory."""
    return max(usages, key=lambda usage: usage.resident_bytes, default=None)


def most_orders(recording: Recording, clients: int) -> OrderFigures | None:
    """Return the load with the highest rate of answered orders of so many clients."""
    found = (one for one in recording.orders if one.clients == clients)
    return max(found, key=lambda one: one.orders / one.seconds, default=None)


def lonely_order(recording: Recording) -> OrderFigures | None:
    """Return the load of one client that sends one order at a time."""
    found = (one for one in recording.orders if (one.clients, one.under_way) == (1, 1))
    return next(found, None)


def _throughput(recording: Recording) -> Iterator[Target]:
    found = lossless(recording)
    figure = found.ticks_per_s if found else None
    what = f"end to end, {SYMBOLS} symbols, one strategy, nothing lost"
    yield _Limit(what, Bound.AT_LEAST, LEAST_TICKS_PER_S, _million_ticks).judge(figure)
    aim = _Limit("the same, as an aim", Bound.AT_LEAST, AIM_TICKS_PER_S, _million_ticks)
    yield _as_aim(aim.judge(figure))

    stack = stack_ticks_per_s(recording)
    for others, what, bound, limit in (
        (
            one_message_a_tick(unpaced(recording)),
            "full speed, alternatives with one message a tick",
            Bound.AT_LEAST,
            LEAST_TIMES_FASTER,
        ),
        (
            best_batching(unpaced(recording)),
            "full speed, alternatives with their best batching",
            Bound.MORE_THAN,
            1.0,
        ),
    ):
        other = fastest_alternative(others)
        wanted = _Limit(what, bound, limit, times, " the fastest of them")
        if stack is None or other is None:
            yield wanted.judge(None)
            continue
        speed = other.ticks_per_s.median
        yield wanted.judge(
            stack / speed,
            f" {other.label} ({millions(stack)} to {millions(speed)} M ticks/s)",
        )


def _latency(recording: Recording) -> Iterator[Target]:
    found = list(one_message_a_tick(contenders(recording, LATENCY_RATE)))
    stack = next((one for one in found if one.is_stack), None)
    for name, limit, reference in (
        (FLOOR, MOST_TIMES_FLOOR, " the bare floor's"),
        (ZEROMQ, MOST_TIMES_ZEROMQ, " ZeroMQ's"),
    ):
        what = f"tick to decision at {whole(LATENCY_RATE)} ticks/s, p50"
        wanted = _Limit(what, Bound.AT_MOST, limit, times, reference)
        yield _ratio(wanted, stack, named(found, name), "p50_ns")
    beside = _Limit(
        f"tick to decision at {whole(LATENCY_RATE)} ticks/s, p99", Bound.AT_MOST, 1.0, times
    )
    judged = _ratio(beside, stack, named(found, FLOOR), "p99_ns")
    known = judged.judgement is not Judgement.NOT_MEASURED
    yield _shown(judged.what, "beside the bare floor's", judged.measured if known else None)


def _ratio(wanted: _Limit, one: Contender | None, other: Contender | None, figure: str) -> Target:
    ours = one.latency(figure) if one else None
    theirs = other.latency(figure) if other else None
    if ours is None or theirs is None:
        return wanted.judge(None)
    note = f" ({time_of(ours.median)} to {time_of(theirs.median)})"
    return wanted.judge(ours.median / theirs.median, note)


def _busy(recording: Recording) -> Iterator[Target]:
    found = at_rate(recording, BUSY_RATE)
    what = f"tick to decision at {whole(BUSY_RATE)} ticks/s"
    p99_ns = found.from_sent.p99_ns if found else None
    yield _Limit(f"{what}, p99", Bound.UNDER, BUSY_P99_NS, time_of).judge(p99_ns)
    yield _shown(
        f"{what}, p99 from when the tick was due",
        "beside that from its sending",
        time_of(found.from_intended.p99_ns) if found else None,
    )
    note = f" of {whole(found.ticks + found.missed)}" if found else ""
    lost = _Limit(f"{what}, ticks lost", Bound.AT_MOST, 0, whole)
    yield lost.judge(found.missed if found else None, note)


def _calls(recording: Recording) -> Iterator[Target]:
    for name, limit_ns in CALLS_NS.items():
        slowest = max(
            (call for call in recording.calls if call.name == name),
            key=lambda call: call.ns_per_call,
            default=None,
        )
        wanted = _Limit(f"`SharedPriceBook.{name}`, per call", Bound.UNDER, limit_ns, time_of)
        if slowest is None:
            yield wanted.judge(None)
        else:
            yield wanted.judge(slowest.ns_per_call, f" ({whole(slowest.symbols)} symbols)")


def _footprint(recording: Recording) -> Iterator[Target]:
    rate = whole(Settings().gateway.rate)
    cpu, memory = busiest(recording.at_rest), largest(recording.at_rest)
    what = f"each daemon at {rate} ticks/s, of a core"
    yield _Limit(what, Bound.UNDER, MOST_CPU_SHARE, percent).judge(
        cpu.cpu_share if cpu else None, f" ({cpu.role})" if cpu else ""
    )
    what = "each daemon after the ring has gone round, resident"
    yield _Limit(what, Bound.UNDER, MOST_RESIDENT_BYTES, _mb).judge(
        memory.resident_bytes if memory else None, f" ({memory.role})" if memory else ""
    )
    segment = default_segment(recording)
    what = "shared memory at default settings"
    yield _Limit(what, Bound.UNDER, MOST_SEGMENT_BYTES, _mb).judge(
        segment.measured_bytes if segment else None
    )


def _orders(recording: Recording) -> Iterator[Target]:
    many, lonely = most_orders(recording, CLIENTS), lonely_order(recording)
    what = f"durable orders from {CLIENTS} clients"
    yield _Limit(what, Bound.AT_LEAST, LEAST_ORDERS_PER_S, _orders_a_second).judge(
        many.orders / many.seconds if many else None
    )
    what = "answer to one lonely order, median"
    yield _Limit(what, Bound.AT_MOST, LONELY_ANSWER_NS, time_of).judge(
        lonely.answer.p50_ns if lonely else None
    )


def _shown(what: str, beside: str, measured: str | None) -> Target:
    """Return a figure that is only shown; None is one that was not measured."""
    judgement = Judgement.NOT_MEASURED if measured is None else Judgement.NO_TARGET
    return Target(what, beside, measured or "-", None, judgement)


def _as_aim(target: Target) -> Target:
    """Turn a target into an aim, which is not missed where it is not reached."""
    aims = {Judgement.REACHED: Judgement.AIM, Judgement.MISSED: Judgement.BELOW_AIM}
    judgement = aims.get(target.judgement, target.judgement)
    return Target(target.what, target.wanted, target.measured, target.ratio, judgement)


def _million_ticks(ticks_per_s: float) -> str:
    return f"{millions(ticks_per_s)} M ticks/s"


def _orders_a_second(orders_per_s: float) -> str:
    return f"{whole(orders_per_s)}/s"


def _mb(size_bytes: float) -> str:
    return f"{megabytes(size_bytes)} MB"
