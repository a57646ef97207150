"""The figures of clusters as the report shows them, and a report without them."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.report.cluster import cluster_figures
from chaos.report.recorded import RecordedExperiments
from lib.clock import SECOND_NS
from lib.reports.errors import ReportError
from lib.reports.machine import machine_facts


def outage(claimed_s: float | None, refused: bool | None = None) -> dict[str, Any]:
    claimed_ns = None if claimed_s is None else round(claimed_s * SECOND_NS)
    stale_ns = answered_ns = SECOND_NS
    return {
        "claimed_ns": claimed_ns,
        "stale_ns": stale_ns,
        "answered_ns": answered_ns,
        "was_refused": refused,
    }


def case(title: str, takes_over: bool, *outages: dict[str, Any]) -> dict[str, Any]:
    return {"name": title, "title": title, "takes_over": takes_over, "outages": list(outages)}


def experiment(**figures: Any) -> dict[str, Any]:
    counts = {"missed": 0, "repeated": 0, "out_of_order": 0}
    return {"orders": {"sent": 5, "lost": 0, "doubled": 0}, "ticks_at_book": counts, **figures}


STORM = {
    "faults": [
        {"kind": "host_killed", "victim": "order-1"},
        {"kind": "host_killed", "victim": "order-1"},
    ],
    "skipped": {"broker_frozen": 1},
    "evaluated_per_s": [200, 100],
    "orders_per_s": [2, 1],
    "stale": [{"length_ns": 7}, {"length_ns": 9}],
    "last_fault_ns": 10,
    "whole_ns": 30,
}
FIGURES = {
    "break_cluster": experiment(
        goal_ns=4 * SECOND_NS,
        cases=[
            case("killed", True, outage(3), outage(3.5)),
            case("frozen", True, outage(4, True), outage(3.25, False)),
            case("a role", False, outage(1), outage(None)),
        ],
    ),
    "storm_cluster": experiment(storms=[STORM]),
}


def recorded(figures: dict[str, Any]) -> RecordedExperiments:
    entries = [{"name": name, "exit_code": 0, "took_s": 60} for name in FIGURES]
    return RecordedExperiments({"machine": machine_facts(), "experiments": entries}, figures)


def test_takeovers_are_those_by_another_host() -> None:
    found = cluster_figures(recorded(FIGURES))
    assert found is not None
    assert (found["takeovers"], found["takeover_ns"], found["longest_takeover_ns"]) == (
        4,
        3.375 * SECOND_NS,
        4 * SECOND_NS,
    )
    assert found["refused"] == (1, 2)
    assert found["costs"][2] == ("a role", 2, ["1.00 / 1.00", "1.00 / 1.00", "1.00 / 1.00"])
    assert (found["faults"], found["totals"]["sent"]) == (8, 10)


def test_the_same_fault_in_several_experiments_is_one_row() -> None:
    more = experiment(goal_ns=4 * SECOND_NS, cases=[case("killed", True, outage(5))])
    found = cluster_figures(recorded({**FIGURES, "succeed_writers": more}))
    assert found is not None
    assert found["costs"][0] == ("killed", 3, ["3.50 / 5.00", "1.00 / 1.00", "1.00 / 1.00"])
    assert len(found["costs"]) == 3


def test_a_storm_is_summed_up_by_kind_of_fault() -> None:
    found = cluster_figures(recorded(FIGURES))
    assert found is not None
    [storm] = found["storms"]
    assert storm["rows"] == [
        ("host killed", 2, 0, {"order-1": 2}),
        ("broker frozen", 0, 1, {}),
    ]
    assert (storm["ticks"], storm["orders"]) == (300, 3)
    assert (storm["longest_stale_ns"], storm["whole_ns"]) == (9, 20)


def test_figures_may_be_missing_as_a_whole_or_of_an_experiment_but_not_in_part() -> None:
    assert cluster_figures(None) is None
    found = cluster_figures(recorded({}))
    assert found is not None
    assert (found["takeover_ns"], found["storms"]) == (None, [])
    with pytest.raises(ReportError, match="`make cluster-chaos` records them again"):
        cluster_figures(recorded({"break_cluster": experiment(goal_ns=1, cases=[{}])}))
