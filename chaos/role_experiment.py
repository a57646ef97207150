"""The experiment that hits one role: the same fault, again and again, each from a steady state.

When the moment comes is random, by `--seed`. The hypothesis of every fault is that the stack
recovers within `RECOVERY_S`, and that nothing is lost or done twice on the way. How each figure is
taken is told in `chaos.figures`.
"""

from __future__ import annotations

import math
import signal
import time
from dataclasses import asdict
from typing import Any, Final

from chaos import figures
from chaos.figures import FaultFigures
from chaos.lab import RECOVERY_S, Experiment, Stage, cells, command_line, missed_goal, run
from chaos.recorder import Recorder
from chaos.role_faults import Fault, Goal, Restart, Signal
from lib.clock import MILLISECOND_NS

MAX_WAIT_S: Final = 1.0
"""A fault comes at a random moment of so long: supervisord's loop has a period of a second."""
LOOK_S: Final = 0.02

STEPS: Final = (
    ("detection", "detection_ns"),
    ("respawn", "respawn_ns"),
    ("reconnection", "reconnection_ns"),
    ("first fresh tick at the strategy", "fresh_tick_ns"),
    ("first order possible", "order_possible_ns"),
    ("longest stale time", "stale_ns"),
)
"""The times that are taken, and their fields in `FaultFigures`."""


class RoleExperiment(Experiment):
    """One fault of one role, `times` times."""

    def __init__(self, name: str, fault: Fault, times: int) -> None:
        self.name = name
        self.title = f"{fault.title}, {times} times"
        self.hypothesis = fault.hypothesis
        self.rounds = times
        self.roles = (fault.role,)
        self.found: list[FaultFigures] = []
        self._fault = fault
        self._goal: Goal | None = None

    def round(self, stage: Stage, number: int) -> None:
        """One fault and its recovery."""
        stage.tell("waiting for the steady state")
        process = stage.target.wait_until_steady()[self._fault.role]
        self._goal = self._fault.goal(stage.target.settings)
        time.sleep(stage.random.uniform(0, MAX_WAIT_S))
        stage.tell("recovering")
        try:
            self.found.append(self._hit(stage, process.pid))
        finally:
            self._undo(stage.recorder)

    def _hit(self, stage: Stage, pid: int) -> FaultFigures:
        recording, fault = stage.recorder.recording, self._fault
        seen_events, seen_evaluated = len(recording.events), len(recording.evaluated)
        injected_ns = time.monotonic_ns()
        fault.inject(stage.target, pid)

        def measured() -> FaultFigures:
            return figures.measure(
                fault.role,
                injected_ns,
                time.monotonic_ns(),
                recording.events[seen_events:],
                recording.evaluated[max(0, seen_evaluated - 1) :],
            )

        begun_s = time.monotonic()
        undo_s = begun_s + (fault.undo_after_s or math.inf)
        deadline_s = begun_s + stage.target.settings.watchdog.hang_after + RECOVERY_S
        while (found := measured()).pending and time.monotonic() < deadline_s:
            if time.monotonic() >= undo_s:
                self._undo(stage.recorder)
            time.sleep(LOOK_S)
        return found

    def _undo(self, recorder: Recorder) -> None:
        if self._fault.undo():
            recorder.note(figures.LAB, figures.CONTINUED, role=self._fault.role)

    def table(self) -> list[str]:
        """Each time with its median, p90 and maximum."""
        lines = [f"{'time to (ms)':<34}{'n':>5}{'median':>9}{'p90':>9}{'max':>9}{'goal':>9}"]
        for label, figure in STEPS:
            values = self._values(figure)
            goal = ""
            if self._goal and self._goal.figure == figure:
                goal = f"{self._goal.limit_ns / MILLISECOND_NS:g}"
            lines.append(
                f"{label:<34}{len(values):>5}"
                + "".join(f"{cell:>9}" for cell in cells(values))
                + f"{goal:>9}"
            )
        return [line.rstrip() for line in lines]

    def reasons(self) -> list[str]:
        """Every fault was recovered from in time, and the median reached its goal."""
        reasons = [
            f"fault {number}: waited in vain until {' and until '.join(found.pending)}"
            for number, found in enumerate(self.found, 1)
            if found.pending
        ]
        if self._goal:
            label = next(label for label, figure in STEPS if figure == self._goal.figure)
            reasons += missed_goal(label, self._values(self._goal.figure), self._goal.limit_ns)
        return reasons

    def figures(self) -> dict[str, Any]:
        """Return all figures of all faults."""
        return {
            "fault": self._fault.title,
            "role": self._fault.role,
            "goal": self._goal._asdict() if self._goal else None,
            "rounds": [asdict(found) for found in self.found],
        }

    def _values(self, figure: str) -> list[int]:
        return [value for found in self.found if (value := getattr(found, figure)) is not None]


def drop(role: str, description: str) -> int:
    """Run `drop_ROLE.py`: end the role the way the command line says."""
    name = f"drop_{role}"
    parser = command_line(name, description)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--signal",
        choices=("KILL", "TERM", "INT"),
        default="KILL",
        help="what the role's process gets (default: KILL); TERM asks it to end cleanly",
    )
    how.add_argument(
        "--restart", action="store_true", help="as supervisorctl restart does it, without a signal"
    )
    arguments = parser.parse_args()
    fault: Fault
    if arguments.restart:
        fault = Restart(role)
    else:
        fault = Signal(role, signal.Signals[f"SIG{arguments.signal}"])
    return run(RoleExperiment(name, fault, arguments.times), arguments)
