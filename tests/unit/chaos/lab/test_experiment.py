"""The verdict of an experiment, as it is printed and as it is recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaos.lab.experiment import (
    Experiment,
    Result,
    RoundContext,
    report_text,
    to_json,
)
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.verdict import Totals


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
