"""The targets of the stack, and by which factor a recording reaches them.

A target is judged by the figures of one recording, so ratios to the floor and to the alternatives
are of one machine and one run. A target that was not measured is neither reached nor missed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bench.report.comparison import (
    FLOOR,
    STACK,
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
from lib.reports.units import (
    MILLION,
    bare,
    megabytes,
    millions,
    percent,
    time_of,
    times,
    whole,
)
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

    REACHED = "yes"
    MISSED = "**no**"
    NOT_MEASURED = "not measured"


class Bound(StrEnum):
    """On which side of its limit a figure has to be."""

    AT_LEAST = "at least"
    MORE_THAN = "more than"
    AT_MOST = "at most"
    UNDER = "under"

    def holds(self, figure: float, limit: float) -> bool:
        """Return whether the figure is on the right side."""
        return _HOLDS[self](figure, limit)

    @property
    def is_lower(self) -> bool:
        """Whether more is better."""
        return self in (Bound.AT_LEAST, Bound.MORE_THAN)


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
    bound: Bound
    limit: float
    shown: Callable[[float], str]
    """Formats the figure, and the limit, with the unit."""
    figure: float | None
    """None: not measured."""
    reference: str = ""
    """What the limit is a multiple of, if anything."""
    note: str = ""
    """Is shown after the figure."""
    is_aim: bool = False
    """Whether it is nothing that must be reached."""

    @property
    def wanted(self) -> str:
        """The limit as text."""
        return f"{self.bound} {bare(self.shown(self.limit))}{self.reference}"

    @property
    def measured(self) -> str:
        """The figure as text."""
        return "-" if self.figure is None else f"{self.shown(self.figure)}{self.note}"

    @property
    def judgement(self) -> Judgement:
        """Whether it is reached."""
        if self.figure is None:
            return Judgement.NOT_MEASURED
        held = self.bound.holds(self.figure, self.limit)
        return Judgement.REACHED if held else Judgement.MISSED

    @property
    def headroom(self) -> float | None:
        """The factor by which it is reached, below 1 where it is missed, whatever its direction.

        None if it was not measured, or if figure and limit are both 0.
        """
        if self.figure is None:
            return None
        better, worse = self.figure, self.limit
        if not self.bound.is_lower:
            better, worse = worse, better
        return better / worse if worse else None


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


def judged(recording: Recording, judgement: Judgement) -> list[Target]:
    """Return the targets with this judgement, without the aims."""
    return [t for t in targets(recording) if t.judgement is judgement and not t.is_aim]


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


def _both_medians(recording: Recording, other: str) -> tuple[float, float] | None:
    found = list(one_message_a_tick(contenders(recording, LATENCY_RATE)))
    ours, theirs = (
        one.latency("p50_ns") if one else None for one in (named(found, STACK), named(found, other))
    )
    return (ours.median, theirs.median) if ours and theirs else None


def _throughput(recording: Recording) -> Iterator[Target]:
    found = lossless(recording)
    least = Target(
        f"end to end, {SYMBOLS} symbols, one strategy, nothing lost",
        Bound.AT_LEAST,
        LEAST_TICKS_PER_S,
        _million_ticks,
        found.ticks_per_s if found else None,
    )
    yield least
    yield replace(least, what="the same, as an aim", limit=AIM_TICKS_PER_S, is_aim=True)

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
        wanted = Target(what, bound, limit, times, None, " the fastest of them")
        if stack is None or other is None:
            yield wanted
            continue
        speed = other.ticks_per_s.median
        note = f" {other.label} ({millions(stack)} to {millions(speed)} M ticks/s)"
        yield replace(wanted, figure=stack / speed, note=note)


def _latency(recording: Recording) -> Iterator[Target]:
    for name, limit, reference in (
        (FLOOR, MOST_TIMES_FLOOR, " the bare floor's"),
        (ZEROMQ, MOST_TIMES_ZEROMQ, " ZeroMQ's"),
    ):
        what = f"tick to decision at {whole(LATENCY_RATE)} ticks/s, p50"
        both = _both_medians(recording, name)
        note = f" ({time_of(both[0])} to {time_of(both[1])})" if both else ""
        figure = both[0] / both[1] if both else None
        yield Target(what, Bound.AT_MOST, limit, times, figure, reference, note)


def _busy(recording: Recording) -> Iterator[Target]:
    found = at_rate(recording, BUSY_RATE)
    what = f"tick to decision at {whole(BUSY_RATE)} ticks/s"
    p99_ns = found.from_sent.p99_ns if found else None
    yield Target(f"{what}, p99", Bound.UNDER, BUSY_P99_NS, time_of, p99_ns)
    yield Target(
        f"{what}, ticks lost",
        Bound.AT_MOST,
        0,
        whole,
        found.missed if found else None,
        note=f" of {whole(found.ticks + found.missed)}" if found else "",
    )


def _calls(recording: Recording) -> Iterator[Target]:
    for name, limit_ns in CALLS_NS.items():
        slowest = max(
            (call for call in recording.calls if call.name == name),
            key=lambda call: call.ns_per_call,
            default=None,
        )
        yield Target(
            f"`SharedPriceBook.{name}`, per call",
            Bound.UNDER,
            limit_ns,
            time_of,
            slowest.ns_per_call if slowest else None,
            note=f" ({whole(slowest.symbols)} symbols)" if slowest else "",
        )


def _footprint(recording: Recording) -> Iterator[Target]:
    rate = whole(Settings().gateway.rate)
    cpu, memory = busiest(recording.at_rest), largest(recording.at_rest)
    yield Target(
        f"each daemon at {rate} ticks/s, of a core",
        Bound.UNDER,
        MOST_CPU_SHARE,
        percent,
        cpu.cpu_share if cpu else None,
        note=f" ({cpu.role})" if cpu else "",
    )
    yield Target(
        "each daemon after the ring has gone round, resident",
        Bound.UNDER,
        MOST_RESIDENT_BYTES,
        _mb,
        memory.resident_bytes if memory else None,
        note=f" ({memory.role})" if memory else "",
    )
    segment = default_segment(recording)
    yield Target(
        "shared memory at default settings",
        Bound.UNDER,
        MOST_SEGMENT_BYTES,
        _mb,
        segment.measured_bytes if segment else None,
    )


def _orders(recording: Recording) -> Iterator[Target]:
    many, lonely = most_orders(recording, CLIENTS), lonely_order(recording)
    yield Target(
        f"durable orders from {CLIENTS} clients",
        Bound.AT_LEAST,
        LEAST_ORDERS_PER_S,
        _orders_a_second,
        many.orders / many.seconds if many else None,
    )
    yield Target(
        "answer to one lonely order, median",
        Bound.AT_MOST,
        LONELY_ANSWER_NS,
        time_of,
        lonely.answer.p50_ns if lonely else None,
    )


def _million_ticks(ticks_per_s: float) -> str:
    return f"{millions(ticks_per_s)} M ticks/s"


def _orders_a_second(orders_per_s: float) -> str:
    return f"{whole(orders_per_s)}/s"


def _mb(size_bytes: float) -> str:
    return f"{megabytes(size_bytes)} MB"
