"""The verdict of an experiment, as it is printed and recorded; putting back what was broken."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from chaos.corrupt_feed import CorruptFeed
from chaos.lab.experiment import ExperimentResult, putting_back, report_text, to_json
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.target import TargetError
from chaos.lab.verdict import Totals
from lib.stack.long_program import Interrupted


@pytest.mark.parametrize("reasons", [[], ["this", "that"]])
def test_report_and_json_have_the_figures_the_totals_and_the_verdict(reasons: list[str]) -> None:
    result = ExperimentResult(
        Totals(TickCounts(1, 2, 3), TickCounts(4, 5, 6), OrderCounts(7, 0, 0, 0, 0)), reasons
    )
    text = report_text(CorruptFeed(1), result)
    assert "orders: 7 sent, 0 lost, 0 doubled, 0 expired, 0 discarded" in text
    verdict = "the hypothesis does not hold:\n  this\n  that" if reasons else "the hypothesis holds"
    assert text.endswith(verdict)
    partly = replace(result, not_judged="orders")
    assert report_text(CorruptFeed(1), partly).endswith(f"{verdict}\nnot judged: orders")
    assert to_json(CorruptFeed(1), 3, partly)["not_judged"] == "orders"
    figures = json.loads(json.dumps(to_json(CorruptFeed(1), 3, result)))
    assert (figures["harms"], figures["seed"], figures["orders"]["sent"]) == ([], 3, 7)
    assert figures["ticks_at_book"] == {"missed": 1, "repeated": 2, "out_of_order": 3}
    assert figures["ticks_at_strategy"] == {"missed": 4, "repeated": 5, "out_of_order": 6}
    assert (figures["holds"], figures["reasons"]) == (not reasons, reasons)


class Breaking(CorruptFeed):
    """Tracks what is broken; its `put_back` may be interrupted or fail."""

    def __init__(self, *disturbances: BaseException) -> None:
        super().__init__(1)
        self.broken = True
        self._disturbances = list(disturbances)

    def put_back(self) -> None:
        if self._disturbances:
            raise self._disturbances.pop(0)
        self.broken = False


def test_what_is_broken_is_put_back_though_block_or_putting_back_is_interrupted() -> None:
    experiment = Breaking()
    with putting_back(experiment):
        assert experiment.broken
    assert not experiment.broken
    experiment = Breaking()
    with pytest.raises(Interrupted), putting_back(experiment):
        raise Interrupted
    assert not experiment.broken
    experiment = Breaking(Interrupted())
    with pytest.raises(Interrupted), putting_back(experiment):
        pass
    assert not experiment.broken


def test_an_interruption_stays_one_where_nothing_could_be_put_back() -> None:
    said = "chaos/corrupt_feed.py: could not be put back: supervisord is gone"
    failing = Breaking(TargetError("supervisord is gone"))
    with pytest.raises(Interrupted, match=said), putting_back(failing):
        raise Interrupted
    with pytest.raises(TargetError), putting_back(Breaking(TargetError("gone"))):
        pass
