"""A recording of another plan, of other programs or of other roles is found."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from bench.measure.side_by_side import Rival
from bench.plan import (
    LatencyRun,
    OrdersRun,
    Plan,
    ProfiledLoad,
    SideBySide,
    ThroughputRun,
    Viewers,
    WatchedRun,
)
from bench.report.comparison import FLOOR, ZEROMQ
from bench.report.freshness import outdated
from tests.recordings import OTHER, ROUNDS, recorded_bench

ROLES = {"gateway", "watchdog"}
PLAN = Plan(
    latency=tuple(LatencyRun(rate, 10.0) for rate in (200.0, 2e3, 2e4, 2e5)),
    throughput=(
        ThroughputRun(4, 1, 10.0, 5),
        ThroughputRun(100, 1, 10.0, 5),
        ThroughputRun(100, 4, 10.0, 5),
    ),
    stage_symbols=(4, 100),
    stage_s=0.1,
    orders=(OrdersRun(1, 1, 2_000), OrdersRun(4, 2_000, 100_000)),
    rest_s=1.0,
    segment_symbols=(4, 100),
    side_by_side=SideBySide(rounds=ROUNDS, paced_s=1.0, unpaced_s=1.0, rate=2e3, symbols=100),
    profile=(ProfiledLoad(0.0, 100),),
    watched=(WatchedRun(LatencyRun(2e3, 5.0), 1, (Viewers("browsers", 3),)),),
)
RIVALS = tuple(
    Rival(name, lambda load: pytest.fail("measured"), best_batch)
    for name, best_batch in ((FLOOR, None), (ZEROMQ, 1024), (OTHER, 64))
)
BENCH = recorded_bench()
MADE = replace(
    BENCH, watched=msgspec.structs.replace(BENCH.watched, rounds=BENCH.watched.rounds[1:2])
)


def differences(plan: Plan = PLAN, rivals=RIVALS, roles=ROLES, **changed) -> list[str]:
    made = replace(MADE, recording=msgspec.structs.replace(MADE.recording, **changed))
    return outdated(made, plan, rivals, roles)


def test_a_recording_of_the_plan_and_the_roles_of_today_has_no_differences():
    assert differences() == []


def test_a_role_that_was_not_there_is_named():
    assert differences(roles=ROLES | {"dashboard"}) == [
        "daemons at rest: dashboard is planned, not recorded"
    ]
    assert differences(roles={"gateway"}) == ["daemons at rest: watchdog is recorded, not planned"]


@pytest.mark.parametrize(
    ("changed", "kind", "count"),
    [
        ({"latency": (LatencyRun(200.0, 20.0), *PLAN.latency[1:])}, "tick to decision", 2),
        ({"throughput": PLAN.throughput[1:]}, "throughput", 1),
        ({"stage_symbols": (4, 100, 5_000)}, "each stage alone", 1),
        ({"segment_symbols": (4,)}, "shared memory", 1),
        ({"orders": PLAN.orders[:1]}, "orders", 1),
        ({"side_by_side": PLAN.side_by_side._replace(rounds=ROUNDS + 1)}, "rounds side by side", 2),
        ({"profile": (*PLAN.profile, ProfiledLoad(2e3, 4))}, "profile", 1),
        ({"watched": (PLAN.watched[0]._replace(rounds=2),)}, "watched", 2),
    ],
)
def test_a_measurement_of_another_plan_is_named(changed, kind, count):
    found = differences(plan=PLAN._replace(**changed))

    assert len(found) == count
    assert all(difference.startswith(f"{kind}: ") for difference in found)


def test_an_alternative_that_was_dropped_or_added_is_named():
    assert {line.partition(":")[0] for line in differences(rivals=RIVALS[:-1])} == {OTHER}
    added = Rival("Telegraph", RIVALS[0].measure, None)
    [difference] = differences(rivals=(*RIVALS, added))
    assert difference.startswith("Telegraph: 2,000 ticks/s")
    assert difference.endswith("is planned, not recorded")


def test_what_could_not_be_measured_is_no_difference_where_a_gap_says_why():
    without = tuple(hop for hop in MADE.recording.hops if hop.name != OTHER)

    assert differences(hops=without)
    assert differences(hops=without, gaps=(f"{OTHER}: it is not installed",)) == []
    assert differences(hops=without, gaps=(f"{OTHER} in C: no compiler",))
    assert differences(gaps=("orders: no",), plan=PLAN._replace(orders=PLAN.orders[:1]))


def test_a_profile_that_was_not_permitted_is_no_difference():
    refused = msgspec.structs.replace(MADE.profile, loads=(), gaps=("py-spy: not permitted",))

    assert outdated(replace(MADE, profile=refused), PLAN, RIVALS, ROLES) == []
    silent = msgspec.structs.replace(refused, gaps=())
    assert outdated(replace(MADE, profile=silent), PLAN, RIVALS, ROLES)


def test_a_quick_run_is_not_of_the_full_plan():
    shorter = tuple(
        msgspec.structs.replace(one, seconds=1.0) for one in MADE.recording.tick_to_decision
    )

    assert differences(tick_to_decision=shorter)
