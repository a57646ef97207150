"""Measures the recovery of roles that were hit, until it is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any, Final

from chaos.lab.experiment import cells
from chaos.lab.figures import FaultFigures, measure
from chaos.lab.recorder import Recorder

LOOK_S: Final = 0.02

STEPS: Final = (
    ("detection", "detection_ns"),
    ("respawn", "respawn_ns"),
    ("reconnection", "reconnection_ns"),
    ("first fresh tick at the strategy", "fresh_tick_ns"),
    ("first order possible", "order_possible_ns"),
    ("longest stale time", "stale_ns"),
)
"""The measured times: label, and field of `FaultFigures`."""


class RecoveryTimer:
    """Measures the recovery of one role, or of several hit at once, from its creation on."""

    def __init__(self, recorder: Recorder, roles: Collection[str]) -> None:
        self.begun_ns = time.monotonic_ns()
        """The start of all times (monotonic); may be set to a later moment."""
        self._recording = recorder.recording
        self._roles = roles
        self._seen_events = len(self._recording.events)
        self._seen_evaluated = len(self._recording.evaluated)

    def until_recovered(
        self, limit_s: float, meanwhile: Callable[[], None] = lambda: None
    ) -> FaultFigures:
        """Wait until all roles have recovered, at most `limit_s`; the rest is `pending`."""
        deadline_s = time.monotonic() + limit_s
        while (found := self._measured()).pending and time.monotonic() < deadline_s:
            meanwhile()
            time.sleep(LOOK_S)
        return found

    def _measured(self) -> FaultFigures:
        now_ns = time.monotonic_ns()
        events = self._recording.events[self._seen_events :]
        evaluated = self._recording.evaluated[max(0, self._seen_evaluated - 1) :]
        return slowest(
            [measure(role, self.begun_ns, now_ns, events, evaluated) for role in self._roles]
        )


def slowest(found: Sequence[FaultFigures]) -> FaultFigures:
    """Return the worst of each figure, and what is pending for any of the roles. Pure."""
    pending = tuple(dict.fromkeys(what for one in found for what in one.pending))
    worst: dict[str, Any] = {
        field.name: max(figure_times(found, field.name), default=None)
        for field in fields(FaultFigures)
    }
    worst["pending"] = pending
    if pending:
        worst["order_possible_ns"] = None
    return FaultFigures(**worst)


def unrecovered(what: str, found: Iterable[FaultFigures]) -> list[str]:
    """List those that did not recover, a line each: `what` and its number. Pure."""
    return [
        f"{what} {number}: timed out waiting until {' and until '.join(one.pending)}"
        for number, one in enumerate(found, 1)
        if one.pending
    ]


def figure_times(found: Iterable[object], figure: str) -> list[int]:
    """Return the values of one figure, where there is one."""
    return [value for one in found if (value := getattr(one, figure)) is not None]


def table_row(label: str, times_ns: Sequence[int]) -> str:
    """Return a table row: count, and median, 90th percentile and maximum in ms."""
    return f"{label:<34}{len(times_ns):>5}" + "".join(f"{cell:>9}" for cell in cells(times_ns))


def step_rows(found: Iterable[FaultFigures], steps: Iterable[tuple[str, str]] = STEPS) -> list[str]:
    """Return a table row for each step of these recoveries."""
    recoveries = list(found)
    return [table_row(f"  {label}", figure_times(recoveries, figure)) for label, figure in steps]


HEADING: Final = f"{'time to (ms)':<34}{'n':>5}{'median':>9}{'p90':>9}{'max':>9}"
"""The heading of a table of `table_row`s."""
