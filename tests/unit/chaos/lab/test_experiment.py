"""The verdict of an experiment as it is printed and written, and its goals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaos.lab.experiment import (
    GOAL_ROUNDS,
    Experiment,
    Result,
    RoundContext,
    missed_goal,
    report_text,
    to_json,
)
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.verdict import Totals
from lib.clock import MILLISECOND_NS


class Nothing(Experiment):
    name = "nothing"
    title = "nothing, once"
    hypothesis = "nothing comes of nothing"
    rounds = 1

    def run_round(self, context: RoundContext, number: int) -> None:
        pass

    def table(self) -> list[str]:
        return ["a table"]

    def reasons(self) -> list[str]:
        return []

    def figures(self) -> dict[str, Any]:
        return {"figure": 3}


@pytest.mark.parametrize("reasons", [[], ["this", "that"]])
def test_report_and_json_have_the_figures_the_totals_and_the_verdict(reasons: list[str]) -> None:
    result = Result(
        Totals(TickCounts(1, 2, 3), TickCounts(4, 5, 6), OrderCounts(7, 0, 0, 0, 0)), reasons
    )
    text = report_text(Nothing(), result)
    assert "orders: 7 sent, 0 lost, 0 doubled, 0 expired, 0 discarded" in text
    verdict = "the hypothesis does not hold:\n  this\n  that" if reasons else "the hypothesis holds"
    assert text.endswith(verdict)
    figures = json.loads(json.dumps(to_json(Nothing(), 3, result)))
    assert (figures["figure"], figures["seed"], figures["orders"]["sent"]) == (3, 3, 7)
    assert figures["ticks_at_book"] == {"missed": 1, "repeated": 2, "out_of_order": 3}
    assert figures["ticks_at_strategy"] == {"missed": 4, "repeated": 5, "out_of_order": 6}
    assert (figures["holds"], figures["reasons"]) == (not reasons, reasons)


def test_a_median_at_its_goal_has_reached_it_and_few_values_say_nothing() -> None:
    goal_ns = 5 * MILLISECOND_NS
    assert missed_goal("respawn", [goal_ns] * GOAL_ROUNDS, goal_ns) == []
    assert missed_goal("respawn", [goal_ns + 1] * (GOAL_ROUNDS - 1), goal_ns) == []
    [reason] = missed_goal("respawn", [goal_ns + 100_000] * GOAL_ROUNDS, goal_ns)
    assert reason == "respawn: 5.1 ms is the median of 20, the goal is 5 ms"
