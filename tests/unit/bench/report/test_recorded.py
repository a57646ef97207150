"""A recording of another plan, of other programs or of other roles is outdated."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from bench.measure.side_by_side import RIVALS, STACK, loads_of
from bench.plan import CLUSTER, FULL, WATCHED
from bench.report.recorded import outdated
from tests.recordings import cluster_recording, hops, recorded_bench, recording

SIDE = FULL.side_by_side
HOPS = tuple(
    hop
    for rival in RIVALS
    for load in loads_of(rival, SIDE)
    for hop in hops(rival.name, load.rate, figure=1, ticks_a_message=load.ticks_a_message)
)
ROLES = {"gateway", "watchdog"}
ANOTHER_PLAN = msgspec.structs.replace(
    FULL, side_by_side=msgspec.structs.replace(SIDE, rounds=SIDE.rounds + 1)
)


@pytest.mark.parametrize(
    ("roles", "figures", "difference"),
    [
        (ROLES, {}, None),
        (ROLES, {"plan": ANOTHER_PLAN}, "another plan of side_by_side"),
        (ROLES | {"dashboard"}, {}, "other roles: dashboard"),
        ({"gateway"}, {}, "other roles: watchdog"),
        ({"gateway"}, {"gaps": ["daemons at rest: the ring is not full"]}, None),
        (ROLES, {"hops": [h for h in HOPS if h.name != "ZeroMQ"]}, "other loads of ZeroMQ"),
        (ROLES, {"hops": HOPS + hops("Telegraph", 0.0, figure=1)}, "other loads of Telegraph"),
        (ROLES, {"hops": HOPS[3:], "gaps": [f"{HOPS[0].name}: no"]}, None),
        (ROLES, {"hops": HOPS + hops(STACK, 0.0, figure=1, ticks_a_message=0)}, None),
    ],
)
def test_what_is_not_of_today_and_has_no_gap_is_named(roles, figures, difference):
    bench = recorded_bench(recording(**{"hops": HOPS} | figures))

    assert outdated(bench, roles) == ([f"results.json: {difference}"] if difference else [])


def test_a_watched_recording_of_another_plan_is_named():
    bench = recorded_bench(recording(hops=HOPS))
    watched = msgspec.structs.replace(
        bench.watched, plan=msgspec.structs.replace(WATCHED, rounds=1)
    )

    assert outdated(replace(bench, watched=watched), ROLES) == ["watched.json: another plan"]


def test_a_recording_of_a_cluster_may_be_missing_but_not_of_another_plan():
    bench = recorded_bench(recording(hops=HOPS))
    plan = msgspec.structs.replace(CLUSTER, subscribers=(1,))
    other = cluster_recording(plan=plan)

    assert outdated(replace(bench, cluster=None), ROLES) == []
    assert outdated(replace(bench, cluster=other), ROLES) == ["cluster.json: another plan"]
