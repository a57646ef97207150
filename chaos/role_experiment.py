"""The experiment that hits one role with the same fault repeatedly, each time in a steady state."""

from __future__ import annotations

import argparse
import math
import signal
import time
from dataclasses import asdict
from typing import Any, Final

from chaos.faults.role_faults import Goal, Restart, RoleFault, SendSignal
from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    command_line,
    missed_goal,
    run_experiment,
)
from chaos.lab.figures import LAB, FaultFigures
from chaos.lab.recorder import CONTINUED, Recorder
from chaos.lab.recovery import HEADING, STEPS, RecoveryTimer, figure_times, table_row, unrecovered
from chaos.lab.target import TargetError
from lib.clock import MILLISECOND_NS
from lib.stack.log_follower import SupervisorEvent

MAX_WAIT_S: Final = 1.0
"""The longest random wait before a fault: one period of supervisord's loop."""


class RoleExperiment(Experiment):
    """Injects one fault into one role, `times` times."""

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

    def run_round(self, context: RoundContext, number: int) -> None:
        """Inject the fault once and measure the recovery."""
        context.show_progress("waiting for the steady state")
        process = context.target.wait_until_steady()[self._fault.role]
        self._recorder = context.recorder
        self._goal = self._fault.goal(context.target.settings)
        time.sleep(context.random.uniform(0, MAX_WAIT_S))
        context.show_progress("recovering")
        timer = RecoveryTimer(context.recorder, self.roles)
        try:
            self._fault.inject(context.target, process.pid)
        except ProcessLookupError:
            raise TargetError(f"{self._fault.role} ended by itself before it was hit") from None
        undo_s = time.monotonic() + (self._fault.undo_after_s or math.inf)

        def undo_in_time() -> None:
            if time.monotonic() >= undo_s:
                self.put_back()

        limit_s = context.target.settings.watchdog.hang_after + RECOVERY_S
        self.found.append(timer.until_recovered(limit_s, undo_in_time))
        self.put_back()

    def put_back(self) -> None:
        """Undo the fault, unless supervisord or the watchdog has already recovered the role."""
        if self._fault.undo() and self._recorder:
            self._recorder.add_event(LAB, SupervisorEvent(CONTINUED, self._fault.role, ""))

    def table(self) -> list[str]:
        """List each time with its median, p90 and maximum."""
        lines = [f"{HEADING}{'goal':>9}"]
        for label, figure in STEPS:
            line = table_row(label, figure_times(self.found, figure))
            if self._goal and self._goal.figure == figure:
                line += f"{self._goal.limit_ns / MILLISECOND_NS:>9g}"
            lines.append(line)
        return lines

    def reasons(self) -> list[str]:
        """Check that every recovery came in time, and that the median reached its goal."""
        reasons = unrecovered("fault", self.found)
        if self._goal:
            label = next(label for label, figure in STEPS if figure == self._goal.figure)
            found = figure_times(self.found, self._goal.figure)
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


def drop_role(role: str, description: str) -> int:
    """Run `drop_ROLE.py`: end the role as the command line says."""
    arguments = drop_command_line(role, description).parse_args()
    fault = drop_fault(role, arguments)
    return run_experiment(RoleExperiment(f"drop_{role}", fault, arguments.times), arguments)


def drop_command_line(role: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of `drop_ROLE.py`: how the role is ended."""
    parser = command_line(f"drop_{role}", description)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--signal",
        choices=("KILL", "TERM", "INT"),
        default="KILL",
        help="the signal to the role's process (default: KILL); TERM asks it to end cleanly",
    )
    how.add_argument("--restart", action="store_true", help="as supervisorctl restart does it")
    return parser


def drop_fault(role: str, arguments: argparse.Namespace) -> RoleFault:
    """Return the fault that the command line asks for."""
    if arguments.restart:
        return Restart(role)
    return SendSignal(role, signal.Signals[f"SIG{arguments.signal}"])
