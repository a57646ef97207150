"""The plan of a storm: reproducible by seed, within its bounds; and when a role may be hit."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from chaos.faults.connection_faults import Close, Direction
from chaos.lab.recorder import SUPERVISORD, Event
from chaos.lab.target import YOUNG_S
from chaos.storms.planned_faults import (
    ALL_ROLES,
    CLIENT_KINDS,
    LASTING_KINDS,
    LONGEST_PAUSE_S,
    LONGEST_S,
    MOST_BYTES,
    PLAIN_KINDS,
    PROXY_KINDS,
    QUIET_BEFORE_ALL_S,
    ROLE_KINDS,
    SHORTEST_PAUSE_S,
    SHORTEST_S,
    STREAMS,
    FaultKind,
    PlannedFault,
    RoleInstance,
    RoleInstances,
    may_inject,
    plan_storm,
)
from lib.clock import to_ns
from tests.log_lines import recorded

KINDS = (*PLAIN_KINDS, *PROXY_KINDS)
ROLES = ("gateway", "orderbook", "strategy")
YOUNG_NS = to_ns(YOUNG_S)


def planned(seed: int, minutes: float = 10.0) -> list[PlannedFault]:
    return plan_storm(Random(seed), minutes, KINDS, ROLES)


def test_the_same_seed_plans_the_same_storm_and_another_one_another() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


def test_garbage_has_a_seed_of_its_own() -> None:
    seeds = [
        planned_fault.seed for planned_fault in planned(1) if planned_fault.kind is FaultKind.NOISE
    ]
    assert len(set(seeds)) == len(seeds) > 10


def test_there_is_no_kind_that_is_neither_plain_nor_a_proxys() -> None:
    assert sorted(KINDS) == sorted(FaultKind)


@pytest.mark.parametrize("seed", range(20))
def test_planned_faults_are_in_order_and_within_the_storm(seed: int) -> None:
    planned_faults = planned(seed)
    assert all(a.at_s <= b.at_s for a, b in pairwise(planned_faults))
    assert planned_faults[0].at_s > 0
    assert planned_faults[-1].at_s < 600
    assert 250 < len(planned_faults) < 450


@pytest.mark.parametrize("seed", range(20))
def test_faults_that_the_lab_ends_last_within_bounds_and_no_others_last(seed: int) -> None:
    for planned_fault in planned(seed):
        if planned_fault.kind is FaultKind.PAUSE:
            assert SHORTEST_PAUSE_S <= planned_fault.lasts_s <= LONGEST_PAUSE_S
        elif planned_fault.kind in LASTING_KINDS:
            assert SHORTEST_S <= planned_fault.lasts_s <= LONGEST_S
        else:
            assert planned_fault.lasts_s == 0


def test_faults_overlap() -> None:
    planned_faults = planned(1)
    ends = [planned_fault.at_s + planned_fault.lasts_s for planned_fault in planned_faults]
    assert sum(end > later.at_s for end, later in zip(ends, planned_faults[1:], strict=False)) > 50


def test_a_quiet_time_comes_before_all_roles_are_hit_at_once() -> None:
    pairs = [(a, b) for a, b in pairwise(planned(1)) if b.kind is FaultKind.EVERYTHING]
    assert len(pairs) > 10
    assert all(b.at_s - a.at_s >= QUIET_BEFORE_ALL_S for a, b in pairs)


def test_every_kind_comes_once_before_any_comes_again() -> None:
    planned_faults = planned(3)
    dealt = [
        {planned_fault.kind for planned_fault in planned_faults[i : i + len(KINDS)]}
        for i in (0, len(KINDS))
    ]
    assert dealt == [set(KINDS), set(KINDS)]


def test_a_long_storm_hits_every_victim_with_every_kind_in_each_direction() -> None:
    injected = {
        (g.kind, g.victims[0], g.connection_fault.to if g.connection_fault else None)
        for g in planned(4)
    }
    assert injected == {
        *((kind, role, None) for kind in ROLE_KINDS for role in ROLES),
        *((kind, stream, None) for kind in CLIENT_KINDS for stream in STREAMS),
        *(
            (kind, stream, to)
            for kind in PROXY_KINDS
            for stream in STREAMS
            for to in (Direction.BOTH, Direction.TO_CLIENT, Direction.TO_SERVER)
        ),
        (FaultKind.EVERYTHING, ALL_ROLES, None),
    }


def test_every_planned_fault_has_other_victims_to_fall_back_on() -> None:
    for planned_fault in planned(1):
        all_victims = {
            **dict.fromkeys(ROLE_KINDS, ROLES),
            FaultKind.EVERYTHING: (ALL_ROLES,),
        }.get(planned_fault.kind, STREAMS)
        assert sorted(planned_fault.victims) == sorted(all_victims)


def test_a_close_comes_within_the_first_bytes() -> None:
    counts = [
        g.connection_fault.after_bytes for g in planned(5) if isinstance(g.connection_fault, Close)
    ]
    assert 1 <= min(counts) < max(counts) <= MOST_BYTES


def test_without_proxies_no_connection_fault_is_planned() -> None:
    planned_faults = plan_storm(Random(1), 10, PLAIN_KINDS, ROLES)
    assert {planned_fault.kind for planned_fault in planned_faults} == set(PLAIN_KINDS)
    assert all(planned_fault.connection_fault is None for planned_fault in planned_faults)


@pytest.mark.parametrize(
    ("age_ns", "may"), [(0, False), (YOUNG_NS - 1, False), (YOUNG_NS, True), (10**12, True)]
)
def test_a_role_may_be_hit_once_it_is_no_longer_young(age_ns: int, may: bool) -> None:
    assert may_inject(RoleInstance(pid=1, spawned_ns=1000), 1000 + age_ns) is may


def test_a_role_that_is_dead_is_not_hit() -> None:
    assert not may_inject(RoleInstance(pid=1, spawned_ns=None), 10**12)


def supervisord_says(at_ns: int, name: str, role: str) -> Event:
    return recorded(at_ns, SUPERVISORD, name, {"role": role})


def test_every_process_of_a_role_is_a_new_instance() -> None:
    instances = RoleInstances({"gateway": 10, "strategy": 11})
    assert may_inject(instances.current("gateway"), YOUNG_NS)
    instances.apply_events([supervisord_says(500, "ended", "gateway")])
    assert not may_inject(instances.current("gateway"), 10 * YOUNG_NS)
    instances.apply_events(
        [
            supervisord_says(600, "spawned", "gateway"),
            recorded(700, "gateway", "started", {"pid": 20}),
        ]
    )
    assert instances.current("gateway") == RoleInstance(pid=20, spawned_ns=600)
    assert instances.current("strategy") == RoleInstance(pid=11, spawned_ns=0)


def test_a_role_that_supervisord_has_given_up_is_not_hit() -> None:
    instances = RoleInstances({"gateway": 10})
    instances.apply_events([supervisord_says(500, "given_up", "gateway")])
    assert not may_inject(instances.current("gateway"), 10 * YOUNG_NS)


def test_other_events_change_no_instance() -> None:
    instances = RoleInstances({"gateway": 10})
    instances.apply_events(
        [
            supervisord_says(500, "ended", "other"),
            recorded(600, "lab", "continued", {"role": "gateway"}),
            recorded(700, "gateway", "stopped", {"pid": 99}),
        ]
    )
    assert instances.current("gateway") == RoleInstance(pid=10, spawned_ns=0)
