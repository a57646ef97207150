"""What follows from the figures of a role that was hit: reasons, table, JSON."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace

import pytest

from chaos.faults.role_faults import FRESH_TICK_NS, THAW_NS, Freeze, Goal, Restart, SendSignal
from chaos.lab.experiment import GOAL_ROUNDS
from chaos.lab.figures import FaultFigures
from chaos.role_experiment import RoleExperiment
from lib.clock import MILLISECOND_NS, to_ns
from lib.settings import Settings, WatchdogSettings


def recovered(milliseconds: int) -> FaultFigures:
    ns = milliseconds * MILLISECOND_NS
    return FaultFigures(ns, ns, ns, None, ns, ns, ())


def experiment(*found: FaultFigures, goal: Goal | None = None) -> RoleExperiment:
    made = RoleExperiment("drop_gateway", SendSignal("gateway", signal.SIGKILL), len(found))
    made.found += found
    made._goal = goal
    return made


def test_a_recovery_is_no_reason() -> None:
    assert experiment(recovered(1)).reasons() == []


def test_a_fault_without_recovery_is_named_with_what_is_missing() -> None:
    stuck = replace(recovered(1), pending=("gateway is back",))
    assert experiment(recovered(1), stuck).reasons() == [
        "fault 2: timed out waiting until gateway is back"
    ]


def test_a_goal_is_judged_by_the_median_of_enough_faults() -> None:
    goal = Goal("respawn_ns", 10 * MILLISECOND_NS)
    few = [recovered(11)] * (GOAL_ROUNDS - 1)
    assert experiment(*few, goal=goal).reasons() == []
    assert experiment(*few, recovered(11), goal=goal).reasons() == [
        "respawn: 11.0 ms is the median of 20, the goal is 10 ms"
    ]
    assert experiment(*[recovered(10)] * GOAL_ROUNDS, goal=goal).reasons() == []


def test_the_table_shows_median_p90_and_maximum_in_milliseconds() -> None:
    made = experiment(*map(recovered, range(10, 101, 10)), goal=Goal("respawn_ns", 60_000_000))
    table = "\n".join(made.table())
    assert re.search(r"^respawn +10 +55\.0 +90\.0 +100\.0 +60$", table, re.MULTILINE)
    assert re.search(r"^reconnection +10 +55\.0 +90\.0 +100\.0$", table, re.MULTILINE)
    assert re.search(r"^first fresh tick at the strategy +0 +- +- +-$", table, re.MULTILINE)


def test_the_figures_have_every_fault() -> None:
    figures_json = json.loads(json.dumps(experiment(recovered(5)).figures()))
    assert figures_json["rounds"][0]["respawn_ns"] == 5 * MILLISECOND_NS
    assert (figures_json["fault"], figures_json["role"], figures_json["goal"]) == (
        "SIGKILL of gateway",
        "gateway",
        None,
    )


def test_only_a_kill_and_a_watched_freeze_have_goals() -> None:
    settings = Settings()
    assert SendSignal("orderbook", signal.SIGKILL).goal(settings) == Goal(
        "fresh_tick_ns", FRESH_TICK_NS
    )
    assert SendSignal("orderbook", signal.SIGTERM).goal(settings) is None
    assert Restart("orderbook").goal(settings) is None
    hang_after_ns = to_ns(settings.watchdog.hang_after)
    assert Freeze("orderbook").goal(settings) == Goal("order_possible_ns", hang_after_ns + THAW_NS)
    assert Freeze("watchdog").goal(settings) is None
    unwatched = Settings(watchdog=WatchdogSettings(hang_after=0.0))
    assert Freeze("orderbook").goal(unwatched) is None


@pytest.mark.parametrize("role", ["gateway", "watchdog"])
def test_what_an_experiment_is_called_says_what_it_does(role: str) -> None:
    made = RoleExperiment("freeze", Freeze(role), 3)
    assert made.title == f"SIGSTOP of {role}, 3 times"
    assert made.roles == (role,)
