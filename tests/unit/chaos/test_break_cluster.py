"""What follows from what the faults of a cluster have cost."""

from __future__ import annotations

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from chaos.break_cluster import CASES, ENOUGH_TAKEOVERS, BreakCluster, Broken
from chaos.lab.outage import Outage
from lib.clock import SECOND_NS

KILLED, FROZEN = (
    next(case for case in CASES if case.name == name)
    for name in ("market_host_killed", "order_host_frozen")
)


def broken(claimed_s: int, *pending: str, refused: bool | None = None) -> Broken:
    case = FROZEN if refused is not None else KILLED
    return Broken(case.name, "host-1", Outage(claimed_s * SECOND_NS, 5, 6, pending), refused)


def experiment(*found: Broken) -> BreakCluster:
    made = BreakCluster(CASES, 1)
    made.found += found
    made._goal_ns = 4 * SECOND_NS
    return made


def test_a_fault_without_recovery_and_a_writer_that_was_not_refused_are_reasons() -> None:
    assert experiment(broken(3), broken(3, refused=True)).reasons() == []
    assert experiment(
        broken(3), broken(3, "it works", "it trades"), broken(3, refused=False)
    ).reasons() == [
        "fault 2, market_host_killed of host-1: timed out until it works and until it trades",
        "fault 3, order_host_frozen of host-1: the writer that woke has not noticed that it is "
        "none",
    ]


def test_the_goal_for_takeovers_is_judged_from_enough_of_them_on() -> None:
    slow = [broken(5)] * ENOUGH_TAKEOVERS
    assert experiment(*slow[1:]).reasons() == []
    assert experiment(*slow).reasons() == ["takeovers: 5.0, 5.0 s, the goal is 4 s"]
    assert experiment(*slow[:2], *[broken(4)] * ENOUGH_TAKEOVERS).reasons() == []


def test_every_way_to_break_a_cluster_has_its_figures_and_a_row() -> None:
    made = experiment(broken(3), broken(4))
    [first, *_] = cases = made.figures()["cases"]
    assert [case["name"] for case in cases] == [case.name for case in CASES]
    assert [one["claimed_ns"] for one in first["outages"]] == [3 * SECOND_NS, 4 * SECOND_NS]
    rows = made.table()
    assert all(any(case.title in row for row in rows) for case in CASES)
    assert rows[-1] == "takeovers: 3.5, 4.0 s, goal 4 s"
