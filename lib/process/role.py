"""What every role does around its own work: settings, logs, signals, heartbeat, a clean end.

A role is a class: its constructor opens what it needs, `step` is one pass of its loop, `close`
releases what it holds. `run_role` does the rest, the same way for each.
"""

from __future__ import annotations

import gc
import os
import resource
import shlex
import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from traceback import format_exc
from typing import Final, NoReturn, Protocol, runtime_checkable

import structlog

from lib.clock import to_ns
from lib.errors import EXIT_CANNOT_START, CannotStartError
from lib.net.event_loop import EventLoop
from lib.process.heartbeat import PROGRAM_VARIABLE, Heartbeat
from lib.process.limits import raise_to_hard_limit
from lib.process.log_events import (
    CannotStart,
    Crashed,
    LogEvent,
    SettingsRefused,
    Started,
    StartTakesLong,
    Stopped,
    log_event,
)
from lib.process.logs import configure_logging
from lib.process.own_files import OWN_UMASK, make_own_directory
from lib.process.run_identity import end_with_parent
from lib.process.slow_start import report_slow_start
from lib.process.standard_streams import prepare_standard_streams
from lib.process.traceback_frames import Plugins, error_text, frames_of, innermost
from lib.settings import EXIT_BAD_SETTINGS, Settings, SettingsError, load_settings

STRATEGY: Final = "strategy"
"""The one role that may run several times in a stack: its argument says which strategy it is."""

SLOW_START_S: Final = 5.0
"""How often a slow start logs where in the code it is."""


class RoleEndsError(Exception):
    """Ends the role with code 1, for a successor to take over. `event` says why, and is logged."""

    def __init__(self, event: LogEvent) -> None:
        super().__init__(event)
        self.event = event


class Role(Protocol):
    """One daemon's work."""

    def step(self) -> None:
        """One pass: wait for work, at most a second, and do it."""

    def close(self) -> None:
        """Release what would outlive the process."""


@runtime_checkable
class WaitingRole(Role, Protocol):
    """A role that has to wait for something before its work begins; it beats meanwhile."""

    @property
    def is_at_work(self) -> bool:
        """Whether the wait is over, in the constructor or in a `step`."""


def run_role(
    name: str, make: Callable[[Settings, EventLoop], Role], *, plugins: Plugins | None = None
) -> NoReturn:
    """Run a role until SIGTERM, SIGINT or the death of its supervisord; end the process.

    `strategy NAME` is the strategy of `[strategies.NAME]`, and `role` in its log is
    "strategy:NAME". No other role takes an argument. `plugins` is how the role calls a user's code,
    so that a crash or a long start there is reported at its place.

    Exit codes: 0 after a clean end, 78 for invalid settings or arguments, 65 for a BadInputError, 1
    for anything else.
    """
    prepare_standard_streams()
    os.umask(OWN_UMASK)
    arguments = sys.argv[1:]
    writer = configure_logging(":".join((name, *arguments)))
    log = structlog.get_logger()
    code = 0
    try:
        end_with_parent()
        settings = load_settings(strategy=_strategy_name(name, arguments))
        _own_var_dir(settings.var_dir)
        # Hundreds of clients could reach the usual soft limit.
        raise_to_hard_limit(resource.RLIMIT_NOFILE)
        loop = EventLoop()
        loop.stop_on_signals()
        loop.add_timed(writer)
        with report_slow_start(repeat(SLOW_START_S), _log_where, plugins):
            role = make(settings, loop)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        _beat(settings, loop)
        while isinstance(role, WaitingRole) and not role.is_at_work and loop.running:
            role.step()
        if not isinstance(role, WaitingRole) or role.is_at_work:
            log_event(log, Started(pid=os.getpid()))
        while loop.running:
            role.step()
        role.close()
        log_event(log, Stopped(pid=os.getpid()))
    except SettingsError as error:
        log_event(log, SettingsRefused(reason=str(error)))
        code = EXIT_BAD_SETTINGS
    except CannotStartError as error:
        log_event(log, CannotStart(reason=str(error)))
        code = error.exit_code
    except RoleEndsError as error:
        log_event(log, error.event)
        code = EXIT_CANNOT_START
    except BaseException as error:  # a user's code may raise anything, and may end itself, too
        where, reason = str(innermost(frames_of(error), plugins) or ""), error_text(error)
        log_event(log, Crashed(where=where, reason=reason, exception=format_exc().rstrip("\n")))
        code = EXIT_CANNOT_START
    writer.flush_at_end()
    sys.exit(code)


def _strategy_name(role: str, arguments: list[str]) -> str | None:
    """Return the NAME of `strategy NAME`, None without one. Raises SettingsError."""
    most, takes = 0, "no argument; only a strategy has a name"
    if role == STRATEGY:
        most, takes = 1, "one argument at most, the NAME of [strategies.NAME]"
    if len(arguments) > most:
        raise SettingsError("command line", f"{role} takes {takes}, got {shlex.join(arguments)}")
    return arguments[0] if arguments else None


def _log_where(elapsed_s: float, where: str) -> None:
    """Log where a slow start is; the watchdog does not kill a role that is starting."""
    log_event(structlog.get_logger(), StartTakesLong(elapsed_s=round(elapsed_s, 1), where=where))


def _own_var_dir(var_dir: Path) -> None:
    """Make the var directory, or check that only we can have planted what is in it."""
    try:
        make_own_directory(var_dir)
    except OSError as error:
        raise CannotStartError(
            f"cannot use the var directory {var_dir}: {error.strerror}"
        ) from None


def _beat(settings: Settings, loop: EventLoop) -> None:
    """Let the loop beat for the watchdog of the same supervisord."""
    program = os.environ.get(PROGRAM_VARIABLE)
    hang_after_ns = to_ns(settings.watchdog.hang_after)
    if program and hang_after_ns:
        loop.add_timed(Heartbeat(loop, settings.var_dir, program, hang_after_ns))
