"""Times of one kind over all experiments, with the goal for their median: for tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chaos.lab.experiment import GOAL_ROUNDS, cells, missed_goal
from chaos.lab.recovery import STEPS
from chaos.report.recorded import Figures
from lib.clock import MILLISECOND_NS

STEP_LABELS: Final = {figure: label for label, figure in STEPS}
NOTIFIED: Final = "notified"
REACHED: Final = "yes"
MISSED: Final = "**no**"
ENOUGH_MISSES: Final = 5
"""With fewer times than `GOAL_ROUNDS`, a goal is missed if this many are all above it."""


@dataclass(frozen=True)
class Series:
    """Times of one kind, with the goal for their median if there is one. One row of the report."""

    what: str
    step: str
    """The step of the recovery that the times lead to."""
    times_ns: list[int]
    goal_ns: int | None

    @property
    def judgement(self) -> str:
        """Whether the goal is reached, as text for a table."""
        if self.goal_ns is None:
            return "no goal"
        if len(self.times_ns) >= GOAL_ROUNDS:
            return MISSED if missed_goal("", self.times_ns, self.goal_ns) else REACHED
        if len(self.times_ns) >= ENOUGH_MISSES and min(self.times_ns) > self.goal_ns:
            return MISSED
        return f"fewer than {GOAL_ROUNDS}: not judged"


def recoveries(figures: dict[str, Figures]) -> list[tuple[str, list[Figures]]]:
    """Return each fault with the figures of its recoveries (`FaultFigures`)."""
    found = [(one["fault"], one["rounds"]) for one in figures.values() if "fault" in one]
    if everything := figures.get("kill_everything"):
        starts = [killed["started_again"] for killed in everything["supervisord_killed"]]
        found.append(("SIGKILL of all roles at once", everything["roles_killed"]))
        found.append(("supervisord started again after SIGKILL", starts))
    if loop := figures.get("crash_loop"):
        starts = [one["recovery"] for one in loop["rounds"] if one["recovery"]]
        found.append((f"{loop['role']} started by hand after a crash loop", starts))
    return found


def recovery_series(figures: dict[str, Figures]) -> list[Series]:
    """Return, for each fault of processes, the time that its goal is about.

    Without a goal it is the time to the first possible order.
    """
    goals = {one["fault"]: one["goal"] for one in figures.values() if one.get("goal")}
    series = []
    for what, rounds in recoveries(figures):
        goal = goals.get(what, {"figure": "order_possible_ns", "limit_ns": None})
        figure, goal_ns = goal["figure"], goal["limit_ns"]
        series.append(Series(what, STEP_LABELS[figure], times_of(rounds, figure), goal_ns))
    return series


def connection_series(figures: dict[str, Figures]) -> list[Series]:
    """Return the times to reconnection, by whether the client is notified, and by connection."""
    series = []
    cases = figures.get("cut_connection", {}).get("cases", [])
    for goal_ns, notice in goal_classes(cases):
        for stream in dict.fromkeys(case["stream"] for case in cases):
            cuts = cuts_of(cases, goal_ns, stream)
            what = f"{stream} connection, {notice}"
            times_ns = times_of(cuts, "reconnection_ns")
            series.append(Series(what, "reconnection", times_ns, goal_ns))
    return series


def all_series(figures: dict[str, Figures]) -> list[Series]:
    """Return the series of the plot of recovery times."""
    return [*recovery_series(figures), *connection_series(figures)]


def goal_series(figures: dict[str, Figures]) -> list[Series]:
    """Return the series that have a goal, which applies to a median of `GOAL_ROUNDS` times.

    Each role is frozen less often than that, so the freezes are also judged together.
    """
    found = [series for series in recovery_series(figures) if series.goal_ns is not None]
    pooled: dict[tuple[str, str, int], list[int]] = {}
    for series in found:
        if series.what.startswith("SIGSTOP ") and series.goal_ns is not None:
            key = "SIGSTOP, all roles together", series.step, series.goal_ns
            pooled[key] = [*pooled.get(key, []), *series.times_ns]
    for goal_ns, notice in goal_classes(figures.get("cut_connection", {}).get("cases", [])):
        cuts = cuts_of(figures["cut_connection"]["cases"], goal_ns)
        pooled[f"a cut connection, {notice}", "reconnection", goal_ns] = times_of(
            cuts, "reconnection_ns"
        )
    return [
        *found,
        *(Series(what, step, times, goal) for (what, step, goal), times in pooled.items()),
    ]


def missed_goals(figures: dict[str, Figures]) -> list[str]:
    """List the missed goals of the report, a line each."""
    return [
        f"{series.what}: the median time to {series.step} is {cells(series.times_ns)[0]} ms, "
        f"the goal is {milliseconds(series.goal_ns)} ms"
        for series in goal_series(figures)
        if series.judgement == MISSED
    ]


def goal_classes(cases: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    """Return the goals for a cut connection, smallest first, with the case each applies to."""
    goals_ns = sorted({case["goal_ns"] for case in cases if case["goal_ns"] is not None})
    return [(goal_ns, NOTIFIED if goal_ns == goals_ns[0] else "silent") for goal_ns in goals_ns]


def cuts_of(
    cases: Iterable[dict[str, Any]], goal_ns: int | None, stream: str = ""
) -> list[Figures]:
    """Return the figures of the cuts that have this goal, of one stream or of all."""
    return [
        cut
        for case in cases
        if case["goal_ns"] == goal_ns and stream in ("", case["stream"])
        for cut in case["cuts"]
    ]


def times_of(rounds: Iterable[Figures], figure: str) -> list[int]:
    """Return the times of this name, ns, where there is one."""
    return [found[figure] for found in rounds if found[figure] is not None]


def milliseconds(time_ns: int | None) -> str:
    """Format a time in ms, "none" if there is none."""
    return "none" if time_ns is None else f"{time_ns / MILLISECOND_NS:g}"
