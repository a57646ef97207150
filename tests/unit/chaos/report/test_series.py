"""Times are held against their goals, of one fault alone and of several together."""

from __future__ import annotations

import pytest

from chaos.lab.experiment import GOAL_ROUNDS
from chaos.report.series import (
    ENOUGH_MISSES,
    MISSED,
    REACHED,
    connection_series,
    goal_series,
    missed_goals,
)
from lib.clock import MILLISECOND_NS
from tests.recordings import cut_case, experiment, role_hit

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


@pytest.mark.parametrize(("time_ms", "judgement"), [(120, REACHED), (121, MISSED)])
def test_a_gateway_with_a_large_tape_is_held_against_the_one_with_the_random_walk(
    time_ms, judgement
):
    figures = {
        "drop_gateway": role_hit("gateway", [100] * GOAL_ROUNDS),
        "drop_gateway_large_tape": role_hit("gateway", [time_ms] * GOAL_ROUNDS, "drop_gateway")
        | {"fault": "SIGKILL of gateway with a tape", "tape_ticks": 7},
    }

    walk, tape = goal_series(figures)
    assert (walk.goal_ns, tape.goal_ns) == (400 * MILLISECOND_NS, 120 * MILLISECOND_NS)
    assert tape.judgement == judgement
    alone = {"drop_gateway_large_tape": figures["drop_gateway_large_tape"]}
    assert goal_series(alone)[0].goal_ns == 400 * MILLISECOND_NS


def test_freezes_are_judged_together_which_hides_no_role_that_always_misses_its_goal():
    figures = {
        f"freeze_{role}": role_hit(role, [time_ms] * 5, "freeze", "order_possible_ns")
        for role, time_ms in (("gateway", 401), ("orderbook", 300), ("strategy", 300), ("x", 300))
    }

    found = goal_series(figures | {"drop_gateway": role_hit("gateway", [100])})
    [together] = [one for one in found if one.what == "SIGSTOP, all roles together"]
    assert (len(together.times_ns), together.judgement) == (20, REACHED)
    assert [one.role for one in found if one.judgement == MISSED] == ["gateway"]
    [missed] = missed_goals(figures)
    assert missed.startswith("SIGSTOP of gateway: ")
    assert missed.endswith("401.0 ms, the goal is 400 ms")


def test_cuts_are_grouped_by_whether_the_client_is_notified():
    cases = [
        cut_case("price", 50, [4.0, 6.0]),
        cut_case("news", 50, [8.0]),
        cut_case("price", 2600, [2500.0]),
        cut_case("price", None, [None]),
    ]
    figures = {"cut_connection": experiment(cases=cases)}

    def times_ms(series):
        return [[ns / MILLISECOND_NS for ns in one.times_ns] for one in series]

    assert times_ms(goal_series(figures)) == [[4, 6, 8], [2500]]
    assert times_ms(connection_series(figures)) == [[4, 6], [8], [2500], []]
