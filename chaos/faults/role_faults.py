"""What can be done to a role as a process: end it, restart it, stop it in its tracks."""

from __future__ import annotations

import os
import signal
from typing import Final, NamedTuple, Protocol

from chaos.lab.figures import STRATEGY, WATCHDOG
from chaos.lab.target import TargetError, TargetStack
from lib.clock import MILLISECOND_NS, to_ns
from lib.settings import Settings

UNWATCHED_S: Final = 3.0
"""How long a role stays frozen that no watchdog looks after: longer than any silence is taken for
life."""
FRESH_TICK_NS: Final = 400 * MILLISECOND_NS
"""From SIGKILL of a role that ticks come through to the first fresh one at the strategy."""
DECIDING_NS: Final = 500 * MILLISECOND_NS
"""From SIGKILL of the strategy to deciding again."""
THAW_NS: Final = 600 * MILLISECOND_NS
"""From the end of `hang_after` to the recovery from a freeze."""


class Goal(NamedTuple):
    """What the median of a figure (a field of `FaultFigures`) should not exceed."""

    figure: str
    limit_ns: int


class RoleFault(Protocol):
    """Something that is done to a role. Made anew for each experiment, used many times."""

    title: str
    """What is done, in a few words: "SIGKILL of gateway"."""
    role: str
    hypothesis: str
    """One sentence."""
    undo_after_s: float | None
    """From when on the lab itself puts the role back; None: somebody else has to."""

    def goal(self, settings: Settings) -> Goal | None:
        """Return how fast the recovery should be; None where there is no goal."""

    def inject(self, target: TargetStack, pid: int) -> None:
        """Do it. `pid` is the role's process. Raises TargetError."""

    def undo(self) -> bool:
        """Put back what is still broken; tell whether a process goes on that stood still.

        May be called at any time, and again where an interruption came in the middle of it. Raises
        TargetError.
        """


_KILL_GOALS: Final = {
    "gateway": Goal("fresh_tick_ns", FRESH_TICK_NS),
    "orderbook": Goal("fresh_tick_ns", FRESH_TICK_NS),
    STRATEGY: Goal("order_possible_ns", DECIDING_NS),
}


class SendSignal:
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

    def goal(self, settings: Settings) -> Goal | None:
        """The goals are SIGKILL's."""
        if self._number != signal.SIGKILL:
            return None
        return _KILL_GOALS.get(self.role)

    def inject(self, target: TargetStack, pid: int) -> None:
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
        self._stopped_in: TargetStack | None = None

    def goal(self, settings: Settings) -> Goal | None:
        """A restart takes supervisord its second."""
        return None

    def inject(self, target: TargetStack, pid: int) -> None:
        """Ask supervisord; returns when the new process has been running for a second."""
        self._stopped_in = target
        target.restart(self.role)
        self._stopped_in = None

    def undo(self) -> bool:
        """Start it where it was only stopped. Raises TargetError."""
        if self._stopped_in is not None:
            self._stopped_in.revive(self.role)
            self._stopped_in = None
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

    def goal(self, settings: Settings) -> Goal | None:
        """The watchdog's time, and then as long as it takes to start a role."""
        if not _is_watched(self.role, settings):
            return None
        return Goal("order_possible_ns", to_ns(settings.watchdog.hang_after) + THAW_NS)

    def inject(self, target: TargetStack, pid: int) -> None:
        """Stop the process."""
        watched = _is_watched(self.role, target.settings)
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
            goes_on = True
        except ProcessLookupError:
            goes_on = False
        self._close()
        return goes_on

    def _close(self) -> None:
        if self._frozen is not None:
            os.close(self._frozen)
            self._frozen = None


def _is_watched(role: str, settings: Settings) -> bool:
    return role != WATCHDOG and settings.watchdog.hang_after > 0
