"""Alerts: runs the operator's command with one line of JSON for each event that needs a person.

`lib.stack.alert_rules` decides for which events, and how often. Here are the logs of all programs,
the clocks and the command. It is no program of supervisord: the watchdog starts it, as a process of
its own, if `[alerts] command` is set. Nothing waits for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.process.log_events import AlertFailed, AlertSent, AlertStarted, log_event, name_of
from lib.process.log_once import LogOnce
from lib.process.role import run_role
from lib.process.run_identity import adopt_orphans, current_run, end_children, process_stat
from lib.process.supervisor import SERVER_VARIABLE, control_socket
from lib.settings import Settings
from lib.stack.alert_rules import (
    MAX_TOPICS,
    Alert,
    AlertRules,
    BothClocks,
    LoggedEvent,
    read_logged_event,
)
from lib.stack.bounded_command import BoundedCommand
from lib.stack.log_follower import SUPERVISORD, LogFiles
from lib.text import printable

NICE: Final = 10
"""The priority on busy cores: below the roles that trade, as each line of their logs is read."""
LOOK_NS: Final = 200 * MILLISECOND_NS
"""How often to look at the logs."""
COMMAND_LOOK_NS: Final = 20 * MILLISECOND_NS
"""How often to look while the command runs."""
LAST_ALERTS_NS: Final = 1500 * MILLISECOND_NS
"""How long the process sends what is due before it ends."""
END_CHILDREN_S: Final = 0.2
"""How long what a command has left behind may take to end."""
EARLIER_LOG_BYTES: Final = 512 * 1024
"""How much of each log is read of what was written before the start."""


class Alerts:
    """The process."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        if not settings.alerts.command:
            raise CannotStartError("alerts.command is empty: restart the watchdog")
        os.nice(NICE)
        adopt_orphans()
        self._loop = loop
        self._log = structlog.get_logger()
        self._no_room = LogOnce()
        self._command = settings.alerts.command
        self._sending: tuple[Alert, BoundedCommand] | None = None
        """The alert that the command is run for."""
        # The logs are in supervisord's directory. Without main.py, `var_dir` may be another one.
        socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
        directory = socket_path.parent if socket_path else settings.var_dir
        log_dir, supervisord = directory / "log", directory / f"{SUPERVISORD}.log"
        self._files = LogFiles(lambda: (supervisord, *log_dir.glob("*.jsonl")), EARLIER_LOG_BYTES)
        self._rules = AlertRules(printable(str(settings.var_dir)))
        now_ns = loop.clock()
        # The watchdog starts before the roles, and this process takes a while to start.
        began_ns = now_ns - to_ns(process_stat(current_run().pid).uptime_s)
        self._rules.resume(self._new_entries(), began_ns, now_ns)
        self._look_ns = now_ns
        loop.add_timed(self)

    def step(self) -> None:
        """One pass: sleep until it is time to look."""
        self._loop.poll()

    def close(self) -> None:
        """Send what is due, for a bounded time: the stack may be ending because of it."""
        end_ns = self._loop.clock() + LAST_ALERTS_NS
        while (now_ns := self._loop.clock()) < end_ns:
            self.on_time(now_ns)
            if self._sending is None:
                return
            time.sleep(COMMAND_LOOK_NS / SECOND_NS)
        if self._sending is not None:
            alert, command = self._sending
            self._ended(alert, command.kill("the stack is stopping; killed"))

    def next_deadline_ns(self) -> int:
        """When to look next."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Read what is new in the logs, and see to the command."""
        for entry in self._new_entries():
            if not self._rules.take(entry, now_ns):
                about = name_of(type(entry.event)), entry.program, entry.timestamp
                reason = f"{MAX_TOPICS} kinds and roles have alerts already"
                self._no_room.log_first(AlertFailed(*about, reason))
        if self._rules.has_room(now_ns):
            self._no_room.over()
        if self._sending is not None:
            alert, command = self._sending
            outcome = command.outcome(now_ns)
            if outcome is not None:
                self._sending = None
                self._ended(alert, outcome)
        if self._sending is None and (due := self._rules.next_alert(now_ns)):
            self._send(due, now_ns)
        self._look_ns = now_ns + (LOOK_NS if self._sending is None else COMMAND_LOOK_NS)

    def _new_entries(self) -> Iterator[LoggedEvent]:
        now = BothClocks(self._loop.clock(), self._loop.host.wall_ns())
        for program, raw in self._files.read():
            if entry := read_logged_event(program, raw, now):
                yield entry

    def _send(self, alert: Alert, now_ns: int) -> None:
        log_event(self._log, AlertStarted(alert.kind, alert.role, alert.timestamp))
        line = msgspec.json.encode(alert) + b"\n"
        try:
            self._sending = alert, BoundedCommand(self._command, line, now_ns)
        except (OSError, UnicodeEncodeError) as error:  # the locale may not have its letters
            self._log_outcome(alert, f"cannot be run: {error}")

    def _ended(self, alert: Alert, problem: str) -> None:
        end_children(END_CHILDREN_S)
        self._log_outcome(alert, problem)

    def _log_outcome(self, alert: Alert, problem: str) -> None:
        about = alert.kind, alert.role, alert.timestamp
        log_event(self._log, AlertFailed(*about, problem) if problem else AlertSent(*about))


if __name__ == "__main__":
    run_role("alerts", Alerts)
