"""The stack beside the floor and the alternatives: the figures of their rounds.

All of them pass the same ticks on, interleaved round by round, so that disturbances of the machine
hit all alike. A figure of a program is the median of its rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.results import LatencyDistribution, ProgramRound, Recording

STACK: Final = "stack"
FLOOR: Final = "three bare processes"
"""The name of the floor in Python with the stack's hops."""
FLOORS: Final = "bare processes"
"""What the names of all floors contain."""
ZEROMQ: Final = "ZeroMQ"
LABELS: Final = {STACK: "**Tradewire**"}
"""Labels in the report that differ from the names."""
OTHER_WORK: Final = ("ZeroMQ, arrays in place of text",)
"""Programs that do not do the same work, because they decode no text. They are shown, but not used
for any judgement."""
UNPACED: Final = 0.0
"""The rate of an unpaced round."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of a figure over the rounds, at least one."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Contender:
    """One program at one rate with one size of message, over all its rounds."""

    name: str
    ticks_a_message: int
    rate: float
    rounds: tuple[ProgramRound, ...]
    """Its rounds, at least one."""

    @property
    def label(self) -> str:
        """Its label in the report."""
        return LABELS.get(self.name, self.name)

    @property
    def is_stack(self) -> bool:
        """Whether it is the stack itself, which batches by itself."""
        return self.name == STACK

    @property
    def is_alternative(self) -> bool:
        """Whether it is an alternative to the stack, not a floor."""
        return not self.is_stack and FLOORS not in self.name

    @property
    def ticks_per_s(self) -> Spread:
        """How many ticks arrived in a second."""
        return Spread.of([one.ticks_per_s for one in self.rounds])

    @property
    def missing(self) -> int:
        """How many ticks did not arrive, in all rounds together."""
        return sum(one.missing for one in self.rounds)

    def latency(self, figure: str) -> Spread | None:
        """Return one figure of its latencies, such as "p50_ns"; None if it has no latencies."""
        found = [getattr(latency, figure) for latency in self.latencies()]
        return Spread.of(found) if found else None

    def latencies(self) -> list[LatencyDistribution]:
        """Return the latencies of each round that has them."""
        return [one.latency for one in self.rounds if one.latency is not None]


def contenders(recording: Recording, rate: float) -> list[Contender]:
    """Return all that ran at this rate: the stack, then floors, then alternatives."""
    keys = dict.fromkeys((h.name, h.ticks_a_message) for h in recording.hops if h.rate == rate)
    found = [
        Contender(
            name,
            ticks,
            rate,
            tuple(
                hop
                for hop in recording.hops
                if (hop.name, hop.ticks_a_message, hop.rate) == (name, ticks, rate)
            ),
        )
        for name, ticks in keys
    ]
    return sorted(found, key=lambda one: (not one.is_stack, one.is_alternative))


def paced_rates(recording: Recording) -> list[float]:
    """Return the rates of the paced rounds."""
    return sorted({hop.rate for hop in recording.hops} - {UNPACED})


def one_message_a_tick(found: Iterable[Contender]) -> Iterator[Contender]:
    """Keep programs with one message a tick, and the stack, which batches by itself."""
    return (one for one in found if one.is_stack or one.ticks_a_message == 1)


def best_batching(found: Iterable[Contender]) -> Iterator[Contender]:
    """Keep each program with its fastest size of message, of those with batches."""
    best: dict[str, Contender] = {}
    for one in found:
        if one.is_stack or one.ticks_a_message > 1:
            other = best.get(one.name)
            if other is None or one.ticks_per_s.median > other.ticks_per_s.median:
                best[one.name] = one
    return iter(best.values())


def named(found: Iterable[Contender], name: str) -> Contender | None:
    """Return the one of that name, None if it did not run."""
    return next((one for one in found if one.name == name), None)


def fastest_alternative(found: Iterable[Contender]) -> Contender | None:
    """Return the alternative that passes on the most ticks a second, doing the same work."""
    alternatives = (one for one in found if one.is_alternative and one.name not in OTHER_WORK)
    return max(alternatives, key=lambda one: one.ticks_per_s.median, default=None)


@dataclass(frozen=True)
class ComparisonRow:
    """One program in a table: its latencies at each rate, and its full speed."""

    label: str
    ticks_a_message: int | None
    """None for the stack, which batches by itself."""
    latencies: tuple[Spread | None, ...]
    """For each paced rate the p50 and the p99, ns."""
    ticks_per_s: Spread | None
    stack_over_it: float | None
    missing: int


@dataclass(frozen=True)
class Comparison:
    """A table of programs that do the same work."""

    rates: tuple[float, ...]
    """The paced rates at which more than one program ran."""
    rows: tuple[ComparisonRow, ...]
    """The stack, the floors, then the alternatives from the fastest on."""


def with_one_message_a_tick(recording: Recording) -> Comparison:
    """Compare the programs with one message a tick."""
    return _compare(
        list(one_message_a_tick(contenders(recording, UNPACED))),
        {
            rate: list(one_message_a_tick(contenders(recording, rate)))
            for rate in paced_rates(recording)
        },
    )


def with_best_batching(recording: Recording) -> Comparison:
    """Compare the programs with the size of message at which each is fastest."""
    best = list(best_batching(contenders(recording, UNPACED)))
    sizes = {(one.name, one.ticks_a_message) for one in best}
    return _compare(
        best,
        {
            rate: [
                one
                for one in contenders(recording, rate)
                if (one.name, one.ticks_a_message) in sizes
            ]
            for rate in paced_rates(recording)
        },
    )


def _compare(fast: Sequence[Contender], paced: dict[float, list[Contender]]) -> Comparison:
    paced = {rate: found for rate, found in paced.items() if len(found) > 1}
    everyone = [one for found in (*paced.values(), fast) for one in found]
    stack = named(fast, STACK)
    rows = []
    for name in _in_order(everyone, fast):
        its = [one for one in everyone if one.name == name]
        unhurried = [named(found, name) for found in paced.values()]
        unpaced = named(fast, name)
        rows.append(
            ComparisonRow(
                its[0].label,
                None if its[0].is_stack else its[0].ticks_a_message,
                tuple(
                    one.latency(figure) if one else None
                    for one in unhurried
                    for figure in ("p50_ns", "p99_ns")
                ),
                unpaced.ticks_per_s if unpaced else None,
                stack.ticks_per_s.median / unpaced.ticks_per_s.median
                if stack and unpaced
                else None,
                sum(one.missing for one in its),
            )
        )
    return Comparison(tuple(paced), tuple(rows))


def _in_order(everyone: Iterable[Contender], fast: Iterable[Contender]) -> list[str]:
    speed = {one.name: one.ticks_per_s.median for one in fast}
    keys = {
        one.name: (
            not one.is_stack,
            one.is_alternative,
            -speed.get(one.name, 0) if one.is_alternative else 0,
        )
        for one in everyone
    }
    return sorted(keys, key=lambda name: keys[name])
