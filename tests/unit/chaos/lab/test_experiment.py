"""The framework without a stack: the table, the JSON, goals, the command line, clean-up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaos.lab.experiment import (
    GOAL_ROUNDS,
    Experiment,
    Result,
    RoundContext,
    cells,
    command_line,
    missed_goal,
    putting_back,
    report_text,
    to_json,
)
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.target import TargetError
from chaos.lab.verdict import Totals
from lib.clock import MILLISECOND_NS
from lib.long_program import Interrupted

FINE = TickCounts(0, 0, 0)
NOTHING_WRONG = Totals(FINE, FINE, OrderCounts(sent=7, lost=0, doubled=0, expired=0, discarded=0))


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
    result = Result(NOTHING_WRONG, reasons)
    text = report_text(Nothing(), result)
    assert text.startswith("nothing, once\n\na table\n\n")
    assert "orders: 7 sent, 0 lost, 0 doubled, 0 expired, 0 discarded" in text
    verdict = "the hypothesis does not hold:\n  this\n  that" if reasons else "the hypothesis holds"
    assert text.endswith(verdict)
    figures = json.loads(json.dumps(to_json(Nothing(), 3, result)))
    assert (figures["figure"], figures["seed"], figures["orders"]["sent"]) == (3, 3, 7)
    assert (figures["experiment"], figures["holds"]) == ("nothing", not reasons)


def test_cells_are_median_p90_and_maximum_in_milliseconds() -> None:
    times_ns = [n * MILLISECOND_NS for n in (100, 10, 20, 30, 40, 50, 60, 70, 80, 90)]
    assert cells(times_ns) == ("55.0", "90.0", "100.0")
    assert cells([]) == ("-", "-", "-")


def test_a_median_at_its_goal_has_reached_it_and_few_values_say_nothing() -> None:
    goal_ns = 5 * MILLISECOND_NS
    assert missed_goal("respawn", [goal_ns] * GOAL_ROUNDS, goal_ns) == []
    assert missed_goal("respawn", [goal_ns + 1] * (GOAL_ROUNDS - 1), goal_ns) == []
    [reason] = missed_goal("respawn", [goal_ns + 100_000] * GOAL_ROUNDS, goal_ns)
    assert reason == "respawn: 5.1 ms is the median of 20, the goal is 5 ms"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--times", "0"], "a number from 1 to"),
        (["--times", "many"], "a number from 1 to"),
        (["--json", "/no/such/directory/x.json"], "a directory that exists"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_what_would_be_right(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line("drop_gateway", "").parse_args(options)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


class Breaking(Nothing):
    """Tracks what is broken; its `put_back` may be interrupted or fail."""

    def __init__(self, *disturbances: BaseException) -> None:
        self.broken = True
        self._disturbances = list(disturbances)

    def put_back(self) -> None:
        if self._disturbances:
            raise self._disturbances.pop(0)
        self.broken = False


@pytest.mark.parametrize("disturbances", [[], [Interrupted()]])
def test_what_is_broken_is_put_back_also_after_an_interruption(
    disturbances: list[BaseException],
) -> None:
    experiment = Breaking()
    with putting_back(experiment):
        assert experiment.broken
    assert not experiment.broken
    experiment = Breaking(*disturbances)
    with pytest.raises(Interrupted), putting_back(experiment):
        raise Interrupted
    assert not experiment.broken


def test_an_interruption_stays_one_where_nothing_could_be_put_back() -> None:
    experiment = Breaking(TargetError("supervisord is gone"))
    said = "chaos/nothing.py: could not be put back: supervisord is gone"
    with pytest.raises(Interrupted, match=said), putting_back(experiment):
        raise Interrupted
    with pytest.raises(TargetError), putting_back(Breaking(TargetError("gone"))):
        pass
