"""What can be done to a role as a process: end it, restart it, stop it in its tracks."""

from __future__ import annotations

import os
import signal
from typing import Final

from chaos.figures import WATCHDOG
from chaos.lab import Fault, command_line, run_experiment
from chaos.target import Target, TargetError

UNWATCHED_S: Final = 3.0
"""How long a role stays frozen that no watchdog looks after: longer than any silence is taken for
life."""


class Signal:
    """A signal that ends the role's process."""

    undo_after_s: float | None = None

    def __init__(self, role: str, number: signal.Signals) -> None:
        self.role = role
        self.title = f"{number.name} of {role}"
        self.hypothesis = (
            f"after {number.name} the {role} is started again, and no tick and no order is lost "
            "or handled twice"
        )
        self._number = number

    def inject(self, target: Target, pid: int) -> None:
        """Send the signal."""
        try:
            os.kill(pid, self._number)
        except ProcessLookupError:
            raise TargetError(f"{self.role} ended by itself before it was hit") from None

    def undo(self) -> bool:
        """Nothing is to be put back: supervisord starts the role again."""
        return False


class Restart:
    """A stop and a start by supervisord, as `supervisorctl restart` does it."""

    undo_after_s: float | None = None

    def __init__(self, role: str) -> None:
        self.role = role
        self.title = f"restart of {role}"
        self.hypothesis = (
            f"a restart of the {role} by supervisord loses no tick and no order, and handles none "
            "twice"
        )

    def inject(self, target: Target, pid: int) -> None:
        """Ask supervisord; returns when the new process has been running for a second."""
        target.restart(self.role)

    def undo(self) -> bool:
        """Nothing is to be put back."""
        return False


class Freeze:
    """SIGSTOP: the process is alive, keeps its connections, and does nothing at all."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.title = f"SIGSTOP of {role}"
        self.hypothesis = (
            "while the watchdog is frozen nothing else stands still or is lost"
            if role == WATCHDOG
            else f"a frozen {role} is ended by the watchdog (where that is off, continued by the "
            "lab), and no tick and no order is lost or handled twice"
        )
        self.undo_after_s: float | None = None  # known when there is a target
        self._frozen: int | None = None  # a pidfd: a process number could be somebody else's by now

    def inject(self, target: Target, pid: int) -> None:
        """Stop the process."""
        watched = self.role != WATCHDOG and target.settings.watchdog.hang_after > 0
        self.undo_after_s = None if watched else UNWATCHED_S
        self._close()
        try:
            self._frozen = os.pidfd_open(pid)
            signal.pidfd_send_signal(self._frozen, signal.SIGSTOP)
        except ProcessLookupError:
            raise TargetError(f"{self.role} ended by itself before it was hit") from None

    def undo(self) -> bool:
        """Continue the process; False if it is not there any more."""
        if self._frozen is None:
            return False
        try:
            signal.pidfd_send_signal(self._frozen, signal.SIGCONT)
        except ProcessLookupError:
            return False
        finally:
            self._close()
        return True

    def _close(self) -> None:
        if self._frozen is not None:
            os.close(self._frozen)
            self._frozen = None


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
    return run_experiment(name, fault, arguments)
