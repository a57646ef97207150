"""Draw the plots of the reliability section from the recorded figures, in the house style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from chaos.lab.recorder import LOOK_S
from chaos.report.series import Series
from chaos.storms.planned_faults import FaultKind
from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.reports.plotting import (
    DOTS,
    GOAL,
    GRID,
    MEDIAN,
    ROW_INCHES,
    SPREAD,
    WIDTH_INCHES,
    height_in_row,
    house_style,
    plain_ticks,
    save,
)

STALE: Final = "#f6d5d0"
LEAST_MS: Final = LOOK_S * 1000
"""The resolution of the recorder: shorter times cannot be distinguished."""
SHORTEST_SHOWN_S: Final = 0.25
"""The length of the bar of a fault that is over at once."""


def draw_recovery(series: Sequence[Series], file: Path) -> None:
    """Draw a row of dots for each series, over a logarithmic scale in ms."""
    shown = [one for one in series if one.times_ns]
    with house_style():
        figure, axes = pyplot.subplots(
            figsize=(WIDTH_INCHES, 1.2 + ROW_INCHES * len(shown)), layout="constrained"
        )
        for row, one in enumerate(shown):
            _draw_row(axes, row, one)
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        axes.set_xlabel(f"milliseconds from the fault ({LEAST_MS:g}: or less)")
        axes.set_yticks(range(len(shown)), [f"{s.what}: {s.step}" for s in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)  # the first row is at the top
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
        save(figure, file)


def _draw_row(axes: Axes, row: int, series: Series) -> None:
    times_ms = sorted(max(time_ns / MILLISECOND_NS, LEAST_MS) for time_ns in series.times_ns)
    heights = [height_in_row(row, number) for number in range(len(times_ms))]
    axes.plot(times_ms, heights, "o", color=DOTS, alpha=0.6, markersize=4, markeredgewidth=0)
    _draw_line(axes, row, median(times_ms), MEDIAN, 1.6)
    if series.goal_ns is not None:
        _draw_line(axes, row, series.goal_ns / MILLISECOND_NS, GOAL, 2.2)
    if row == 0:
        labels = ("one recovery", "median", "goal for the median")
        for line, label in zip(axes.lines, labels, strict=False):
            line.set_label(label)


def _draw_line(axes: Axes, row: int, time_ms: float, colour: str, width: float) -> None:
    axes.plot([time_ms] * 2, [row - 0.36, row + 0.36], color=colour, linewidth=width)


def draw_storm(storm: dict[str, Any], file: Path) -> None:
    """Draw the timeline of a storm: its faults by kind, with ticks and orders over time."""
    faults_of = {
        kind: [fault for fault in storm["gusts"] if fault["kind"] == kind.name.lower()]
        for kind in FaultKind
    }
    kinds = [kind for kind in FaultKind if faults_of[kind]]
    with house_style():
        figure, (faults, ticks, orders) = pyplot.subplots(
            3,
            figsize=(WIDTH_INCHES, 3.2 + ROW_INCHES * len(kinds)),
            sharex=True,
            height_ratios=(ROW_INCHES * len(kinds), 1.1, 0.8),
            layout="constrained",
        )
        for row, kind in enumerate(kinds):
            for number, fault in enumerate(faults_of[kind]):
                _draw_fault(faults, row, number, fault)
        faults.set_yticks(range(len(kinds)), kinds)
        faults.set_ylim(len(kinds) - 0.5, -0.5)
        faults.grid(axis="y", color="#eeeeee", linewidth=0.6)
        for axes, key, label in (
            (ticks, "evaluated_per_s", "ticks evaluated\nin a second"),
            (orders, "orders_per_s", "orders sent\nin a second"),
        ):
            counts = storm[key]
            axes.stairs(counts, range(len(counts) + 1), fill=True, color=DOTS, alpha=0.8)
            axes.set_ylabel(label)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        for axes in (faults, ticks, orders):
            for stretch in storm["stale"]:
                begin_s, length_s = _s(stretch["begin_ns"]), _s(stretch["length_ns"])
                axes.axvspan(begin_s, begin_s + length_s, color=STALE, linewidth=0, zorder=0)
        orders.set_xlim(0, _s(storm["steady_ns"]) * 1.04)  # room for the label of the last one
        orders.set_xlabel("seconds from the beginning (shaded: no tick reaches the strategy)")
        save(figure, file)


def _draw_fault(axes: Axes, row: int, number: int, fault: dict[str, Any]) -> None:
    begin_s = _s(fault["begin_ns"])
    length_s = max(SHORTEST_SHOWN_S, _s(fault["end_ns"]) - begin_s)
    axes.barh(row, length_s, left=begin_s, height=0.55, color=DOTS, alpha=0.75, linewidth=0)
    height = row + SPREAD * (1 if number % 2 else -1)  # so that neighbours can both be read
    axes.text(begin_s + length_s + 0.15, height, fault["victim"], va="center", fontsize=6.5)


def _s(time_ns: int) -> float:
    return time_ns / SECOND_NS
