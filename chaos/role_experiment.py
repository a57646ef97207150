"""The experiment that hits one role: the same fault, again and again, each from a steady state.

When the moment comes is random, by `--seed`. The hypothesis of every fault is that the stack
recovers within `RECOVERY_S`, and that nothing is lost or done twice on the way. How each figure is
taken is told in `chaos.lab.figures`.
"""

from __future__ import annotations

import math
import signal
import time
from dataclasses import asdict
from typing import Any, Final

from chaos.faults.role_faults import Goal, Restart, RoleFault, SendSignal
from chaos.lab import figures
from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    command_line,
    missed_goal,
    run,
)
from chaos.lab.figures import FaultFigures
from chaos.lab.recorder import Recorder
from chaos.lab.recovery import HEADING, STEPS, RecoveryTimer, row, times, unrecovered
from lib.clock import MILLISECOND_NS

MAX_WAIT_S: Final = 1.0
"""A fault comes at a random moment of so long: supervisord's loop has a period of a second."""


class RoleExperiment(Experiment):
    """One fault of one role, `times` times."""

    def __init__(self, name: str, fault: RoleFault, times: int) -> None:
        self.name = name
        self.title = f"{fault.title}, {times} times"
        self.hypothesis = fault.hypothesis
        self.rounds = times
        self.roles = (fault.role,)
        self.found: list[FaultFigures] = []
        self._fault = fault
        self._goal: Goal | None = None
        self._recorder: Recorder | None = None

    def round(self, stage: RoundContext, number: int) -> None:
        """One fault and its recovery."""
        stage.tell("waiting for the steady state")
        process = stage.target.wait_until_steady()[self._fault.role]
        self._recorder = stage.recorder
        self._goal = self._fault.goal(stage.target.settings)
        time.sleep(stage.random.uniform(0, MAX_WAIT_S))
        stage.tell("recovering")
        watch = RecoveryTimer(stage.recorder, self.roles)
        self._fault.inject(stage.target, process.pid)
        undo_s = time.monotonic() + (self._fault.undo_after_s or math.inf)

        def undo_in_time() -> None:
            if time.monotonic() >= undo_s:
                self.put_back()

        limit_s = stage.target.settings.watchdog.hang_after + RECOVERY_S
        self.found.append(watch.until_recovered(limit_s, undo_in_time))
        self.put_back()

    def put_back(self) -> None:
        """Undo what nobody else did."""
        if self._fault.undo() and self._recorder:
            self._recorder.note(figures.LAB, figures.CONTINUED, role=self._fault.role)

    def table(self) -> list[str]:
        """Each time with its median, p90 and maximum."""
        lines = [f"{HEADING}{'goal':>9}"]
        for label, figure in STEPS:
            line = row(label, times(self.found, figure))
            if self._goal and self._goal.figure == figure:
                line += f"{self._goal.limit_ns / MILLISECOND_NS:>9g}"
            lines.append(line)
        return lines

    def reasons(self) -> list[str]:
        """Every fault was recovered from in time, and the median reached its goal."""
        reasons = unrecovered("fault", self.found)
        if self._goal:
            label = next(label for label, figure in STEPS if figure == self._goal.figure)
            found = times(self.found, self._goal.figure)
            reasons += missed_goal(label, found, self._goal.limit_ns)
        return reasons

    def figures(self) -> dict[str, Any]:
        """Return all figures of all faults."""
        return {
            "fault": self._fault.title,
            "role": self._fault.role,
            "goal": self._goal._asdict() if self._goal else None,
            "rounds": [asdict(found) for found in self.found],
        }


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
    fault: RoleFault
    if arguments.restart:
        fault = Restart(role)
    else:
        fault = SendSignal(role, signal.Signals[f"SIG{arguments.signal}"])
    return run(RoleExperiment(name, fault, arguments.times), arguments)
