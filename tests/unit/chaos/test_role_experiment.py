"""What follows from the figures of a role that was hit: reasons and goals."""

from __future__ import annotations

import signal
from dataclasses import replace

from chaos.faults.role_faults import FRESH_TICK_NS, THAW_NS, Freeze, Goal, Restart, SendSignal
from chaos.lab.experiment import GOAL_ROUNDS
from chaos.lab.figures import FaultFigures
from chaos.role_experiment import RoleExperiment
from lib.clock import MILLISECOND_NS, to_ns
from lib.settings import Settings, WatchdogSettings

GOAL = Goal("respawn_ns", 10 * MILLISECOND_NS)


def recovered(milliseconds: int) -> FaultFigures:
    ns = milliseconds * MILLISECOND_NS
    return FaultFigures(ns, ns, ns, None, ns, ns, ())


def experiment(*found: FaultFigures) -> RoleExperiment:
    made = RoleExperiment("drop_gateway", SendSignal("gateway", signal.SIGKILL), len(found))
    made.found += found
    made._goal = GOAL
    return made


def test_a_fault_without_recovery_and_a_missed_goal_are_reasons() -> None:
    assert experiment(*[recovered(10)] * GOAL_ROUNDS).reasons() == []
    assert experiment(*[recovered(11)] * (GOAL_ROUNDS - 1)).reasons() == []  # too few to say
    stuck = replace(recovered(11), pending=("gateway is back",))
    assert experiment(*[recovered(11)] * (GOAL_ROUNDS - 1), stuck).reasons() == [
        "fault 20: timed out waiting until gateway is back",
        "respawn: 11.0 ms is the median of 20, the goal is 10 ms",
    ]


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
