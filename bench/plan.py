"""What a run of the bench measures, and for how long: the full run, and the quick one.

The full plan also has what `bench.profile` and `bench.watched` record.

Plain data. Seconds are those of the measurement itself; starting and stopping stacks comes on top.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class LatencyRun(NamedTuple):
    """Tick to decision at one rate."""

    rate: float
    seconds: float
    symbols: int = 4
    strategies: int = 1


class ThroughputRun(NamedTuple):
    """The search for the highest rate that holds."""

    symbols: int
    strategies: int
    seconds: float
    """The length of a trial."""
    trials: int
    """The most trials of the search."""


class OrdersRun(NamedTuple):
    """Clients that send orders."""

    clients: int
    under_way: int
    """How many unanswered orders each client keeps in flight."""
    orders: int
    """How many orders each client sends."""


class SideBySide(NamedTuple):
    """The stack, the floor and the alternatives, round by round."""

    rounds: int
    paced_s: float
    """Seconds of the paced load, for each program in each round."""
    unpaced_s: float
    """Seconds of each unpaced load; 0 leaves these out."""
    rate: float
    """The rate of the paced load, in ticks a second."""
    symbols: int


class ProfiledLoad(NamedTuple):
    """A load under which the hot daemons are sampled."""

    rate: float
    """0: as fast as it goes."""
    symbols: int


class Viewers(NamedTuple):
    """Viewers of the dashboard."""

    kind: str
    number: int

    @property
    def label(self) -> str:
        """How the report calls them."""
        return f"{self.number} {self.kind}" if self.number else self.kind


class WatchedRun(NamedTuple):
    """Tick to decision with each of these viewers, in turns."""

    latency: LatencyRun
    rounds: int
    viewers: tuple[Viewers, ...]


class Plan(NamedTuple):
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
    watched: tuple[WatchedRun, ...] = ()


RATES: Final = (200.0, 2_000.0, 20_000.0, 200_000.0)
NO_VIEWER: Final = "no browser"
STREAMS: Final = "streams, not drawn"
BROWSERS: Final = "browsers"
PROFILED: Final = (ProfiledLoad(2_000.0, 100), ProfiledLoad(0.0, 100))
WATCHED: Final = WatchedRun(
    LatencyRun(2_000.0, 5.0),
    rounds=3,
    viewers=(Viewers(NO_VIEWER, 0), Viewers(STREAMS, 3), Viewers(BROWSERS, 3)),
)

FULL: Final = Plan(
    latency=(
        LatencyRun(200.0, 20.0),
        *(LatencyRun(rate, 15.0) for rate in RATES[1:]),
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
    profile=PROFILED,
    watched=(WATCHED,),
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
