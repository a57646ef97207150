"""Times are held against their goals, of one fault alone and of several together."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.lab.experiment import GOAL_ROUNDS
from chaos.report.series import (
    ENOUGH_MISSES,
    MISSED,
    REACHED,
    Series,
    connection_series,
    goal_series,
    missed_goals,
    recovery_series,
)
from lib.clock import MILLISECOND_NS
from tests.recordings import cut_case, experiment, recovery, role_hit

NOT_JUDGED = f"fewer than {GOAL_ROUNDS}: not judged"


@pytest.mark.parametrize(
    ("times_ms", "judgement"),
    [
        ([400] * GOAL_ROUNDS, REACHED),
        ([401] * GOAL_ROUNDS, MISSED),
        ([400] + [401] * (GOAL_ROUNDS - 2), NOT_JUDGED),
        ([401] * (ENOUGH_MISSES - 1), NOT_JUDGED),
        ([401] * ENOUGH_MISSES, MISSED),
        ([], NOT_JUDGED),
    ],
)
def test_a_median_is_held_against_its_goal_when_there_are_enough(times_ms, judgement):
    [series] = goal_series({"drop_gateway": role_hit("gateway", times_ms)})

    assert series.judgement == judgement
    assert (series.step, series.role) == ("first fresh tick at the strategy", "gateway")
    assert len(series.times_ns) == len(times_ms)


def test_freezes_of_all_roles_are_judged_together():
    half = GOAL_ROUNDS // 2
    found = goal_series(
        {
            "freeze_gateway": frozen("gateway", [300] * half),
            "freeze_strategy": frozen("strategy", [900] * half),
            "drop_gateway": role_hit("gateway", [100]),
        }
    )

    together = the_series(found, "SIGSTOP, all roles together")
    assert len(together.times_ns) == GOAL_ROUNDS
    assert (together.median_ns, together.judgement) == (ns(600), MISSED)


def test_a_role_that_always_misses_its_goal_is_not_hidden_by_the_others():
    figures = {
        f"freeze_{role}": frozen(role, [time_ms] * 5)
        for role, time_ms in (("gateway", 401), ("orderbook", 300), ("strategy", 300), ("x", 300))
    }

    found = goal_series(figures)
    assert the_series(found, "SIGSTOP, all roles together").judgement == REACHED
    assert [one.role for one in found if one.judgement == MISSED] == ["gateway"]
    [missed] = missed_goals(figures)
    assert missed.startswith("SIGSTOP of gateway: ")
    assert "401.0 ms" in missed
    assert "400 ms" in missed


def test_cuts_are_grouped_by_whether_the_client_is_notified():
    cases = [
        cut_case("price", 50, [4.0, 6.0]),
        cut_case("news", 50, [8.0]),
        cut_case("price", 2600, [2500.0]),
        cut_case("price", None, [None]),
    ]
    figures = {"cut_connection": experiment(cases=cases)}

    assert [(one.goal_ns, one.times_ns) for one in goal_series(figures)] == [
        (ns(50), [ns(4), ns(6), ns(8)]),
        (ns(2600), [ns(2500)]),
    ]
    assert [(one.goal_ns, one.times_ns) for one in connection_series(figures)] == [
        (ns(50), [ns(4), ns(6)]),
        (ns(50), [ns(8)]),
        (ns(2600), [ns(2500)]),
        (ns(2600), []),
    ]


def test_starts_after_everything_was_killed_are_recoveries_too():
    figures = {
        "kill_everything": experiment(
            roles_killed=[recovery(900)],
            supervisord_killed=[{"departure": {}, "started_again": recovery(700)}],
        ),
        "crash_loop": experiment(
            role="gateway", rounds=[{"recovery": recovery(300)}, {"recovery": None}]
        ),
    }

    assert [(one.experiment, one.role, one.times_ns) for one in recovery_series(figures)] == [
        ("kill_everything", "", [ns(900)]),
        ("kill_everything", "", [ns(700)]),
        ("crash_loop", "gateway", [ns(300)]),
    ]
    assert goal_series(figures) == []


def frozen(role: str, times_ms: list[int]) -> dict[str, Any]:
    return role_hit(role, times_ms, "freeze", "order_possible_ns")


def ns(time_ms: int) -> int:
    return time_ms * MILLISECOND_NS


def the_series(found: list[Series], what: str) -> Series:
    [series] = [one for one in found if one.what == what]
    return series
