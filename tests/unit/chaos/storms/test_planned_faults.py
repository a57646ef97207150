"""The plan of a storm: reproducible by seed, and within its bounds."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from chaos.faults.connection_faults import Direction
from chaos.storms.planned_faults import (
    ALL_ROLES,
    CLIENT_KINDS,
    LASTING_KINDS,
    LONGEST_PAUSE_S,
    LONGEST_S,
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


def planned(seed: int) -> list[PlannedFault]:
    return plan_storm(Random(seed), 10.0, KINDS, ROLES)


def test_the_same_seed_plans_the_same_storm_and_another_one_another() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


@pytest.mark.parametrize("seed", range(20))
def test_planned_faults_are_in_order_and_only_those_that_the_lab_ends_last(seed: int) -> None:
    faults = planned(seed)
    assert 250 < len(faults) < 450
    times_s = [0.0, *(fault.at_s for fault in faults), 600.0]
    assert all(a < b for a, b in pairwise(times_s))
    for before, fault in pairwise(faults):
        if fault.kind is FaultKind.PAUSE:
            assert SHORTEST_PAUSE_S <= fault.lasts_s <= LONGEST_PAUSE_S
        elif fault.kind in LASTING_KINDS:
            assert SHORTEST_S <= fault.lasts_s <= LONGEST_S
        else:
            assert fault.lasts_s == 0
        if fault.kind is FaultKind.EVERYTHING:
            assert fault.at_s - before.at_s >= QUIET_BEFORE_ALL_S


def test_a_long_storm_hits_every_victim_with_every_kind_in_each_direction() -> None:
    faults = planned(4)
    kinds = [fault.kind for fault in faults]
    assert set(kinds[: len(KINDS)]) == set(kinds[len(KINDS) : 2 * len(KINDS)]) == set(FaultKind)
    injected = {
        (fault.kind, fault.victims[0], fault.connection_fault and fault.connection_fault.to)
        for fault in faults
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
