"""The verdict of an experiment, as it is printed and as it is recorded."""

from __future__ import annotations

import json

import pytest

from chaos.corrupt_feed import CorruptFeed
from chaos.lab.experiment import Result, report_text, to_json
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.verdict import Totals


@pytest.mark.parametrize("reasons", [[], ["this", "that"]])
def test_report_and_json_have_the_figures_the_totals_and_the_verdict(reasons: list[str]) -> None:
    result = Result(
        Totals(TickCounts(1, 2, 3), TickCounts(4, 5, 6), OrderCounts(7, 0, 0, 0, 0)), reasons
    )
    text = report_text(CorruptFeed(1), result)
    assert "orders: 7 sent, 0 lost, 0 doubled, 0 expired, 0 discarded" in text
    verdict = "the hypothesis does not hold:\n  this\n  that" if reasons else "the hypothesis holds"
    assert text.endswith(verdict)
    figures = json.loads(json.dumps(to_json(CorruptFeed(1), 3, result)))
    assert (figures["harms"], figures["seed"], figures["orders"]["sent"]) == ([], 3, 7)
    assert figures["ticks_at_book"] == {"missed": 1, "repeated": 2, "out_of_order": 3}
    assert figures["ticks_at_strategy"] == {"missed": 4, "repeated": 5, "out_of_order": 6}
    assert (figures["holds"], figures["reasons"]) == (not reasons, reasons)
