"""The stack beside the floor and the alternatives: the figures of their rounds.

All of them pass the same ticks on, interleaved round by round, so that disturbances of the machine
hit all alike. A figure of a program is the median of its rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.measure.side_by_side import STACK
from bench.results import LatencyDistribution, ProgramRound, Recording
from bench.rivals.alternatives import zeromq
from bench.rivals.floor import three_processes

FLOOR: Final = three_processes.NAME
ZEROMQ: Final = zeromq.NAME
FLOORS: Final = "bare processes"
"""What the names of all floors contain."""
STACK_LABEL: Final = "**Tradewire**"
LATENCY_RATE: Final = 2_000.0
"""The rate of the paced rounds."""
UNPACED: Final = 0.0
"""The rate of an unpaced round."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float
    rounds: int
    """How many rounds have the figure."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of a figure over the rounds, at least one."""
        return cls(median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Contender:
    """One program at one rate with one size of message, over all its rounds."""

    name: str
    ticks_a_message: int
    rounds: tuple[ProgramRound, ...]
    """Its rounds, at least one."""

    @property
    def label(self) -> str:
        """Its label in the report."""
        return STACK_LABEL if self.is_stack else self.name

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

    @property
    def latencies(self) -> list[LatencyDistribution]:
        """The latencies of each paced round."""
        return [one.latency for one in self.rounds if one.latency is not None]


def count_rounds(recording: Recording) -> int:
    """Return how many rounds there were; a program that failed in one has no figures of it."""
    return len({one.round for one in recording.hops})


def contenders(recording: Recording, rate: float) -> list[Contender]:
    """Return all that ran at this rate: the stack, then floors, then alternatives."""
    rounds: dict[tuple[str, int], list[ProgramRound]] = {}
    for one in recording.hops:
        if one.rate == rate:
            rounds.setdefault((one.name, one.ticks_a_message), []).append(one)
    found = [Contender(*key, tuple(its)) for key, its in rounds.items()]
    return sorted(found, key=_groups)


def one_message_a_tick(found: Iterable[Contender]) -> list[Contender]:
    """Keep programs with one message a tick, and the stack, which batches by itself."""
    return [one for one in found if one.is_stack or one.ticks_a_message == 1]


def best_batching(found: Iterable[Contender]) -> list[Contender]:
    """Keep programs with their best number of ticks a message, and the stack."""
    return [one for one in found if one.is_stack or one.ticks_a_message > 1]


def named(found: Iterable[Contender], name: str) -> Contender | None:
    """Return the one of that name, None if it did not run."""
    return next((one for one in found if one.name == name), None)


def fastest_alternative(found: Iterable[Contender]) -> Contender | None:
    """Return the alternative that passes on the most ticks a second."""
    alternatives = (one for one in found if one.is_alternative)
    return max(alternatives, key=lambda one: one.ticks_per_s.median, default=None)


@dataclass(frozen=True)
class ComparisonRow:
    """One program in a table: its latencies, and its full speed."""

    label: str
    ticks_a_message: int | None
    """None for the stack, which batches by itself."""
    p50_ns: Spread | None
    p99_ns: Spread | None
    ticks_per_s: Spread | None
    stack_over_it: float | None
    missing: int


def with_one_message_a_tick(recording: Recording) -> list[ComparisonRow]:
    """Compare the programs with one message a tick, paced and unpaced."""
    paced, fast = contenders(recording, LATENCY_RATE), contenders(recording, UNPACED)
    return _compare(one_message_a_tick(paced), one_message_a_tick(fast))


def with_best_batching(recording: Recording) -> list[ComparisonRow]:
    """Compare the unpaced programs with the size of message at which each is fastest."""
    return _compare([], best_batching(contenders(recording, UNPACED)))


def _compare(paced: Sequence[Contender], fast: Sequence[Contender]) -> list[ComparisonRow]:
    """Return a row for the stack, the floors, then the alternatives from the fastest on."""
    from_fastest_on = sorted(fast, key=lambda one: -one.ticks_per_s.median)
    everyone = {one.name: one for one in (*from_fastest_on, *paced)}.values()
    stack = next((one.ticks_per_s for one in fast if one.is_stack), None)
    rows = []
    for one in sorted(everyone, key=_groups):
        slow, unpaced = named(paced, one.name), named(fast, one.name)
        latencies = slow.latencies if slow else []
        rows.append(
            ComparisonRow(
                one.label,
                None if one.is_stack else one.ticks_a_message,
                Spread.of([latency.p50_ns for latency in latencies]) if latencies else None,
                Spread.of([latency.p99_ns for latency in latencies]) if latencies else None,
                unpaced.ticks_per_s if unpaced else None,
                stack.median / unpaced.ticks_per_s.median if stack and unpaced else None,
                sum(its.missing for its in (slow, unpaced) if its),
            )
        )
    return rows


def _groups(one: Contender) -> tuple[bool, bool]:
    """Sort the stack first, then floors, then alternatives."""
    return not one.is_stack, one.is_alternative
