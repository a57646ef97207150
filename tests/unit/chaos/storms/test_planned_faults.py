"""The plan of a storm: reproducible by seed, and within its bounds."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from chaos.faults.connection_faults import Close, Direction
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
    plan_storm,
)

KINDS = (*PLAIN_KINDS, *PROXY_KINDS)
ROLES = ("gateway", "orderbook", "strategy")


def planned(seed: int, minutes: float = 10.0) -> list[PlannedFault]:
    return plan_storm(Random(seed), minutes, KINDS, ROLES)


def test_the_same_seed_plans_the_same_storm_and_another_one_another() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


def test_garbage_has_a_seed_of_its_own() -> None:
    seeds = [fault.seed for fault in planned(1) if fault.kind is FaultKind.NOISE]
    assert len(set(seeds)) == len(seeds) > 10


@pytest.mark.parametrize("seed", range(20))
def test_planned_faults_are_in_order_and_only_those_that_the_lab_ends_last(seed: int) -> None:
    faults = planned(seed)
    assert 250 < len(faults) < 450
    times_s = [0.0, *(fault.at_s for fault in faults), 600.0]
    assert all(a < b for a, b in pairwise(times_s))
    for fault in faults:
        if fault.kind is FaultKind.PAUSE:
            assert SHORTEST_PAUSE_S <= fault.lasts_s <= LONGEST_PAUSE_S
        elif fault.kind in LASTING_KINDS:
            assert SHORTEST_S <= fault.lasts_s <= LONGEST_S
        else:
            assert fault.lasts_s == 0


def test_a_quiet_time_comes_before_all_roles_are_hit_at_once() -> None:
    pairs = [(a, b) for a, b in pairwise(planned(1)) if b.kind is FaultKind.EVERYTHING]
    assert len(pairs) > 10
    assert all(b.at_s - a.at_s >= QUIET_BEFORE_ALL_S for a, b in pairs)


def test_every_kind_comes_once_before_any_comes_again() -> None:
    faults = planned(3)
    kinds = [fault.kind for fault in faults]
    dealt = [set(kinds[i : i + len(KINDS)]) for i in (0, len(KINDS))]
    assert dealt == [set(FaultKind), set(FaultKind)]


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
    for fault in planned(1):
        all_victims = {
            **dict.fromkeys(ROLE_KINDS, ROLES),
            FaultKind.EVERYTHING: (ALL_ROLES,),
        }.get(fault.kind, STREAMS)
        assert sorted(fault.victims) == sorted(all_victims)


def test_a_close_comes_within_the_first_bytes() -> None:
    counts = [
        g.connection_fault.after_bytes for g in planned(5) if isinstance(g.connection_fault, Close)
    ]
    assert 1 <= min(counts) < max(counts) <= MOST_BYTES


def test_without_proxies_no_connection_fault_is_planned() -> None:
    faults = plan_storm(Random(1), 10, PLAIN_KINDS, ROLES)
    assert {fault.kind for fault in faults} == set(PLAIN_KINDS)
    assert all(fault.connection_fault is None for fault in faults)
