"""What the watchdog decides: when to ask supervisord, and which process hangs.

Pure: what supervisord says, beats and times go in; times and verdicts come out. All times are
monotonic ns.

*A process has ended.* supervisord would notice within a second. Asking it wakes it, so it is asked
again and again, a few times and at growing intervals, until the program has a new process or is in
a state in which supervisord itself waits: for a person, or for the end of a backoff, which an early
question does not shorten.

*A process is silent.* It hangs if it has beaten once and then not for `hang_after`, and
supervisord, asked at that moment, says that it should run. Without an answer there is no verdict: a
stack that is being stopped is left alone. A watchdog that was itself late knows nothing of the time
in which it did not look, as when the whole machine stood still: silence counts anew from then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.heartbeat import beat_interval_ns
from lib.process.supervisor import Process

ASK_NS: Final = 1 * SECOND_NS
"""How often supervisord is asked when nothing happens."""
WAKE_DELAYS_NS: Final = tuple(n * MILLISECOND_NS for n in (2, 2, 4, 8, 16, 32, 64, 128))
"""After a process has ended, and a first question at once: when to ask again."""

_SHOULD_RUN: Final = frozenset({"STARTING", "RUNNING"})
_WAITS: Final = frozenset({"BACKOFF", "STOPPED", "FATAL"})
_GAVE_UP: Final = "FATAL"
_UNKNOWN: Final = "UNKNOWN"


class Hang(NamedTuple):
    """A process that hangs, and for how long it has not beaten."""

    process: Process
    silent_ns: int


class WatchdogRules:
    """Everything the watchdog knows. `own_pid` is the process that it never judges."""

    def __init__(self, own_pid: int, hang_after_ns: int, now_ns: int) -> None:
        self._own_pid = own_pid
        self._hang_after_ns = hang_after_ns
        self._look_interval_ns = beat_interval_ns(hang_after_ns)
        self.processes: dict[int, Process] = {}
        """Those that run, by pid, as supervisord said last. Without ourselves."""
        self._beats: Mapping[int, int] = {}
        self._killed: set[int] = set()
        """A process may take its time to die; it is not sentenced twice."""
        self._ended: dict[tuple[str, int], int] = {}
        """Program and pid of those without a successor yet, and how often was asked for one."""
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
        """Take the last beats, by pid, of who has beaten; tell whether to ask supervisord now."""
        if now_ns - self._next_look_ns() > self._look_interval_ns:
            self._counts_from_ns = now_ns
        self._beats = beats
        self._looked_ns = now_ns
        return now_ns >= self._ask_ns or bool(self._silent())

    def ended(self, pid: int, now_ns: int) -> None:
        """A process has ended: supervisord is to be asked at once."""
        self._ended.setdefault((self.processes[pid].program, pid), 0)
        self._ask_ns = now_ns

    def answered(self, processes: Iterable[Process], now_ns: int) -> list[Process]:
        """Take what supervisord says; return what it has given up since the last time."""
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
        """Supervisord has not answered: what it said before counts no longer."""
        self.processes = {
            pid: process._replace(state=_UNKNOWN) for pid, process in self.processes.items()
        }
        self._plan_to_ask(now_ns)

    def hung(self, beats: Mapping[int, int]) -> list[Hang]:
        """Who hangs, by the last answer. Each is named once: it is to be killed.

        It is judged by the time of the look, and by beats of after the answer: who was silent
        then and has beaten since, lives.
        """
        self._beats = beats
        silent = self._silent()
        self._killed.update(silent)
        return [Hang(self.processes[pid], self._looked_ns - self._beats[pid]) for pid in silent]

    def spare(self, hang: Hang) -> None:
        """A process that hung has beaten after all: it is not to be killed, this time."""
        self._killed.discard(hang.process.pid)

    def _plan_to_ask(self, now_ns: int) -> None:
        """Ask again soon as long as somebody who ended has no successor, for a bounded time."""
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
        """The pids that have been silent for too long at the time of the look."""
        return [pid for pid in self._suspects() if self._hangs_at_ns(pid) <= self._looked_ns]

    def _suspects(self) -> list[int]:
        """Who could hang: it should run, has beaten, and is not sentenced already."""
        if not self._hang_after_ns:
            return []
        return [
            pid
            for pid, process in self.processes.items()
            if process.state in _SHOULD_RUN and pid in self._beats and pid not in self._killed
        ]

    def _hangs_at_ns(self, pid: int) -> int:
        return max(self._beats[pid], self._counts_from_ns) + self._hang_after_ns
