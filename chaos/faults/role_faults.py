"""Faults of a role's process: end it, restart it, freeze it."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, NamedTuple

from chaos.lab.figures import STRATEGY, WATCHDOG
from chaos.lab.target import TargetStack
from lib.clock import MILLISECOND_NS, to_ns
from lib.process.process_handle import ProcessHandle
from lib.settings import Settings

UNWATCHED_S: Final = 3.0
"""How long a role stays frozen if no watchdog watches it; longer than any silence limit."""
FRESH_TICK_NS: Final = 400 * MILLISECOND_NS
"""Goal from SIGKILL of a role on the tick path to the first fresh tick at the strategy."""
DECIDING_NS: Final = 500 * MILLISECOND_NS
"""Goal from SIGKILL of the strategy to its first possible order."""
THAW_NS: Final = 600 * MILLISECOND_NS
"""Goal from the end of `hang_after` to the recovery from a freeze."""


def nothing_lost(role: str) -> str:
    """Return the end of a hypothesis. A strategy that is hit misses the ticks of its downtime."""
    where = " at the book" if role == STRATEGY else ""
    return f", and no tick{where} and no order is lost, and none is handled twice"


class Goal(NamedTuple):
    """An upper limit for the median of a figure (a field of `FaultFigures`)."""

    figure: str
    limit_ns: int


@dataclass
class RoleFault(ABC):
    """A fault of one role. Created once for each experiment and injected many times."""

    role: str
    title: str
    """A short description: "SIGKILL of gateway"."""
    hypothesis: str
    """The expected outcome, in one sentence."""
    undo_after_s: float | None = None
    """When the lab undoes the fault itself; None: supervisord or the watchdog recovers the role."""

    def goal(self, settings: Settings) -> Goal | None:
        """Return how fast the recovery should be; None if there is no goal."""
        return None

    @abstractmethod
    def inject(self, target: TargetStack, pid: int) -> None:
        """Inject the fault. `pid` is the role's process.

        Raises TargetError, and ProcessLookupError if the process has ended by itself.
        """

    def undo(self) -> bool:
        """Undo what is still broken; return whether that resumed a frozen process.

        May be called at any time, and again if a signal interrupted it. Raises TargetError.
        """
        return False


_KILL_GOALS: Final = {
    "gateway": Goal("fresh_tick_ns", FRESH_TICK_NS),
    "orderbook": Goal("fresh_tick_ns", FRESH_TICK_NS),
    STRATEGY: Goal("order_possible_ns", DECIDING_NS),
}


class SendSignal(RoleFault):
    """Ends the role's process with a signal; supervisord starts the role again."""

    def __init__(self, role: str, number: signal.Signals) -> None:
        super().__init__(
            role,
            f"{number.name} of {role}",
            f"after {number.name} the {role} is started again{nothing_lost(role)}",
        )
        self._number = number

    def goal(self, settings: Settings) -> Goal | None:
        """Return the goal; only SIGKILL has goals."""
        return _KILL_GOALS.get(self.role) if self._number == signal.SIGKILL else None

    def inject(self, target: TargetStack, pid: int) -> None:
        """Send the signal."""
        os.kill(pid, self._number)


class Restart(RoleFault):
    """Stops and starts the role through supervisord, as `supervisorctl restart` does.

    There is no goal: supervisord waits for `startsecs`.
    """

    def __init__(self, role: str) -> None:
        super().__init__(
            role,
            f"restart of {role}",
            f"supervisord restarts the {role}{nothing_lost(role)}",
        )
        self._stopped_in: TargetStack | None = None

    def inject(self, target: TargetStack, pid: int) -> None:
        """Ask supervisord for the restart; return when it reports the new process as RUNNING."""
        self._stopped_in = target
        target.restart(self.role)
        self._stopped_in = None

    def undo(self) -> bool:
        """Start the role if it was only stopped. Raises TargetError."""
        if self._stopped_in is not None:
            self._stopped_in.revive(self.role)
            self._stopped_in = None
        return False


class FrozenProcess:
    """A process that SIGSTOP stops. It is resumed even if its role has another process by then."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if it has ended."""
        self._handle = ProcessHandle(pid)
        self._is_open = True

    def stop(self) -> None:
        """Send SIGSTOP: it keeps its connections and does nothing."""
        self._handle.send(signal.SIGSTOP)

    def resume(self) -> bool:
        """Send SIGCONT; False if it has ended, or was resumed before.

        May be called again, also if a signal interrupted the last call.
        """
        if not self._is_open:
            return False
        self._handle.send(signal.SIGCONT)
        goes_on = not self._handle.has_ended()
        self._is_open = False
        self._handle.close()
        return goes_on


class Freeze(RoleFault):
    """Freezes the process with SIGSTOP: it keeps its connections and does nothing."""

    def __init__(self, role: str) -> None:
        by = "the lab" if role == WATCHDOG else "the watchdog (or by the lab if it is off)"
        super().__init__(
            role,
            f"SIGSTOP of {role}",
            f"a frozen {role} is brought back by {by}{nothing_lost(role)}",
        )
        self._frozen: FrozenProcess | None = None

    def goal(self, settings: Settings) -> Goal | None:
        """Return the goal: `hang_after`, and then the time to start a role."""
        if not is_watched(self.role, settings):
            return None
        return Goal("order_possible_ns", to_ns(settings.watchdog.hang_after) + THAW_NS)

    def inject(self, target: TargetStack, pid: int) -> None:
        """Freeze the process."""
        self.undo_after_s = None if is_watched(self.role, target.settings) else UNWATCHED_S
        self._frozen = FrozenProcess(pid)
        self._frozen.stop()

    def undo(self) -> bool:
        """Resume the process; False if it has ended."""
        return self._frozen is not None and self._frozen.resume()


def is_watched(role: str, settings: Settings) -> bool:
    """Whether the watchdog ends a role that hangs."""
    return role != WATCHDOG and settings.watchdog.hang_after > 0
