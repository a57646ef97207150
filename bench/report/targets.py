"""The targets of the stack, and by which factor a recording reaches them.

A target is judged by the figures of one recording, so ratios to the floor and to the alternatives
are of one machine and one run. A target that was not measured is neither reached nor missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Final

from bench.measure.side_by_side import STACK
from bench.measure.tapes import FILE, RANDOM_WALK
from bench.measure.throughput import RING_TICKS
from bench.report.comparison import (
    FLOOR,
    LATENCY_RATE,
    UNPACED,
    ZEROMQ,
    Contender,
    Spread,
    best_batching,
    contenders,
    count_rounds,
    fastest_alternative,
    named,
    one_message_a_tick,
)
from bench.results import (
    OrderFigures,
    Recording,
    SegmentSize,
    Throughput,
    TickToDecision,
    Usage,
)
from lib.clock import MILLISECOND_NS
from lib.reports.units import MILLION, bare, megabytes, millions, percent, time_of, times, whole
from lib.settings import Settings

USUAL_SYMBOLS: Final = len(Settings().symbols)
"""The number of symbols at most rates of tick to decision."""
SYMBOLS: Final = 100
"""The number of symbols of the throughput target."""
BUSY_RATE: Final = 200_000.0
CLIENTS: Final = 4


class Judgement(StrEnum):
    """The judgement of a target, as the report shows it."""

    REACHED = "yes"
    MISSED = "**no**"
    NOT_MEASURED = "not measured"


class Bound(StrEnum):
    """On which side of its limit a figure has to be."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


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
        least, most = self._in_order(self.limit, self.figure)
        return Judgement.REACHED if least <= most else Judgement.MISSED

    @property
    def headroom(self) -> float | None:
        """The factor by which it is reached, below 1 where it is missed, whatever its direction.

        None if it was not measured, or if it must be at most something and is 0.
        """
        if self.figure is None:
            return None
        least, most = self._in_order(self.limit, self.figure)
        return most / least if least else None

    def _in_order(self, limit: float, figure: float) -> tuple[float, float]:
        """Return what must not be more, and what it must not be more than."""
        return (limit, figure) if self.bound is Bound.AT_LEAST else (figure, limit)


@dataclass(frozen=True)
class LatencyComparison:
    """One quantile of tick to decision, of the stack and of the alternatives in the same run."""

    quantile: str
    stack_ns: float
    fastest: str
    """The name of the fastest alternative."""
    fastest_ns: float
    faster: int
    """How many alternatives are faster than the stack."""
    alternatives: int


def targets(recording: Recording) -> list[Target]:
    """Judge all targets."""
    parts = (_throughput, _from_file, _latency, _cost, _orders)
    return [target for part in parts for target in part(recording)]


def judged(found: Iterable[Target], judgement: Judgement) -> list[Target]:
    """Return the targets with this judgement, without the aims."""
    return [t for t in found if t.judgement is judgement and not t.is_aim]


# What of a recording the targets are about; the summary speaks of the same figures.


def lossless(recording: Recording) -> Throughput | None:
    """Return the highest throughput without a loss where the target is for it."""
    found = (t for t in recording.throughput if (t.symbols, t.strategies) == (SYMBOLS, 1))
    return next(found, None)


def at_rate(recording: Recording, rate: float) -> TickToDecision | None:
    """Return the latencies at one rate, with one strategy and the symbols of most rates."""
    wanted = (USUAL_SYMBOLS, 1, rate)
    found = (o for o in recording.tick_to_decision if (o.symbols, o.strategies, o.rate) == wanted)
    return next(found, None)


def default_segment(recording: Recording) -> SegmentSize | None:
    """Return the price book of the default settings."""
    usual = USUAL_SYMBOLS, Settings().price_book.ring_capacity
    found = (s for s in recording.segments if (s.symbols, s.ring_capacity) == usual)
    return next(found, None)


def largest(usages: Sequence[Usage]) -> Usage | None:
    """Return the daemon with the most resident memory."""
    return max(usages, key=lambda usage: usage.resident_bytes, default=None)


def most_orders(orders: Sequence[OrderFigures], clients: int) -> OrderFigures | None:
    """Return the load with the highest rate of answered orders of so many clients."""
    found = (one for one in orders if one.clients == clients)
    return max(found, key=lambda one: one.orders / one.seconds, default=None)


def lonely_order(orders: Sequence[OrderFigures]) -> OrderFigures | None:
    """Return the load of one client that sends one order at a time."""
    found = (one for one in orders if (one.clients, one.under_way) == (1, 1))
    return next(found, None)


def tape_speeds(recording: Recording) -> dict[str, Spread]:
    """Return the full speed with each source of ticks, over the rounds."""
    found: dict[str, list[float]] = {}
    for one in recording.tape_speeds:
        found.setdefault(one.source, []).append(one.ticks_per_s)
    return {source: Spread.of(speeds) for source, speeds in found.items()}


def beside_alternatives(recording: Recording) -> list[LatencyComparison]:
    """Compare the p50 and the p99 with those of the alternatives; [] without any, or a stack."""
    paced = contenders(recording, LATENCY_RATE)
    stack, others = _lossless_stack(paced), [one for one in paced if one.is_alternative]
    if stack is None or not others:
        return []
    compared = []
    for quantile, time_ns in (("p50", _p50_ns), ("p99", _p99_ns)):
        fastest, stack_ns = min(others, key=time_ns), time_ns(stack)
        faster = sum(time_ns(one) < stack_ns for one in others)
        compared.append(
            LatencyComparison(
                quantile, stack_ns, fastest.label, time_ns(fastest), faster, len(others)
            )
        )
    return compared


def _throughput(recording: Recording) -> Iterator[Target]:
    held = lossless(recording)
    end_to_end = Target(
        f"end to end, {SYMBOLS} symbols, one strategy, ring of {whole(RING_TICKS)} ticks, "
        "nothing lost",
        Bound.AT_LEAST,
        4 * MILLION,
        m_ticks,
        held.ticks_per_s if held else None,
    )
    yield end_to_end
    yield replace(end_to_end, what="the same, as an aim", limit=8 * MILLION, is_aim=True)

    unpaced = contenders(recording, UNPACED)
    stack = _lossless_stack(unpaced)
    for others, what, limit in (
        (one_message_a_tick(unpaced), "one message a tick", 10.0),
        (best_batching(unpaced), "their best batching", 1.0),
    ):
        target = Target(
            f"full speed, alternatives with {what}",
            Bound.AT_LEAST,
            limit,
            times,
            None,
            " the fastest of them",
        )
        fastest = fastest_alternative(others)
        yield _over(target, stack, fastest, _speed, m_ticks, count_rounds(recording))


def _from_file(recording: Recording) -> Iterator[Target]:
    target = Target(
        "full speed from a file", Bound.AT_LEAST, 0.9, times, None, " the random walk's"
    )
    speeds = tape_speeds(recording)
    file, walk = speeds.get(FILE), speeds.get(RANDOM_WALK)
    if file and walk:
        note = f" ({m_ticks(file.median)} to {m_ticks(walk.median)})"
        target = replace(target, figure=file.median / walk.median, note=note)
    yield target


def _latency(recording: Recording) -> Iterator[Target]:
    paced = contenders(recording, LATENCY_RATE)
    stack = _lossless_stack(paced)
    symbols = recording.plan.side_by_side.symbols
    what = (
        f"tick to decision at {whole(LATENCY_RATE)} ticks/s, {symbols} symbols, beside the floor "
        "and the alternatives, p50"
    )
    for name, limit, reference in (
        (FLOOR, 1.3, " the bare floor's"),
        (ZEROMQ, 0.5, " ZeroMQ's"),
    ):
        target = Target(what, Bound.AT_MOST, limit, times, None, reference)
        rounds = count_rounds(recording)
        yield _over(target, stack, named(paced, name), _p50_ns, time_of, rounds)
    busy = at_rate(recording, BUSY_RATE)
    what = f"tick to decision at {whole(BUSY_RATE)} ticks/s, {USUAL_SYMBOLS} symbols"
    p99_ns = busy.from_sent.p99_ns if busy else None
    yield Target(f"{what}, p99", Bound.AT_MOST, 2 * MILLISECOND_NS, time_of, p99_ns)
    missed, note = (busy.missed, f" of {whole(busy.ticks + busy.missed)}") if busy else (None, "")
    yield Target(f"{what}, ticks lost", Bound.AT_MOST, 0, whole, missed, note=note)


def _cost(recording: Recording) -> Iterator[Target]:
    for name, limit_ns in (("read", 1_000), ("update", 3_000)):
        calls = [(call.ns_per_call, call.symbols) for call in recording.calls if call.name == name]
        ns, symbols = max(calls, default=(None, 0))
        yield Target(
            f"`SharedPriceBook.{name}`, per call",
            Bound.AT_MOST,
            limit_ns,
            time_of,
            ns,
            note=f" ({whole(symbols)} symbols)",
        )
    shares = [(usage.cpu_share, usage.role) for usage in recording.at_rest]
    share, role = max(shares, default=(None, ""))
    what = f"each daemon at rest ({whole(Settings().gateway.rate)} ticks/s, ring full), of a core"
    yield Target(what, Bound.AT_MOST, 0.02, percent, share, note=f" ({role})")
    big = largest(recording.at_rest)
    size, role = (big.resident_bytes, big.role) if big else (None, "")
    what = "each daemon at rest, resident"
    yield Target(what, Bound.AT_MOST, 64 * MILLION, _mb, size, note=f" ({role})")
    segment = default_segment(recording)
    size = segment.measured_bytes if segment else None
    yield Target("shared memory at default settings", Bound.AT_MOST, 16 * MILLION, _mb, size)


def _orders(recording: Recording) -> Iterator[Target]:
    yield from order_targets(recording.orders, least_per_s=50_000.0, most_ns=1 * MILLISECOND_NS)


def order_targets(
    orders: Sequence[OrderFigures], least_per_s: float, most_ns: int
) -> Iterator[Target]:
    """Judge the rate of CLIENTS clients, and the answer to one order at a time."""
    many, lonely = most_orders(orders, CLIENTS), lonely_order(orders)
    yield Target(
        f"durable orders from {CLIENTS} clients",
        Bound.AT_LEAST,
        least_per_s,
        lambda orders_per_s: f"{whole(orders_per_s)}/s",
        many.orders / many.seconds if many else None,
    )
    p50_ns = lonely.answer.p50_ns if lonely else None
    yield Target("answer to one lonely order, median", Bound.AT_MOST, most_ns, time_of, p50_ns)


def _lossless_stack(found: Sequence[Contender]) -> Contender | None:
    """Return the stack, None if it lost ticks: then no figure has these, and all look too good."""
    stack = named(found, STACK)
    return None if stack is None or stack.missing else stack


def _over(
    target: Target,
    stack: Contender | None,
    other: Contender | None,
    figure: Callable[[Contender], float],
    shown: Callable[[float], str],
    rounds: int,
) -> Target:
    """Return the target with a figure of the stack, as a multiple of another program's.

    `rounds`: of how many; a program that failed in some of them is shown with how many are left.
    """
    if stack is None or other is None:
        return target
    ours, theirs = figure(stack), figure(other)
    shown_ours, shown_theirs = (
        shown(its) + _failed_in_some(one, rounds) for one, its in ((stack, ours), (other, theirs))
    )
    note = f" {other.label} ({shown_ours} to {shown_theirs})"
    return replace(target, figure=ours / theirs, note=note)


def _failed_in_some(one: Contender, rounds: int) -> str:
    held = len(one.rounds)
    return "" if held == rounds else f" in the {held} of {rounds} rounds that held"


def _p50_ns(one: Contender) -> float:
    return median(latency.p50_ns for latency in one.latencies)


def _p99_ns(one: Contender) -> float:
    return median(latency.p99_ns for latency in one.latencies)


def _speed(one: Contender) -> float:
    return one.ticks_per_s.median


def m_ticks(ticks_per_s: float) -> str:
    """Write a rate of ticks in millions."""
    return f"{millions(ticks_per_s)} M ticks/s"


def _mb(size_bytes: float) -> str:
    return f"{megabytes(size_bytes)} MB"
