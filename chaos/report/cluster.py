"""What the report shows of the experiments with a cluster, by the name that its pages use. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from chaos.lab.experiment import EXIT_HOLDS
from chaos.report.recorded import (
    CLUSTER_RECORDED,
    Figures,
    RecordedExperiments,
    require_figures,
)
from chaos.report.series import times_of
from lib.clock import SECOND_NS
from lib.reports.machine import processor

COSTS: Final = ("claimed_ns", "stale_ns", "answered_ns")
"""What each fault costs (`chaos.lab.outage`), in the order of the columns."""


def cluster_figures(recorded: RecordedExperiments | None) -> dict[str, Any] | None:
    """Return the figures of all pages; None if there are none. Raises ReportError."""
    if recorded is None:
        return None
    with require_figures(CLUSTER_RECORDED):
        recording, figures = recorded.recording, recorded.figures
        entries = [(entry, figures.get(entry["name"])) for entry in recording["experiments"]]
        cases = _cases(figures)
        goals_ns = [one["goal_ns"] for one in figures.values() if "cases" in one]
        takeovers_ns = [
            time_ns
            for case in cases
            if case["takes_over"]
            for time_ns in times_of(case["outages"], "claimed_ns")
        ]
        storms = figures.get("storm_cluster", {}).get("storms", [])
        return {
            "recording": recording,
            "machine": processor(recording["machine"]),
            "took_s": sum(entry["took_s"] for entry, _ in entries),
            "experiments": entries,
            "holding": sum(entry["exit_code"] == EXIT_HOLDS for entry, _ in entries),
            "totals": _totals(figures),
            "faults": sum(len(case["outages"]) for case in cases)
            + sum(len(storm["faults"]) for storm in storms),
            "takeovers": len(takeovers_ns),
            "takeover_ns": median(takeovers_ns) if takeovers_ns else None,
            "longest_takeover_ns": max(takeovers_ns, default=None),
            "goal_ns": max(goals_ns, default=None),
            "refused": _refused(cases),
            "costs": [_cost_row(case) for case in cases],
            "storms": [_storm(storm) for storm in storms],
        }


def _cases(figures: dict[str, Figures]) -> list[Figures]:
    """Return the ways in which clusters were broken, each with all its outages."""
    cases: dict[str, Figures] = {}
    for one in figures.values():
        for case in one.get("cases", []):
            known = cases.setdefault(case["name"], case | {"outages": []})
            known["outages"] = [*known["outages"], *case["outages"]]
    return list(cases.values())


def _totals(figures: dict[str, Figures]) -> Counter[str]:
    """Return what happened to ticks, at the book and at the strategy, and to orders."""
    counts = Counter[str]()
    for one in figures.values():
        counts.update(one["orders"] | one["ticks_at_book"])
    return counts


def _refused(cases: Sequence[Figures]) -> tuple[int, int]:
    """Return how many writers were refused when they woke, and how many woke."""
    found = [one["was_refused"] for case in cases for one in case["outages"]]
    return found.count(True), len(found) - found.count(None)


def _cost_row(case: Figures) -> tuple[str, int, list[str]]:
    """Return of a way to break a cluster: its title, how often, and the spread of each cost."""
    return case["title"], len(case["outages"]), [_spread(case["outages"], name) for name in COSTS]


def _spread(outages: Sequence[Figures], name: str) -> str:
    """Return median and longest in seconds."""
    times_ns = times_of(outages, name)
    if not times_ns:
        return "-"
    return f"{median(times_ns) / SECOND_NS:.2f} / {max(times_ns) / SECOND_NS:.2f}"


def _storm(storm: Figures) -> dict[str, Any]:
    kinds = dict.fromkeys([*(one["kind"] for one in storm["faults"]), *storm["skipped"]])
    return {
        "ticks": sum(storm["evaluated_per_s"]),
        "orders": sum(storm["orders_per_s"]),
        "longest_stale_ns": max(times_of(storm["stale"], "length_ns"), default=0),
        "whole_ns": storm["whole_ns"] - storm["last_fault_ns"],
        "rows": [
            (kind.replace("_", " "), len(hit), storm["skipped"].get(kind, 0), Counter(hit))
            for kind in kinds
            for hit in [[one["victim"] for one in storm["faults"] if one["kind"] == kind]]
        ],
    }
