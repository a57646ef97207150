"""Times of one kind over all experiments, with the goal for their median: for tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from chaos.lab.experiment import GOAL_ROUNDS, cells
from chaos.lab.recovery import STEPS
from chaos.report.recorded import Figures
from lib.clock import MILLISECOND_NS

STEP_LABELS: Final = {figure: label for label, figure in STEPS}
NOTIFIED: Final = "notified"
REACHED: Final = "yes"
MISSED: Final = "**no**"
LARGE_TAPE_SHARE: Final = 1.2
"""The goal for the gateway with a large tape: at most so many times the median of the one with the
random walk, of the same recording."""
ENOUGH_MISSES: Final = 5
"""With fewer times than `GOAL_ROUNDS`, a goal is missed if this many are all above it."""
CUT: Final = "cut_connection"
FREEZE: Final = "freeze"
ALL: Final = ""
"""The role of a series of all roles, or of none."""


@dataclass(frozen=True)
class Recoveries:
    """The recoveries from one fault."""

    experiment: str
    role: str
    what: str
    rounds: Sequence[Figures]
    """The recoveries (`FaultFigures`)."""
    goal: dict[str, Any] | None = None


@dataclass(frozen=True)
class Series:
    """Times of one kind, with the goal for their median if there is one. One row of the report."""

    experiment: str
    role: str
    what: str
    step: str
    """The step of the recovery that the times lead to."""
    times_ns: list[int]
    goal_ns: int | None

    @property
    def median_ns(self) -> float | None:
        """The median, if there are any times."""
        return median(self.times_ns) if self.times_ns else None

    @property
    def headroom(self) -> float | None:
        """The goal as a multiple of the median: below 1 the median is above its goal."""
        return self.goal_ns / self.median_ns if self.goal_ns and self.median_ns else None

    @property
    def judgement(self) -> str:
        """Whether the goal is reached, as text for a table."""
        if self.goal_ns is None:
            return "no goal"
        if self.median_ns is not None and len(self.times_ns) >= GOAL_ROUNDS:
            return REACHED if self.median_ns <= self.goal_ns else MISSED
        if len(self.times_ns) >= ENOUGH_MISSES and min(self.times_ns) > self.goal_ns:
            return MISSED
        return f"fewer than {GOAL_ROUNDS}: not judged"


def recoveries(figures: dict[str, Figures]) -> list[Recoveries]:
    """Return the recoveries from each fault of processes."""
    found = [
        Recoveries(
            one["experiment"], one["role"], one["fault"], one["rounds"], _goal_of(one, figures)
        )
        for one in figures.values()
        if "fault" in one
    ]
    if everything := figures.get("kill_everything"):
        name, killed = "kill_everything", everything["roles_killed"]
        starts = [one["started_again"] for one in everything["supervisord_killed"]]
        found.append(Recoveries(name, ALL, "SIGKILL of all roles at once", killed))
        found.append(Recoveries(name, ALL, "supervisord started again after SIGKILL", starts))
    if loop := figures.get("crash_loop"):
        starts = [one["recovery"] for one in loop["rounds"] if one["recovery"]]
        what = f"{loop['role']} started by hand after a crash loop"
        found.append(Recoveries("crash_loop", loop["role"], what, starts))
    return found


def _goal_of(one: Figures, figures: dict[str, Figures]) -> dict[str, Any] | None:
    """Return the goal of an experiment; with a large tape it is relative to the random walk's."""
    goal: dict[str, Any] | None = one["goal"]
    with_random_walk = figures.get("drop_gateway")
    if goal is None or with_random_walk is None or "tape_ticks" not in one:
        return goal
    times_ns = times_of(with_random_walk["rounds"], goal["figure"])
    return goal | {"limit_ns": round(LARGE_TAPE_SHARE * median(times_ns))} if times_ns else goal


def recovery_series(figures: dict[str, Figures]) -> list[Series]:
    """Return, for each fault of processes, the time that its goal is about.

    Without a goal it is the time to the first possible order.
    """
    series = []
    for one in recoveries(figures):
        goal = one.goal or {"figure": "order_possible_ns", "limit_ns": None}
        times_ns, step = times_of(one.rounds, goal["figure"]), STEP_LABELS[goal["figure"]]
        series.append(Series(one.experiment, one.role, one.what, step, times_ns, goal["limit_ns"]))
    return series


def connection_series(figures: dict[str, Figures], *, pooled: bool = False) -> list[Series]:
    """Return the times to reconnection, by whether the client is notified, and by connection.

    `pooled`: of all connections together.
    """
    cases = cut_cases(figures)
    return [
        Series(
            CUT,
            ALL,
            f"{stream + ' connection' if stream else 'a cut connection'}, {notice}",
            "reconnection",
            times_of(cuts_of(cases, goal_ns, stream), "reconnection_ns"),
            goal_ns,
        )
        for goal_ns, notice in goal_classes(cases)
        for stream in ([""] if pooled else streams_of(cases))
    ]


def all_series(figures: dict[str, Figures]) -> list[Series]:
    """Return the series of the plot of recovery times."""
    return [*recovery_series(figures), *connection_series(figures)]


def goal_series(figures: dict[str, Figures]) -> list[Series]:
    """Return the series that have a goal, which applies to a median of `GOAL_ROUNDS` times.

    Each role is frozen less often than that, so the freezes are also judged together.
    """
    found = [series for series in recovery_series(figures) if series.goal_ns is not None]
    freezes = [series for series in found if series.experiment == FREEZE]
    times_ns = [time_ns for series in freezes for time_ns in series.times_ns]
    together = [
        replace(one, role=ALL, what="SIGSTOP, all roles together", times_ns=times_ns)
        for one in freezes[:1]  # all of them have the same goal
    ]
    return [*found, *together, *connection_series(figures, pooled=True)]


def missed_goals(figures: dict[str, Figures]) -> list[str]:
    """List the missed goals of the report, a line each."""
    return [
        f"{series.what}: the median time to {series.step} is {cells(series.times_ns)[0]} ms, "
        f"the goal is {(series.goal_ns or 0) / MILLISECOND_NS:g} ms"
        for series in goal_series(figures)
        if series.judgement == MISSED
    ]


def cut_cases(figures: dict[str, Figures]) -> list[dict[str, Any]]:
    """Return the ways in which connections were cut, each with its cuts."""
    cases: list[dict[str, Any]] = figures.get(CUT, {}).get("cases", [])
    return cases


def streams_of(cases: Iterable[dict[str, Any]]) -> list[str]:
    """Return the connections that were cut."""
    return list(dict.fromkeys(case["stream"] for case in cases))


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
