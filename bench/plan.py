"""What a run of the bench measures, and for how long: full, quick, watched, and of a cluster.

Plain data, which is recorded with the figures: figures of another plan are outdated. Seconds are
those of the measurement itself; starting and stopping stacks comes on top.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class LatencyRun(Struct, frozen=True):
    """Tick to decision at one rate."""

    rate: float
    seconds: float
    symbols: int = 4
    strategies: int = 1


class ThroughputRun(Struct, frozen=True):
    """The search for the highest rate that holds."""

    symbols: int
    strategies: int
    seconds: float
    """The length of a trial."""
    trials: int
    """The most trials of the search."""


class OrdersRun(Struct, frozen=True):
    """Clients that send orders."""

    clients: int
    under_way: int
    """How many unanswered orders each client keeps in flight."""
    orders: int
    """How many orders each client sends."""


class SideBySide(Struct, frozen=True):
    """The stack, the floor and the alternatives, round by round."""

    rounds: int
    paced_s: float
    """Seconds of the paced load, for each program in each round."""
    unpaced_s: float
    """Seconds of each unpaced load; 0 leaves these out."""
    rate: float
    """The rate of the paced load, in ticks a second."""
    symbols: int


class ProfiledLoad(Struct, frozen=True):
    """A load under which the hot daemons are sampled."""

    rate: float
    """0: as fast as it goes."""
    symbols: int


class TapeRun(Struct, frozen=True):
    """Tapes from files: full speed beside the random walk, and preparing them."""

    rounds: int
    ticks: int
    """The length of the tape that is played; it is over after some seconds at full speed."""
    seconds: float
    """How long each source is measured in each round."""
    rows: int
    """The rows of the files that are prepared."""
    symbols: int


class WatchedRun(Struct, frozen=True):
    """Tick to decision in rounds, with each of these viewers of the dashboard in turns."""

    latency: LatencyRun
    rounds: int
    viewers: tuple[tuple[int, str], ...]
    """How many of which kind."""


class ClusterRun(Struct, frozen=True):
    """What is measured of a cluster on this machine, whose brokers and hosts share its cores."""

    latency: LatencyRun
    """Tick to decision on another host than the gateway's."""
    subscribers: tuple[int, ...]
    """The numbers of further subscribers of the ticks, in turns, at the rate of `latency`."""
    subscribed_s: float
    """Seconds for each of these numbers."""
    orders: tuple[OrdersRun, ...]
    """From another host than the order manager's."""
    orders_beside: tuple[OrdersRun, ...]
    """From the host of the order manager: through the journal, but through no relay."""
    throughput: ThroughputRun


class Plan(Struct, frozen=True):
    """All measurements of a run."""

    latency: tuple[LatencyRun, ...]
    throughput: tuple[ThroughputRun, ...]
    stage_symbols: tuple[int, ...]
    stage_s: float
    """Seconds for each stage, with each number of symbols."""
    orders: tuple[OrdersRun, ...]
    rest_s: float
    segment_symbols: tuple[int, ...]
    side_by_side: SideBySide
    profile: tuple[ProfiledLoad, ...] = ()
    tapes: TapeRun | None = None


FULL: Final = Plan(
    latency=(
        LatencyRun(200.0, 20.0),
        *(LatencyRun(rate, 15.0) for rate in (2_000.0, 20_000.0, 200_000.0)),
        *(LatencyRun(20_000.0, 6.0, symbols=symbols) for symbols in (100, 5_000)),
        *(LatencyRun(20_000.0, 6.0, strategies=strategies) for strategies in (2, 4)),
    ),
    throughput=tuple(
        ThroughputRun(symbols, strategies, 10.0, 5)
        for symbols in (4, 100, 5_000)
        for strategies in (1, 4)
    ),
    stage_symbols=(4, 100, 5_000),
    stage_s=0.4,
    orders=(
        OrdersRun(1, 1, 3_000),
        OrdersRun(1, 2_000, 100_000),
        OrdersRun(4, 2_000, 50_000),
        OrdersRun(16, 500, 12_000),
    ),
    rest_s=15.0,
    segment_symbols=(4, 100, 1_000, 10_000),
    side_by_side=SideBySide(rounds=5, paced_s=1.2, unpaced_s=1.0, rate=2_000.0, symbols=100),
    profile=(ProfiledLoad(2_000.0, 100), ProfiledLoad(0.0, 100)),
    tapes=TapeRun(rounds=3, ticks=10_000_000, seconds=1.0, rows=2_000_000, symbols=100),
)

QUICK: Final = Plan(
    latency=(LatencyRun(2_000.0, 1.0), LatencyRun(200_000.0, 1.0)),
    throughput=(ThroughputRun(100, 1, 1.0, 3),),
    stage_symbols=(100,),
    stage_s=0.1,
    orders=(OrdersRun(1, 1, 200), OrdersRun(4, 2_000, 5_000)),
    rest_s=1.0,
    segment_symbols=(4, 5_000),
    side_by_side=SideBySide(rounds=1, paced_s=0.3, unpaced_s=0.0, rate=2_000.0, symbols=100),
)

NO_VIEWER: Final = "no browser"
STREAMS: Final = "streams, not drawn"
BROWSERS: Final = "browsers"
WATCHED: Final = WatchedRun(
    LatencyRun(2_000.0, 5.0),
    rounds=3,
    viewers=((0, NO_VIEWER), (3, STREAMS), (3, BROWSERS)),
)

CLUSTER: Final = ClusterRun(
    latency=LatencyRun(2_000.0, 15.0),
    subscribers=(1, 10, 50, 200),
    subscribed_s=10.0,
    orders=(OrdersRun(1, 1, 1_000), OrdersRun(4, 2_000, 15_000)),
    orders_beside=(OrdersRun(1, 1, 1_000),),
    throughput=ThroughputRun(100, 1, 8.0, 5),
)
