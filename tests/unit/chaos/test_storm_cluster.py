"""The plan of a storm over a cluster, and what proves little."""

from __future__ import annotations

from random import Random

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from chaos.faults.cluster_faults import BrokersKilled, HostKilled, RoleKilled
from chaos.storm_cluster import (
    LONGEST_S,
    VICTIMS,
    Injected,
    Kind,
    Outcome,
    Planned,
    StormCluster,
    fault_rows,
    plan_cluster_storm,
)

KILLED = Planned(1.0, Kind.HOST_KILLED, ("order-1",), 2.0)


def test_a_seed_gives_one_plan_with_every_kind_in_it() -> None:
    plan = plan_cluster_storm(Random(1), 5.0)
    assert plan == plan_cluster_storm(Random(1), 5.0) != plan_cluster_storm(Random(2), 5.0)
    assert {one.kind for one in plan} == set(Kind)
    assert all(one.victim in VICTIMS[one.kind] for one in plan)
    assert sorted(one.at_s for one in plan) == [one.at_s for one in plan]
    assert max(one.at_s for one in plan) < 300
    assert max(one.lasts_s for one in plan) <= LONGEST_S


@pytest.mark.parametrize(
    ("kind", "victim", "is_busy"),
    [
        (Kind.ROLE_KILLED, ("order-1", "order_manager"), True),
        (Kind.HOST_KILLED, ("order-2",), False),
        (Kind.BROKER_FROZEN, ("b",), True),  # one broker at a time
    ],
)
def test_a_host_has_one_fault_at_a_time_and_so_have_the_brokers(
    kind: Kind, victim: tuple[str, ...], is_busy: bool
) -> None:
    storm = StormCluster(1.0, 1)
    storm._active = [
        Injected(KILLED, HostKilled("order-1"), 1),
        Injected(KILLED._replace(victim=("market-1", "uplink")), RoleKilled("market-1", "x"), 1),
        Injected(KILLED._replace(victim=("a",)), BrokersKilled("a"), 1),
    ]
    assert storm._is_busy(Planned(2.0, kind, victim, 1.0)) == is_busy


def test_a_storm_with_few_faults_proves_little() -> None:
    def storm(done: int, skipped: int) -> StormCluster:
        made = StormCluster(1.0, 1)
        outcome = Outcome([], 0)
        outcome.injected = [Injected(KILLED, HostKilled("order-1"), 1)] * done
        outcome.skipped = [KILLED] * skipped
        made.outcomes.append(outcome)
        return made

    assert storm(3, 3).reasons() == []
    assert storm(3, 4).reasons() == ["storm 1: proves little: 3 faults were done, 4 skipped"]
    assert storm(0, 0).reasons() == ["storm 1: proves little: 0 faults were done, 0 skipped"]
    [row] = [row for row in fault_rows([KILLED, KILLED], [KILLED]) if row[0] is Kind.HOST_KILLED]
    assert row == (Kind.HOST_KILLED, 1, {"order-1": 2})
