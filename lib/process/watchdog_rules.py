"""What the watchdog decides: when to ask supervisord, and which process hangs.

Pure: supervisord's answers, beats and times go in; deadlines and verdicts come out. All times are
monotonic ns.

*A process has ended.* supervisord would notice within a second. A request wakes it, so it is asked
a few times at growing intervals, until the program has a new process or is in a state in which
supervisord itself waits: for the operator, or for the end of a backoff, which a request does not
shorten.

*A process is silent.* It hangs if it has beaten once and then not for `hang_after`, and
supervisord, asked at that moment, reports that it should run. Time in which it waits for a CPU does
not count: its last beat is moved by that (`Pulse.silent_since_ns`). Without an answer there is no
verdict: a stack that is stopping is left alone. A watchdog that was itself late (the whole machine
was suspended, say) knows nothing of the time in which it did not look: silence counts from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.heartbeat import beat_interval_ns
from lib.process.supervisor import Process

ASK_NS: Final = 1 * SECOND_NS
"""How often supervisord is asked while all is well."""
WAKE_DELAYS_NS: Final = tuple(n * MILLISECOND_NS for n in (2, 2, 4, 8, 16, 32, 64, 128))
"""The waits between the requests after the end of a process; the first request is immediate."""

_SHOULD_RUN: Final = frozenset({"STARTING", "RUNNING"})
_WAITS: Final = frozenset({"BACKOFF", "STOPPED", "FATAL"})
_GAVE_UP: Final = "FATAL"
_UNKNOWN: Final = "UNKNOWN"


class Hang(NamedTuple):
    """A process that hangs, and the time since its last beat."""

    process: Process
    silent_ns: int


class WatchdogRules:
    """The watchdog's state and rules. `own_pid` is the process that it never judges."""

    def __init__(self, own_pid: int, hang_after_ns: int, now_ns: int) -> None:
        self._own_pid = own_pid
        self._hang_after_ns = hang_after_ns
        self._look_interval_ns = beat_interval_ns(hang_after_ns)
        self.processes: dict[int, Process] = {}
        """The running processes but ours, by pid, by supervisord's last answer."""
        self._beats: Mapping[int, int] = {}
        self._killed: set[int] = set()
        """Processes that were reported as hung, so that each is reported once."""
        self._ended: dict[tuple[str, int], int] = {}
        """By program and pid of an ended process without a successor: the requests made so far."""
        self._given_up: set[str] = set()
        self._ask_ns = now_ns
        self._looked_ns = now_ns
        self._counts_from_ns = now_ns

    def next_deadline_ns(self) -> int:
        """When to look next."""
        if not self._hang_after_ns:
            return self._ask_ns
        return min(self._ask_ns, self._next_look_ns(), *map(self._hangs_at_ns, self._suspects()))

    def look(self, beats: Mapping[int, int], now_ns: int) -> bool:
        """Take the last beats, by pid; return whether to ask supervisord now."""
        if now_ns - self._next_look_ns() > self._look_interval_ns:
            self._counts_from_ns = now_ns
        self._beats = beats
        self._looked_ns = now_ns
        return now_ns >= self._ask_ns or bool(self._silent())

    def ended(self, pid: int, now_ns: int) -> None:
        """A process has ended: ask supervisord at once."""
        self._ended.setdefault((self.processes[pid].program, pid), 0)
        self._ask_ns = now_ns

    def answered(self, processes: Iterable[Process], now_ns: int) -> list[Process]:
        """Take supervisord's answer; return the programs that it has newly given up."""
        programs = {process.program: process for process in processes}
        before = self.processes
        self.processes = {
            process.pid: process
            for process in programs.values()
            if process.pid not in (0, self._own_pid)
        }
        self._killed &= self.processes.keys()
        for pid in before.keys() - self.processes.keys():
            self._ended.setdefault((before[pid].program, pid), 0)
        for program, pid in list(self._ended):
            now = programs.get(program)
            if now is None or now.state in _WAITS or now.pid not in (0, pid):
                del self._ended[program, pid]
        self._plan_to_ask(now_ns)
        fatal = {p.program for p in programs.values() if p.state == _GAVE_UP}
        new = [programs[program] for program in sorted(fatal - self._given_up)]
        self._given_up = fatal
        return new

    def unanswered(self, now_ns: int) -> None:
        """Take note that supervisord has not answered: its earlier answers no longer count."""
        self.processes = {
            pid: process._replace(state=_UNKNOWN) for pid, process in self.processes.items()
        }
        self._plan_to_ask(now_ns)

    def hung(self, beats: Mapping[int, int]) -> list[Hang]:
        """Return the processes to kill, each once: those that hang, by the last answer.

        Silence is measured at the time of the look, with beats read after the answer: a process
        that has beaten since then does not hang.
        """
        self._beats = beats
        silent = self._silent()
        self._killed.update(silent)
        return [Hang(self.processes[pid], self._looked_ns - self._beats[pid]) for pid in silent]

    def spare(self, hang: Hang) -> None:
        """A hung process has beaten after all: do not kill it, and judge it again later."""
        self._killed.discard(hang.process.pid)

    def _plan_to_ask(self, now_ns: int) -> None:
        """Ask again soon while an ended process has no successor, a bounded number of times."""
        self._ask_ns = now_ns + ASK_NS
        for process, asked in list(self._ended.items()):
            if asked == len(WAKE_DELAYS_NS):
                del self._ended[process]
                continue
            self._ended[process] = asked + 1
            self._ask_ns = min(self._ask_ns, now_ns + WAKE_DELAYS_NS[asked])

    def _next_look_ns(self) -> int:
        return self._looked_ns + self._look_interval_ns

    def _silent(self) -> list[int]:
        """Return the pids that were silent for too long at the time of the look."""
        return [pid for pid in self._suspects() if self._hangs_at_ns(pid) <= self._looked_ns]

    def _suspects(self) -> list[int]:
        """Return the pids that should run, have beaten, and were not reported as hung."""
        if not self._hang_after_ns:
            return []
        return [
            pid
            for pid, process in self.processes.items()
            if process.state in _SHOULD_RUN and pid in self._beats and pid not in self._killed
        ]

    def _hangs_at_ns(self, pid: int) -> int:
        return max(self._beats[pid], self._counts_from_ns) + self._hang_after_ns
