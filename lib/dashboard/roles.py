"""The programs of supervisord: state, uptime and usage of each.

supervisord is asked twice a second, and never sooner: a request wakes it, and an observer must not
be the reason that a role recovers faster. Between two answers the processes themselves are checked,
so that the end of one is seen within a look. A program is up once supervisord calls it RUNNING, a
second after its start.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lib.clock import SECOND_NS
from lib.dashboard.view import RoleView
from lib.process.heartbeat import Pulse, present_pulse
from lib.process.log_events import TAPE
from lib.process.run_identity import ProcessStat, process_stat
from lib.process.supervisor import (
    Process,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
)
from lib.stack.log_follower import BEGUN, SPAWNED, SupervisorEvent

ASK_NS: Final = SECOND_NS // 2
ASK_AGAIN_NS: Final = 5 * SECOND_NS
"""How long supervisord is not asked after it did not answer in time."""
USAGE_NS: Final = SECOND_NS
"""Over how long a CPU share is measured."""
ENDED: Final = "ENDED"
_UP: Final = "RUNNING"
_HAS_A_PROCESS: Final = frozenset({_UP, "STARTING"})


class Restarts:
    """Counts the restarts of each program in this run. Pure.

    From supervisord's log: supervisord itself reports the current process of a program only.
    """

    def __init__(self) -> None:
        self._spawned: dict[str, int] = {}

    def take(self, event: SupervisorEvent) -> None:
        """Take an event of supervisord's log."""
        if event.event == BEGUN:
            self._spawned.clear()
        elif event.event == SPAWNED:
            self._spawned[event.program] = self._spawned.get(event.program, 0) + 1

    def of(self, program: str) -> int:
        """Return how many starts followed the first one."""
        return max(0, self._spawned.get(program, 0) - 1)


@dataclass
class _WatchedProgram:
    """One program with what is known of its process."""

    process: Process
    stat: ProcessStat | None = None
    counted_ns: int = 0
    """When its CPU time was last read for the share."""
    counted_s: float = 0.0
    cpu_share: float | None = None
    pulse: Pulse | None = None


class Roles:
    """All programs of one supervisord."""

    def __init__(self, var_dir: Path, supervisor: Supervisor) -> None:
        self._var_dir = var_dir
        self._supervisor = supervisor
        self._watched: dict[str, _WatchedProgram] = {}
        self._ask_ns = 0
        self.problem = "supervisord has not answered yet"
        """Why the programs are unknown; "" if supervisord answers."""

    def look(self, now_ns: int) -> None:
        """Check all processes; ask supervisord if it is time to."""
        for watched in self._watched.values():
            if watched.process.pid:
                self._look_at(watched, now_ns)
        if now_ns >= self._ask_ns:
            self._ask(now_ns)

    @property
    def programs(self) -> Collection[str]:
        """The names of all programs, as supervisord last listed them; none before."""
        return self._watched.keys()

    def views(self, restarts: Restarts, now_ns: int) -> list[RoleView]:
        """Return what a page shows of them: of the tape only while it is at work."""
        return [
            _view(watched, restarts, now_ns)
            for program, watched in self._watched.items()
            if program != TAPE or watched.stat
        ]

    def _ask(self, now_ns: int) -> None:
        self._ask_ns = now_ns + ASK_NS
        try:
            processes = self._supervisor.processes()
        except SupervisorEndingError:
            self.problem = "the stack is being stopped"
            return
        except SupervisorSilentError as error:
            self.problem = f"supervisord does not answer: {error}"
            self._ask_ns = now_ns + ASK_AGAIN_NS
            return
        self.problem = ""
        before, self._watched = self._watched, {}
        for process in processes:
            watched = before.get(process.program)
            if watched is None or watched.process.pid != process.pid:
                watched = _WatchedProgram(process, counted_ns=now_ns)
                if process.pid:
                    self._look_at(watched, now_ns)
            watched.process = process
            self._watched[process.program] = watched

    def _look_at(self, watched: _WatchedProgram, now_ns: int) -> None:
        pid = watched.process.pid
        try:
            stat = process_stat(pid)
        except ProcessLookupError:
            stat = None
        watched.stat = stat if stat and stat.is_alive else None
        if watched.stat is None:
            return
        program = watched.process.program
        watched.pulse = present_pulse(watched.pulse, self._var_dir, program, pid)
        taken_s = watched.stat.cpu_s
        if watched.counted_s == 0.0:
            watched.counted_ns, watched.counted_s = now_ns, taken_s
        elif now_ns - watched.counted_ns >= USAGE_NS:
            seconds = (now_ns - watched.counted_ns) / SECOND_NS
            watched.cpu_share = (taken_s - watched.counted_s) / seconds
            watched.counted_ns, watched.counted_s = now_ns, taken_s


def _view(watched: _WatchedProgram, restarts: Restarts, now_ns: int) -> RoleView:
    process, stat = watched.process, watched.stat
    return RoleView(
        program=process.program,
        state=ENDED if stat is None and process.state in _HAS_A_PROCESS else process.state,
        is_up=stat is not None and process.state == _UP,
        pid=process.pid if stat else 0,
        uptime_s=stat.uptime_s if stat else None,
        restarts=restarts.of(process.program),
        cpu_share=watched.cpu_share if stat else None,
        resident_bytes=stat.resident_bytes if stat else None,
        heartbeat_age_s=(
            max(0.0, (now_ns - watched.pulse.last_ns()) / SECOND_NS)
            if stat and watched.pulse
            else None
        ),
        problem=process.problem,
    )
