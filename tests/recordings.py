"""Small made-up recordings of the bench and of the chaos lab, in which every goal is reached.

The figures are invented: a test changes one and checks what the report makes of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from bench.measure.side_by_side import STACK
from bench.measure.tapes import FILE, RANDOM_WALK
from bench.plan import CLUSTER, FULL, WATCHED
from bench.report.comparison import FLOOR, ZEROMQ
from bench.report.recorded import RecordedBench
from bench.results import (
    CallCost,
    ClusterRecording,
    DaemonProfile,
    HotFunction,
    LatencyDistribution,
    LoadProfile,
    OrderFigures,
    PreparedFile,
    ProgramRound,
    Recording,
    SegmentSize,
    StageCost,
    SubscriberLoad,
    TapeSpeed,
    Throughput,
    TickMessages,
    TickToDecision,
    Trial,
    Usage,
    WatchedRecording,
    WatchedRound,
)
from chaos.lab.recovery import STEPS
from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.price_book.segment import SegmentLayout
from lib.settings import Settings

ROUNDS = 3
RING = Settings().price_book.ring_capacity
OTHER = "Carrier pigeon"
"""An alternative that is slower than ZeroMQ."""
MACHINE = {
    "cpu": "Abacus 3",
    "cores": 2,
    "virtual": True,
    "memory_gib": 4,
    "kernel": "Linux 6",
    "load_average": 0.5,
}
SOFTWARE = {"Python": "3.11.7", "numpy": "2.4.6"}


DAEMON_PROFILE = DaemonProfile(
    "gateway",
    cpu_ns=SECOND_NS // 2,
    kernel_ns=SECOND_NS // 10,
    samples=1_000,
    functions=tuple(HotFunction(f"lib/x.py f{n}", 0.5 / 2**n, f"x | {n}") for n in range(12)),
)


def latency(p50_us: float, p99_us: float | None = None) -> LatencyDistribution:
    """One hundred samples with these quantiles."""
    p99 = 2 * p50_us if p99_us is None else p99_us
    samples = np.array([p50_us] * 98 + [p99] * 2) * 1000
    return LatencyDistribution.of(samples.astype(np.int64))


def usages(cpu_share: float = 0.01, resident_mb: float = 50) -> tuple[Usage, ...]:
    return (
        Usage("gateway", cpu_share, int(resident_mb * 1e6)),
        Usage("watchdog", cpu_share / 10, int(resident_mb / 2 * 1e6)),
    )


def tick_to_decision(rate: float, *, strategies: int = 1, **changed: Any) -> TickToDecision:
    made = TickToDecision(
        symbols=4,
        strategies=strategies,
        rate=rate,
        seconds=10.0,
        ticks=int(rate * 10),
        missed=0,
        from_sent=latency(100),
        from_intended=latency(120),
        to_report=latency(700),
        usage=usages(),
    )
    return replace(made, **changed)


def throughput(symbols: int, strategies: int, ticks_per_s: float) -> Throughput:
    held = Trial(ticks_per_s, 10.0, int(ticks_per_s * 10), int(ticks_per_s * 10), True, "")
    lost = Trial(2e7, 10.0, 200_000_000, 199_999_993, False, "7 ticks lapped")
    return Throughput(symbols, strategies, ticks_per_s, (lost, held), usages(0.9))


def hops(
    name: str, rate: float, *, figure: float, ticks_a_message: int = 1, missing: int = 0
) -> tuple[ProgramRound, ...]:
    """Every round of one program; `figure` is the p50 in µs, or the million ticks a second."""
    return tuple(
        ProgramRound(
            name=name,
            round=number,
            rate=rate,
            ticks_a_message=ticks_a_message,
            symbols=100,
            ticks=10_000 if rate else int((figure + 0.01 * (number - 1)) * 1e6),
            missing=missing,
            seconds=1.0,
            latency=latency(figure + number - 1) if rate else None,
        )
        for number in range(ROUNDS)
    )


def segment(symbols: int) -> SegmentSize:
    size = SegmentLayout(tuple(map(str, range(symbols))), RING).total_bytes
    return SegmentSize(symbols, RING, size, size)


def recording(**changed: Any) -> Recording:
    """The recording with some of its fields changed."""
    made = Recording(
        plan=FULL,
        began_utc="2026-01-02T03:04:05.000006Z",
        ended_utc="2026-01-02T03:17:05.000006Z",
        seconds=780.0,
        quick=False,
        command="python -m bench",
        machine=MACHINE,
        software=SOFTWARE,
        settings={"gateway": {"news_interval": 0.05}},
        tick_to_decision=tuple(tick_to_decision(rate) for rate in (200.0, 2e3, 2e4, 2e5)),
        throughput=(throughput(4, 1, 9e6), throughput(100, 1, 8.5e6), throughput(100, 4, 3e6)),
        stages=(StageCost("encode", 4, 4096, 40.0), StageCost("encode", 100, 4096, 50.0)),
        calls=(
            CallCost("read", 4, 900.0),
            CallCost("read", 100, 800.0),
            CallCost("update", 4, 2500.0),
        ),
        orders=(
            OrderFigures(1, 1, 2_000, 1.0, latency(420)),
            OrderFigures(4, 2_000, 400_000, 7.0, latency(42_000)),
        ),
        at_rest=usages(),
        segments=(segment(4), segment(100)),
        hops=(
            *hops(STACK, 2e3, figure=100, ticks_a_message=0),
            *hops(FLOOR, 2e3, figure=80),
            *hops(ZEROMQ, 2e3, figure=201),
            *hops(OTHER, 2e3, figure=600),
            *hops(STACK, 0.0, figure=8, ticks_a_message=0),
            *hops(ZEROMQ, 0.0, figure=0.4),
            *hops(OTHER, 0.0, figure=0.1),
            *hops(ZEROMQ, 0.0, figure=4, ticks_a_message=1024),
            *hops(OTHER, 0.0, figure=3, ticks_a_message=64),
        ),
        profile=[LoadProfile(0.0, 100, 2.0, 1_000_000, (DAEMON_PROFILE,))],
        tape_speeds=[
            TapeSpeed(source, number, 100, speed + number)
            for number in range(ROUNDS)
            for source, speed in ((RANDOM_WALK, 8e6), (FILE, 7.6e6))
        ],
        prepared_files=[PreparedFile("CSV", 2_000_000, 30_000_000, 0.5, 200_000_000)],
    )
    return replace(made, **changed)


NOTHING_MEASURED = recording(
    tick_to_decision=(),
    throughput=(),
    stages=(),
    calls=(),
    orders=(),
    at_rest=(),
    segments=(),
    hops=(),
    profile=(),
    tape_speeds=(),
    prepared_files=(),
    gaps=("everything: the machine was on fire",),
)


def cluster_recording(**changed: Any) -> ClusterRecording:
    """The recording of a cluster with some of its fields changed."""
    made = ClusterRecording(
        began_utc="2026-01-03T03:04:05.000006Z",
        machine=MACHINE,
        software=SOFTWARE,
        plan=CLUSTER,
        seconds=300.0,
        tick_to_decision=[
            tick_to_decision(2e3, from_sent=latency(5_000), from_intended=latency(4_000))
        ],
        tick_messages=[
            TickMessages(
                messages=3_000,
                ticks=20_000,
                received_bytes=2_000_000,
                to_brokers=latency(2_000),
                in_brokers=latency(2_500),
                to_subscriber=latency(4_500),
                acknowledged_p50_ns=1_500_000,
                acknowledged_p99_ns=9_000_000,
            )
        ],
        subscriber_loads=[
            SubscriberLoad(count, 10.0, 3_000, count * 2_000_000, 10.0 * (0.2 + 0.001 * count))
            for count in (1, 10, 50, 200)
        ],
        orders=[
            OrderFigures(1, 1, 1_000, 6.0, latency(5_900)),
            OrderFigures(4, 2_000, 60_000, 10.0, latency(900_000)),
        ],
        orders_beside=[OrderFigures(1, 1, 1_000, 4.0, latency(3_900))],
        throughput=[throughput(100, 1, 750_000.0)],
    )
    return replace(made, **changed)


NO_CLUSTER_MEASURED = cluster_recording(
    tick_to_decision=[],
    tick_messages=[],
    subscriber_loads=[],
    orders=[],
    orders_beside=[],
    throughput=[],
    gaps=["everything: the brokers were on fire"],
)


def recorded_bench(
    made: Recording | None = None, cluster: ClusterRecording | None = None
) -> RecordedBench:
    """All recordings of the bench, with three watched rounds."""
    rounds = [
        WatchedRound(1, "no browser", 0, latency(100)),
        WatchedRound(1, "3 browsers", 0, latency(300)),
        WatchedRound(2, "no browser", 0, latency(110)),
    ]
    machine = MACHINE | {"cpu": "Abacus 4"}
    watched = WatchedRecording("2026-01-02T", machine, WATCHED, rounds)
    return RecordedBench(made or recording(), watched, cluster or cluster_recording())


def experiment(**changed: Any) -> dict[str, Any]:
    """The figures that every experiment has."""
    nothing = {"missed": 0, "repeated": 0, "out_of_order": 0}
    return {
        "title": "something is done",
        "hypothesis": "nothing happens",
        "ticks_at_book": nothing,
        "ticks_at_strategy": nothing,
        "orders": {"sent": 1, "lost": 0, "doubled": 0, "expired": 0, "discarded": 0},
        "holds": True,
        "reasons": [],
    } | changed


def role_hit(
    role: str, times_ms: list[int], name: str = "", goal: str = "fresh_tick_ns"
) -> dict[str, Any]:
    """The figures of an experiment that hits a role, with a goal of 400 ms."""
    name = name or f"drop_{role}"
    return experiment(
        experiment=name,
        fault=f"{'SIGSTOP' if name == 'freeze' else 'SIGKILL'} of {role}",
        role=role,
        goal={"figure": goal, "limit_ns": 400 * MILLISECOND_NS},
        rounds=[recovery(time_ms) for time_ms in times_ms],
    )


def recovery(time_ms: int) -> dict[str, Any]:
    return {figure: time_ms * MILLISECOND_NS for _, figure in STEPS} | {"pending": []}


def cut_case(stream: str, goal_ms: int | None, times_ms: list[float | None]) -> dict[str, Any]:
    """One way to cut a connection, with its cuts."""
    times_ns = [None if ms is None else round(ms * MILLISECOND_NS) for ms in times_ms]
    return {
        "stream": stream,
        "fault": "Reset",
        "to": "TO_CLIENT",
        "goal_ns": None if goal_ms is None else goal_ms * MILLISECOND_NS,
        "cuts": [{"detection_ns": ns, "reconnection_ns": ns} for ns in times_ns],
    }
