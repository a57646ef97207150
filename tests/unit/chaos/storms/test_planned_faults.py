"""The plan of a storm: the same by seed, within its bounds, and what may be hit when."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from chaos.faults.connection_faults import Close, Direction
from chaos.lab.recorder import SUPERVISORD, Event
from chaos.lab.target import YOUNG_S
from chaos.storms.planned_faults import (
    CLIENT_KINDS,
    EVERYBODY,
    LASTING_KINDS,
    LONGEST_PAUSE_S,
    LONGEST_S,
    LULL_S,
    MOST_BYTES,
    PLAIN_KINDS,
    PROXY_KINDS,
    ROLE_KINDS,
    SHORTEST_PAUSE_S,
    SHORTEST_S,
    STREAMS,
    FaultKind,
    PlannedFault,
    RoleInstance,
    RoleInstances,
    may_hit,
    plan,
)
from lib.clock import to_ns

KINDS = (*PLAIN_KINDS, *PROXY_KINDS)
ROLES = ("gateway", "orderbook", "strategy")
YOUNG_NS = to_ns(YOUNG_S)


def planned(seed: int, minutes: float = 10.0) -> list[PlannedFault]:
    return plan(Random(seed), minutes, KINDS, ROLES)


def test_the_same_seed_plans_the_same_storm_and_another_one_another() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


def test_garbage_has_a_seed_of_its_own() -> None:
    seeds = [gust.seed for gust in planned(1) if gust.kind is FaultKind.NOISE]
    assert len(set(seeds)) == len(seeds) > 10


def test_there_is_no_kind_that_is_neither_plain_nor_a_proxys() -> None:
    assert sorted(KINDS) == sorted(FaultKind)


@pytest.mark.parametrize("seed", range(20))
def test_gusts_come_in_order_of_time_and_within_the_storm(seed: int) -> None:
    gusts = planned(seed)
    assert all(a.at_s <= b.at_s for a, b in pairwise(gusts))
    assert gusts[0].at_s > 0
    assert gusts[-1].at_s < 600
    assert 250 < len(gusts) < 450


@pytest.mark.parametrize("seed", range(20))
def test_what_has_to_be_ended_lasts_within_bounds_and_nothing_else_lasts(seed: int) -> None:
    for gust in planned(seed):
        if gust.kind is FaultKind.PAUSE:
            assert SHORTEST_PAUSE_S <= gust.lasts_s <= LONGEST_PAUSE_S
        elif gust.kind in LASTING_KINDS:
            assert SHORTEST_S <= gust.lasts_s <= LONGEST_S
        else:
            assert gust.lasts_s == 0


def test_faults_overlap() -> None:
    gusts = planned(1)
    ends = [gust.at_s + gust.lasts_s for gust in gusts]
    assert sum(end > later.at_s for end, later in zip(ends, gusts[1:], strict=False)) > 50


def test_a_lull_comes_before_all_roles_are_hit_at_once() -> None:
    pairs = [(a, b) for a, b in pairwise(planned(1)) if b.kind is FaultKind.EVERYTHING]
    assert len(pairs) > 10
    assert all(b.at_s - a.at_s >= LULL_S for a, b in pairs)


def test_every_kind_comes_once_before_any_comes_again() -> None:
    gusts = planned(3)
    dealt = [{gust.kind for gust in gusts[i : i + len(KINDS)]} for i in (0, len(KINDS))]
    assert dealt == [set(KINDS), set(KINDS)]


def test_a_long_storm_hits_everybody_with_everything_in_each_direction() -> None:
    hit = {(g.kind, g.victims[0], g.fault.to if g.fault else None) for g in planned(4)}
    assert hit == {
        *((kind, role, None) for kind in ROLE_KINDS for role in ROLES),
        *((kind, stream, None) for kind in CLIENT_KINDS for stream in STREAMS),
        *(
            (kind, stream, to)
            for kind in PROXY_KINDS
            for stream in STREAMS
            for to in (Direction.BOTH, Direction.TO_CLIENT, Direction.TO_SERVER)
        ),
        (FaultKind.EVERYTHING, EVERYBODY, None),
    }


def test_where_the_first_victim_is_not_fit_there_are_others_to_hit() -> None:
    for gust in planned(1):
        everybody = {
            **dict.fromkeys(ROLE_KINDS, ROLES),
            FaultKind.EVERYTHING: (EVERYBODY,),
        }.get(gust.kind, STREAMS)
        assert sorted(gust.victims) == sorted(everybody)


def test_a_close_comes_within_the_first_bytes() -> None:
    counts = [g.fault.after_bytes for g in planned(5) if isinstance(g.fault, Close)]
    assert 1 <= min(counts) < max(counts) <= MOST_BYTES


def test_without_proxies_no_connection_is_harmed() -> None:
    gusts = plan(Random(1), 10, PLAIN_KINDS, ROLES)
    assert {gust.kind for gust in gusts} == set(PLAIN_KINDS)
    assert all(gust.fault is None for gust in gusts)


@pytest.mark.parametrize(
    ("age_ns", "may"), [(0, False), (YOUNG_NS - 1, False), (YOUNG_NS, True), (10**12, True)]
)
def test_a_role_is_hit_when_it_has_come_to_age(age_ns: int, may: bool) -> None:
    assert may_hit(RoleInstance(pid=1, spawned_ns=1000), 1000 + age_ns) is may


def test_a_role_that_is_dead_is_not_hit() -> None:
    assert not may_hit(RoleInstance(pid=1, spawned_ns=None), 10**12)


def supervisord_says(at_ns: int, name: str, role: str) -> Event:
    return Event(at_ns, SUPERVISORD, name, {"role": role})


def test_a_role_begins_a_new_life_with_every_process() -> None:
    lives = RoleInstances({"gateway": 10, "strategy": 11})
    assert may_hit(lives.of("gateway"), YOUNG_NS)
    lives.take([supervisord_says(500, "ended", "gateway")])
    assert not may_hit(lives.of("gateway"), 10 * YOUNG_NS)
    lives.take(
        [
            supervisord_says(600, "spawned", "gateway"),
            Event(700, "gateway", "started", {"pid": 20}),
        ]
    )
    assert lives.of("gateway") == RoleInstance(pid=20, spawned_ns=600)
    assert lives.of("strategy") == RoleInstance(pid=11, spawned_ns=0)


def test_a_role_that_supervisord_has_given_up_is_not_hit() -> None:
    lives = RoleInstances({"gateway": 10})
    lives.take([supervisord_says(500, "given_up", "gateway")])
    assert not may_hit(lives.of("gateway"), 10 * YOUNG_NS)


def test_events_of_others_change_no_life() -> None:
    lives = RoleInstances({"gateway": 10})
    lives.take(
        [
            supervisord_says(500, "ended", "somebody"),
            Event(600, "lab", "continued", {"role": "gateway"}),
            Event(700, "gateway", "connected", {"pid": 99}),
        ]
    )
    assert lives.of("gateway") == RoleInstance(pid=10, spawned_ns=0)
