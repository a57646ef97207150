"""Watchdog: wakes supervisord when a process of the stack ends, and kills one that hangs.

supervisord alone notices the end of a child up to a second later, and never notices a hang.
`lib.process.watchdog_rules` decides. Here are the pidfds that signal an end, the heartbeat files of
the roles, the requests to supervisord, and SIGKILL. A role that hangs is asked for its stack first
(`lib.process.traceback_dump`), so that the log shows where it hangs. It also looks whether
supervisord's files are still there (`lib.process.supervisord_files`), and keeps the process of the
alerts running (`daemons.alerts`).

It is a program of the same supervisord, and no role depends on it: without it, the stack recovers
as slowly as supervisord does.
"""

from __future__ import annotations

import os
import selectors
from functools import partial

import structlog
from msgspec import UNSET

from lib.clock import SECOND_NS, to_ns
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.process.alerts_process import AlertsProcess
from lib.process.heartbeat import Pulse, present_pulse
from lib.process.kept_files import FileKeeper
from lib.process.log_events import (
    TAPE,
    RoleEnded,
    RoleGaveUp,
    RoleHung,
    RoleWasSilent,
    SupervisordSilent,
    log_event,
)
from lib.process.log_once import LogOnce
from lib.process.process_handle import LOOK_NS, ProcessHandle
from lib.process.role import run_role
from lib.process.supervisor import (
    SERVER_VARIABLE,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from lib.process.supervisord_files import ControlSocket, SupervisordLogs, written_files
from lib.process.traceback_dump import stacks_of
from lib.process.traceback_frames import innermost
from lib.process.watchdog_rules import WatchdogRules
from lib.settings import Settings
from lib.trading.signal_frames import SIGNALS, what_hangs


class Watchdog:
    """The role."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
        if socket_path is None:
            raise CannotStartError(
                "the watchdog works for a supervisord with a Unix socket: "
                "start it as a program of etc/supervisord.conf"
            )
        self._supervisor = Supervisor(socket_path)
        supervisord_pid, var_dir = os.getppid(), socket_path.parent
        self._socket = ControlSocket(socket_path, supervisord_pid)
        files = [self._socket, *written_files(var_dir, supervisord_pid)]
        self._supervisord_logs = SupervisordLogs(loop.clock, var_dir, supervisord_pid)
        for timed in (FileKeeper(loop.clock, files), self._supervisord_logs):
            loop.add_timed(timed)
        self._silence = LogOnce()
        self._var_dir = settings.var_dir
        hang_after_ns = to_ns(settings.watchdog.hang_after)
        self._judges = bool(hang_after_ns)
        self._rules = WatchdogRules(os.getpid(), hang_after_ns, loop.clock())
        self._handles: dict[int, ProcessHandle] = {}
        """By pid, all processes that supervisord named last, including those that have ended."""
        self._awaited: set[int] = set()
        """The pids of the processes that have not ended."""
        self._pulses: dict[int, Pulse] = {}
        """By pid, the heartbeats of the processes that have beaten."""
        loop.add_timed(self)
        self._alerts = AlertsProcess(loop.clock) if settings.alerts.command else None
        if self._alerts:
            loop.add_timed(self._alerts)

    def step(self) -> None:
        """One pass: sleep until a process ends or it is time to look."""
        self._loop.poll()
        for pid in self._without_pidfd():
            if self._handles[pid].has_ended():
                self._on_end(pid)

    def close(self) -> None:
        """Remove what only this process needs, and end the process of the alerts."""
        self._socket.close()
        if self._alerts:
            self._alerts.close()

    def next_deadline_ns(self) -> int:
        """When to look at the beats or to ask supervisord."""
        deadline_ns = self._rules.next_deadline_ns()
        if self._without_pidfd():
            return min(deadline_ns, self._loop.clock() + LOOK_NS)
        return deadline_ns

    def on_time(self, now_ns: int) -> None:
        """Look at the beats, and ask supervisord if a role is silent or it is time to."""
        if self._rules.look(self._beats(), now_ns):
            self._ask()

    def _ask(self) -> None:
        try:
            processes = self._supervisor.processes()
        except SupervisorEndingError:
            self._supervisord_logs.watch(())
            self._rules.unanswered(self._loop.clock())
            return
        except SupervisorSilentError as error:
            self._rules.unanswered(self._loop.clock())
            self._silence.log_first(SupervisordSilent(reason=str(error)))
            return
        self._silence.over()
        running = (process for process in processes if process.pid)
        self._supervisord_logs.watch(log for process in running for log in process.logs)
        # The question may have let supervisord replace a process whose end we had not seen yet.
        for pid in [pid for pid in self._awaited if self._handles[pid].has_ended()]:
            self._on_end(pid)
        for process in self._rules.answered(processes, self._loop.clock()):
            log_event(self._log, RoleGaveUp(program=process.program, reason=process.problem))
        self._update_handles()
        self._judge()

    def _judge(self) -> None:
        """Kill what hangs, and log where; skip a role that has beaten again meanwhile."""
        # In this order: who beats in between has come back.
        last = {pid: pulse.last_ns() for pid, pulse in self._pulses.items()}
        beats = self._beats()
        hangs = self._rules.hung(beats)
        stacks = stacks_of(
            self._var_dir,
            [(hang.process.program, self._handles[hang.process.pid]) for hang in hangs],
        )
        for hang, stack in zip(hangs, stacks, strict=True):
            pid = hang.process.pid
            silent_s = hang.silent_ns / SECOND_NS
            came_back = self._pulses[pid].last_ns() != last[pid]
            event = (RoleWasSilent if came_back else RoleHung)(
                program=hang.process.program,
                pid=pid,
                silent_s=round(silent_s, 3),
                where=str(innermost(stack, SIGNALS) or "") or UNSET,
                reason=what_hangs(stack, silent_s) or UNSET,
            )
            log_event(self._log, event)
            if came_back:
                self._rules.spare(hang)
            else:
                self._handles[pid].kill()

    def _update_handles(self) -> None:
        """Hold a handle on exactly the processes that supervisord names."""
        for pid in self._handles.keys() - self._rules.processes.keys():
            if pid in self._awaited:
                self._await_no_more(pid)
            self._pulses.pop(pid, None)
            self._handles.pop(pid).close()
        for pid in self._rules.processes.keys() - self._handles.keys():
            try:
                handle = ProcessHandle(pid)
            except ProcessLookupError:  # it has ended and been reaped since the answer
                self._rules.ended(pid, self._loop.clock())
                continue
            self._handles[pid] = handle
            self._awaited.add(pid)
            if handle.pidfd is not None:
                on_end = partial(self._on_end, pid)
                self._loop.register(handle.pidfd, selectors.EVENT_READ, on_end)

    def _on_end(self, pid: int, _events: int = 0) -> None:
        program = self._rules.processes[pid].program
        if program != TAPE:  # its work has an end
            log_event(self._log, RoleEnded(program=program, pid=pid))
        self._await_no_more(pid)
        self._rules.ended(pid, self._loop.clock())

    def _await_no_more(self, pid: int) -> None:
        self._awaited.remove(pid)
        pidfd = self._handles[pid].pidfd
        if pidfd is not None:
            self._loop.unregister(pidfd)

    def _without_pidfd(self) -> list[int]:
        """Return the processes whose end has to be polled for."""
        return [pid for pid in self._awaited if self._handles[pid].pidfd is None]

    def _beats(self) -> dict[int, int]:
        """Return since when each process is silent that has beaten."""
        if not self._judges:
            return {}
        for pid in self._awaited:
            program = self._rules.processes[pid].program
            pulse = present_pulse(self._pulses.get(pid), self._var_dir, program, pid)
            if pulse is not None:
                self._pulses[pid] = pulse
        return {pid: pulse.silent_since_ns() for pid, pulse in self._pulses.items()}


if __name__ == "__main__":
    run_role("watchdog", Watchdog)
