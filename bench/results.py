"""The JSON records of a run of the bench, from which the report is made.

`python -m bench` writes them and `bench.report.recorded` reads them; nothing else connects the two.
Times are nanoseconds of the host's monotonic clock, sizes are bytes, rates are ticks (or orders) a
second. What could not be measured is None, with a reason in `Recording.gaps`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.plan import ClusterRun, Plan, WatchedRun

CURVE: Final = (
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
    0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0,
)  # fmt: skip
"""The quantiles of `LatencyDistribution.curve_ns`."""


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
        """Return the distribution of all samples, at least one."""
        quantiles = (0.5, 0.9, 0.99, 0.999, 1.0, *CURVE)
        p50, p90, p99, p999, most, *curve = map(
            int, np.quantile(samples_ns, quantiles, method="inverted_cdf")
        )
        return cls(len(samples_ns), p50, p90, p99, p999, most, tuple(curve))


class Usage(Struct, frozen=True):
    """The CPU and memory of one daemon during a measurement."""

    role: str
    cpu_share: float
    """The share of one core: 0.02 is 2 %."""
    resident_bytes: int
    """The resident memory at the end."""


class TickToDecision(Struct, frozen=True):
    """The latencies of a running stack at one rate, over every tick of `seconds`."""

    symbols: int
    strategies: int
    rate: float
    seconds: float
    ticks: int
    missed: int
    """Ticks that were lost, lapped, or undecided a bounded time after the end; no latency has them.
    """
    from_sent: LatencyDistribution
    """From SENT_NS to the decision."""
    from_intended: LatencyDistribution
    """From the tick's scheduled time to the decision, so that a stall of the sender is not hidden.
    """
    to_report: LatencyDistribution | None
    """From SENT_NS of a tick to the execution report of its order; None without orders."""
    usage: tuple[Usage, ...]


class Trial(Struct, frozen=True):
    """One trial of the search at one rate."""

    rate: float
    """The configured rate."""
    seconds: float
    published: int
    """Ticks that the gateway published in that time."""
    evaluated: int
    """Ticks that the slowest strategy evaluated."""
    held: bool
    why: str
    """Why the rate was not held; "" if it was."""

    @property
    def is_aborted(self) -> bool:
        """Whether it ended before anything was counted."""
        return not self.published


class Throughput(Struct, frozen=True):
    """The highest rate that was held end to end without a tick lost or lapped."""

    symbols: int
    strategies: int
    ticks_per_s: float
    """The rate of the slowest strategy in the confirming trial; 0 if no rate was confirmed."""
    trials: tuple[Trial, ...]
    usage: tuple[Usage, ...]
    """The usage of the daemons in that trial."""


class StageCost(Struct, frozen=True):
    """The cost of one stage alone, in one process: the best of several repetitions."""

    name: str
    """generate, encode, decode, book write, book read, signal."""
    symbols: int
    batch_ticks: int
    """How many ticks are processed at once; 1: one by one, without arrays."""
    ns_per_tick: float


class CallCost(Struct, frozen=True):
    """The cost of one call of `SharedPriceBook` or its reader, with no sleeping reader."""

    name: str
    """read, update or reader().arm."""
    symbols: int
    ns_per_call: float


class OrderFigures(Struct, frozen=True):
    """Durable orders of `clients` clients, each answered after its commit."""

    clients: int
    under_way: int
    """How many unanswered orders each client keeps in flight: 1 is one at a time."""
    orders: int
    seconds: float
    answer: LatencyDistribution
    """From the sending of an order to its execution report."""


class SegmentSize(Struct, frozen=True):
    """The size of the shared memory of a price book."""

    symbols: int
    ring_capacity: int
    formula_bytes: int
    measured_bytes: int
    """The allocated size of the file in /dev/shm."""


class ProgramRound(Struct, frozen=True):
    """One round of one program: the stack, the floor, or an alternative."""

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
    """From the sending to the decision; None for an unpaced round."""

    @property
    def ticks_per_s(self) -> float:
        """The ticks that arrived, per second."""
        return self.ticks / self.seconds


class HotFunction(Struct, frozen=True):
    """One function of the project, including what it calls outside of it (NumPy, the kernel)."""

    function: str
    """File and name, as in "lib/wire/tick_codec.py decode"."""
    share: float
    """Its share of the samples of the daemon, and so of its CPU time."""
    line: str
    """The source of the line with most of its samples."""


class DaemonProfile(Struct, frozen=True):
    """One daemon under one load."""

    role: str
    cpu_ns: int
    """The CPU time that it took."""
    kernel_ns: int
    """The part of `cpu_ns` in the kernel."""
    samples: int
    """How many samples found it at work."""
    functions: tuple[HotFunction, ...]
    """All its functions, the hottest first."""


class LoadProfile(Struct, frozen=True):
    """The CPU time of the hot daemons under one load."""

    rate: float
    """The configured ticks a second; 0: as fast as it goes."""
    symbols: int
    seconds: float
    ticks: int
    """How many ticks the strategy evaluated in that time."""
    daemons: tuple[DaemonProfile, ...]


class TapeSpeed(Struct, frozen=True):
    """How fast a stack without a rate plays a tape, in one round."""

    source: str
    round: int
    symbols: int
    ticks_per_s: float
    """The ticks that the strategy evaluated, per second."""


class PreparedFile(Struct, frozen=True):
    """What it took to make a tape of a file."""

    kind: str
    rows: int
    file_bytes: int
    seconds: float
    peak_bytes: int
    """The largest resident memory of the process."""

    @property
    def rows_per_s(self) -> float:
        """The rows that were read, per second."""
        return self.rows / self.seconds


class Recording(Struct):
    """A run of the bench; each measurement adds what it finds."""

    began_utc: str
    quick: bool
    command: str
    machine: dict[str, Any]
    software: dict[str, str]
    settings: dict[str, Any]
    """The settings of the private stacks that are not the default, by section."""
    plan: Plan
    """What was to be measured."""
    ended_utc: str = ""
    seconds: float = 0.0
    tick_to_decision: list[TickToDecision] = []
    throughput: list[Throughput] = []
    stages: list[StageCost] = []
    calls: list[CallCost] = []
    orders: list[OrderFigures] = []
    at_rest: list[Usage] = []
    """The daemons of a stack at the default rate, after the ring was filled once."""
    segments: list[SegmentSize] = []
    hops: list[ProgramRound] = []
    """The stack, the floor and the alternatives at the same load, interleaved round by round."""
    profile: list[LoadProfile] = []
    tape_speeds: list[TapeSpeed] = []
    """Of the random walk and of a file, in turns."""
    prepared_files: list[PreparedFile] = []
    gaps: list[str] = []
    """What could not be measured, and why: a line each."""


class WatchedRound(Struct, frozen=True):
    """Tick to decision in one round, with the viewers of the dashboard in that round."""

    number: int
    watched_by: str
    missed: int
    from_intended: LatencyDistribution
    """From when a tick was due: a gateway that the viewers delay counts as well."""


class WatchedRecording(Struct):
    """The recording of `bench.watched`."""

    began_utc: str
    machine: dict[str, Any]
    plan: WatchedRun
    rounds: list[WatchedRound] = []
    gaps: list[str] = []
    """What could not be measured, and why: a line each."""


class TickMessages(Struct, frozen=True):
    """The messages of ticks that a plain subscriber got, during a tick to decision.

    A message has the ticks of some milliseconds, and its SENT_NS is that of the first of them.
    """

    messages: int
    ticks: int
    received_bytes: int
    to_brokers: LatencyDistribution
    """From SENT_NS until the stream's leader has stamped the message: gateway, linger, uplink."""
    in_brokers: LatencyDistribution
    """From that stamp until the message has arrived: replicated, applied, and sent on."""
    to_subscriber: LatencyDistribution
    """From SENT_NS until the message has arrived."""
    acknowledged_p50_ns: int
    """How long the latest messages took at the end, from the uplink's question to its answer."""
    acknowledged_p99_ns: int


class SubscriberLoad(Struct, frozen=True):
    """What the brokers took while so many further subscribers got the ticks."""

    subscribers: int
    seconds: float
    messages: int
    """How many messages each of them got."""
    received_bytes: int
    """What all of them got together."""
    broker_cpu_s: float
    """The CPU time of all brokers together."""


class ClusterRecording(Struct):
    """The recording of `bench.cluster`."""

    began_utc: str
    machine: dict[str, Any]
    software: dict[str, str]
    plan: ClusterRun
    seconds: float = 0.0
    tick_to_decision: list[TickToDecision] = []
    tick_messages: list[TickMessages] = []
    """Of the same time."""
    subscriber_loads: list[SubscriberLoad] = []
    orders: list[OrderFigures] = []
    """From the strategy host, through both relays."""
    orders_beside: list[OrderFigures] = []
    """From the host of the order manager, through no relay."""
    throughput: list[Throughput] = []
    gaps: list[str] = []
    """What could not be measured, and why: a line each."""


AnyRecording = Recording | WatchedRecording | ClusterRecording


def is_empty(found: AnyRecording) -> bool:
    """Return whether nothing at all was measured."""
    fields = (name for name in found.__struct_fields__ if name != "gaps")
    return not any(value for name in fields if isinstance(value := getattr(found, name), list))
