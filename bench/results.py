"""What a run of the bench has found: the JSON that the report is written from.

`python -m bench` fills these records in and `bench.report.pages` reads them; nothing else lies
between the two. Times are nanoseconds of the host's monotonic clock, sizes are bytes, rates are
ticks (or orders) a second. What could not be measured is None and comes with a reason in
`Recording.gaps`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

CURVE: Final = (
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
    0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0,
)  # fmt: skip
"""The quantiles that a curve of `LatencyDistribution.curve_ns` is drawn through."""


class LatencyDistribution(Struct, frozen=True):
    """A distribution, exact from all samples: each figure is one of them (nearest rank)."""

    count: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int
    curve_ns: tuple[int, ...]
    """The quantiles of `CURVE`."""

    @classmethod
    def of(cls, samples_ns: NDArray[np.int64]) -> LatencyDistribution:
        """Make it of all samples. Raises ValueError if there are none."""
        if not len(samples_ns):
            raise ValueError("no samples")
        ordered = np.sort(samples_ns)

        def at(quantile: float) -> int:
            return int(ordered[max(0, int(np.ceil(quantile * len(ordered))) - 1)])

        curve = tuple(at(quantile) for quantile in CURVE)
        return cls(len(ordered), at(0.5), at(0.9), at(0.99), at(0.999), at(1.0), curve)


class Usage(Struct, frozen=True):
    """What one daemon took while something was measured."""

    role: str
    cpu_share: float
    """Of one core: 0.02 is 2 %."""
    resident_bytes: int
    """At the end."""


class TickToDecision(Struct, frozen=True):
    """The latencies of a running stack at one rate, over every tick of `seconds`."""

    symbols: int
    strategies: int
    rate: float
    seconds: float
    ticks: int
    missed: int
    """Ticks that were lost or lapped, or not decided 1 s after the end; they are in no latency."""
    from_sent: LatencyDistribution
    """SENT_NS to the decision."""
    from_intended: LatencyDistribution
    """The time that the schedule gives the tick to the decision: a stall is not hidden."""
    to_report: LatencyDistribution | None
    """SENT_NS of the tick to the execution report of its order; None if there were no orders."""
    usage: tuple[Usage, ...]


class Trial(Struct, frozen=True):
    """One rate that was tried."""

    rate: float
    """As asked for."""
    seconds: float
    published: int
    """Ticks that the gateway published meanwhile."""
    evaluated: int
    """Ticks that the slowest strategy evaluated."""
    held: bool
    why: str
    """What did not hold; "" if all did."""


class Throughput(Struct, frozen=True):
    """The highest rate that was held end to end without a tick lost or lapped."""

    symbols: int
    strategies: int
    ticks_per_s: float
    """As measured over the trial that held again, at the slowest strategy; 0 if none did."""
    trials: tuple[Trial, ...]
    usage: tuple[Usage, ...]
    """In that trial."""


class StageCost(Struct, frozen=True):
    """One stage of the way alone, in one process: the best of several repetitions."""

    name: str
    """generate, encode, decode, book write, book read, signal."""
    symbols: int
    batch_ticks: int
    """1: the way of a few ticks, without arrays."""
    ns_per_tick: float


class CallCost(Struct, frozen=True):
    """One call of `SharedPriceBook` that a user makes, with no reader asleep."""

    name: str
    """read or update."""
    symbols: int
    ns_per_call: float


class OrderFigures(Struct, frozen=True):
    """Durable orders: what `clients` got answered, each answer after the commit."""

    clients: int
    under_way: int
    """How many orders each client keeps unanswered: 1 is one at a time."""
    orders: int
    seconds: float
    answer: LatencyDistribution
    """From the sending of an order to its execution report."""


class SegmentSize(Struct, frozen=True):
    """The shared memory of a price book."""

    symbols: int
    ring_capacity: int
    formula_bytes: int
    measured_bytes: int
    """What the file in /dev/shm takes."""


class ProgramRound(Struct, frozen=True):
    """One round of one program that passes ticks on: the stack, the floor, or an alternative."""

    name: str
    round: int
    rate: float
    """0: as fast as it goes."""
    ticks_a_message: int
    symbols: int
    ticks: int
    missing: int
    seconds: float
    latency: LatencyDistribution | None
    """From sending to the decision; None where it went as fast as it could."""

    @property
    def ticks_per_s(self) -> float:
        """What arrived, over the time it took."""
        return self.ticks / self.seconds


class Recording(Struct, frozen=True):
    """A whole run of the bench."""

    began_utc: str
    ended_utc: str
    seconds: float
    quick: bool
    command: str
    machine: dict[str, Any]
    software: dict[str, str]
    settings: dict[str, Any]
    """What the private stacks were run with where it is not the default, by section."""
    tick_to_decision: tuple[TickToDecision, ...]
    throughput: tuple[Throughput, ...]
    stages: tuple[StageCost, ...]
    calls: tuple[CallCost, ...]
    orders: tuple[OrderFigures, ...]
    at_rest: tuple[Usage, ...]
    """The daemons of a stack at the default rate of 200 ticks/s, with the ring gone round."""
    segments: tuple[SegmentSize, ...]
    hops: tuple[ProgramRound, ...]
    """The stack, the floor and the alternatives at the same load, interleaved round by round."""
    gaps: tuple[str, ...]
    """What could not be measured, and why: a line each."""


class WatchedRound(Struct, frozen=True):
    """Tick to decision while somebody, or nobody, watched the dashboard."""

    number: int
    watched_by: str
    missed: int
    from_sent: LatencyDistribution


class WatchedRecording(Struct, frozen=True):
    """What `bench.watched` has found: a recording of its own."""

    began_utc: str
    machine: dict[str, Any]
    rate: float
    """Ticks a second."""
    rounds: tuple[WatchedRound, ...]
    gaps: tuple[str, ...]
    """What could not be measured, and why."""
