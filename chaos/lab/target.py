"""The stack that an experiment acts on: a running one, or a private one started for it.

A running stack is found by the control socket of its supervisord in the var directory of its
settings. If no supervisord listens there, `main.py` starts a private one with the same settings
except for ports, price book and var directory. Every problem is a `TargetError`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from configparser import RawConfigParser
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from lib.price_book.segment_files import SHM_DIR
from lib.process.log_events import TAPE
from lib.process.process_handle import ProcessHandle
from lib.process.run_identity import process_stat
from lib.process.supervisor import (
    Process,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
)
from lib.settings import PROJECT_ROOT, Settings, SettingsError, load_settings
from lib.stack.launch import wake_supervisord
from lib.stack.private_stack import (
    STOP_S,
    PrivateStack,
    PrivateStackError,
    start_private_stack,
)
from lib.stack.supervisord_configuration import programs_of, read_configuration
from lib.trading.checkpoint import last_evaluated_path, read_last_evaluated

YOUNG_S: Final = 2.0
"""A role younger than this is not hit: supervisord would count a failed start (startsecs)."""
STEADY_S: Final = 20.0
"""How long a stack may take to become healthy, with supervisord's waits between failed starts."""
LEFT_S: Final = 3.0
"""How long the remains of an ended stack (segments, processes) may take to disappear."""
REVIVE_S: Final = 20.0
"""How long a role that the lab stopped may take to be running again."""
CHECK_S: Final = 60.0
"""How long `python -m lib.ledger --check` may take."""
LOOK_S: Final = 0.05

_HOPELESS_STATES: Final = frozenset({"FATAL", "STOPPED", "EXITED", "UNKNOWN"})
"""supervisord's states that a role does not leave by itself (supervisor 4.3: states.py)."""


class TargetError(Exception):
    """There is no stack to experiment on, or it is in the wrong state (a one-line message)."""


class FollowedLogs(NamedTuple):
    """Logs that a recorder follows."""

    host: str
    """The host of a cluster that they are of; "" for the stack that is experimented on."""
    var_dir: Path
    programs: tuple[str, ...]


def known_roles() -> tuple[str, ...]:
    """Return the names of the programs in `etc/supervisord.conf`, without the tape, which ends."""
    programs = programs_of(read_configuration())
    return tuple(program.name for program in programs if program.name != TAPE)


class TargetStack:
    """A stack under a supervisord. Leaving the `with` block ends it if it is a private one.

    Its files stay for troubleshooting unless `remove_files` is called.
    """

    spans_hosts = False
    """Whether its ticks come from other hosts, and its orders go to others."""

    def __init__(self, settings: Settings, stack: PrivateStack | None = None) -> None:
        self.settings = settings
        self.var_dir = settings.var_dir
        self._stack = stack
        self._control_socket = settings.var_dir / "supervisor.sock"

    @property
    def private(self) -> bool:
        """Whether the stack was started for this experiment, which then has to end it."""
        return self._stack is not None

    def reconfigure(self, change: Callable[[RawConfigParser], None]) -> None:
        """Change the supervisord configuration of a private stack, as `PrivateStack` does."""
        assert self._stack is not None
        try:
            self._stack.reconfigure(change)
        except PrivateStackError as error:
            raise TargetError(str(error)) from None

    @property
    def ledger(self) -> Path:
        """Where its orders are booked."""
        return self.var_dir / self.settings.order_manager.ledger

    def addresses(self) -> dict[str, tuple[str, int]]:
        """Return host and port of each stream's server."""
        gateway, order_manager = self.settings.gateway, self.settings.order_manager
        return {
            "price": (gateway.host, gateway.price_port),
            "news": (gateway.host, gateway.news_port),
            "orders": (order_manager.host, order_manager.port),
        }

    def gateways(self) -> list[tuple[str, int]]:
        """Return host and port of each gateway that may play its tape."""
        return [self.addresses()["price"]]

    def logs(self) -> list[FollowedLogs]:
        """Return the logs to follow, those of the stack itself first."""
        return [FollowedLogs("", self.var_dir, known_roles())]

    def processes(self) -> dict[str, Process]:
        """Return all roles as supervisord sees them. Wakes it: do not call while measuring.

        Without the tape, which is at work only before the others are.
        """
        with self._supervisor() as supervisor:
            processes = supervisor.processes()
        return {process.program: process for process in processes if process.program != TAPE}

    def restart(self, role: str) -> None:
        """Stop a role and start it again, as `supervisorctl restart` does."""
        self.stop(role)
        self.start(role)

    def start(self, role: str) -> None:
        """Start a stopped role and wait for it, as `supervisorctl start` does."""
        with self._supervisor(f"cannot start {role}") as supervisor:
            supervisor.start(role)

    def stop(self, role: str) -> None:
        """Stop a role, as `supervisorctl stop` does."""
        with self._supervisor(f"cannot stop {role}") as supervisor:
            supervisor.stop(role)

    def revive(self, role: str) -> None:
        """Start a role that was being restarted, wherever that was interrupted.

        Raises TargetError if it is not running within `REVIVE_S`.
        """

        def is_running() -> bool:
            if self.processes()[role].state == "RUNNING":
                return True
            with suppress(TargetError):  # it is starting, or not down yet
                self.start(role)
            return False

        if not wait_for(is_running, REVIVE_S):
            raise TargetError(f"{role} is not running again")

    def supervisord(self) -> ProcessHandle:
        """Return the process of the running supervisord. Close it after use. Raises TargetError."""
        with self._supervisor() as supervisor:
            pid = supervisor.pid()
        try:
            return ProcessHandle(pid)
        except ProcessLookupError:
            raise TargetError(f"the supervisord in {self.var_dir} has ended") from None

    def start_again(self) -> int:
        """Start a private stack whose supervisord was killed; return the time of the start.

        The time is monotonic, in ns. Returns once supervisord listens. Raises TargetError.
        """
        assert self._stack is not None
        try:
            self._stack.main.wait(STOP_S)  # it ends when its supervisord has
            started_ns = time.monotonic_ns()
            self._stack.start()
            self._stack.wait_until_it_listens()
        except (subprocess.TimeoutExpired, PrivateStackError) as error:
            raise TargetError(str(error)) from None
        return started_ns

    @contextmanager
    def _supervisor(self, failure: str = "does not answer") -> Iterator[Supervisor]:
        """Yield the interface of supervisord; turn its errors into TargetError."""
        try:
            yield Supervisor(self._control_socket)
        except SupervisorEndingError:
            raise TargetError(f"the supervisord in {self.var_dir} is ending") from None
        except SupervisorSilentError as error:
            raise TargetError(f"the supervisord in {self.var_dir} {failure}: {error}") from None

    def wait_until_steady(self) -> dict[str, Process]:
        """Wait until every role runs, none of them young, and ticks arrive at the strategy.

        Raises TargetError after `STEADY_S`, or at once if waiting cannot help.
        """
        deadline_s = time.monotonic() + STEADY_S
        while True:
            processes = self.processes()
            hopeless = [p for p in processes.values() if p.state in _HOPELESS_STATES]
            trouble = why_not_steady(hopeless or processes.values())
            if not trouble:
                break
            if hopeless or time.monotonic() > deadline_s:
                raise TargetError(f"the stack in {self.var_dir} is not healthy: {trouble}")
            time.sleep(LOOK_S)
        before = self.last_evaluated()
        if not wait_for(lambda: self.last_evaluated() != before, deadline_s - time.monotonic()):
            raise TargetError(
                f"the stack in {self.var_dir} is not healthy: no tick arrives at the strategy"
            )
        return processes

    def last_evaluated(self) -> tuple[str, int]:
        """Return tape and sequence of the last evaluated tick, from the strategy's state file."""
        return read_last_evaluated(strategy_state(self.settings))

    def stop_ticks(self) -> None:
        """Stop what its ticks come from, once those that were played have arrived."""
        self.stop("gateway")

    def differences(self) -> list[str]:
        """Return where its parts disagree that can only be asked while it runs, a line each."""
        return []

    def check_ledger(self) -> list[str]:
        """Return what `python -m lib.ledger --check` finds on a private stack, a line each."""
        assert self._stack is not None
        command = (sys.executable, "-m", "lib.ledger", "--check", "--config", self._stack.config)
        try:
            done = subprocess.run(
                [*command, "--var-dir", self.var_dir],
                cwd=PROJECT_ROOT,
                capture_output=True,
                text=True,
                timeout=CHECK_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [f"the check of the ledger takes over {CHECK_S:g} s"]
        return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()

    def pids(self) -> list[int]:
        """Return the processes of a private stack, `main.py` first."""
        assert self._stack is not None
        return [self._stack.main.pid, *_processes_of(self.var_dir)]

    def has_ended(self) -> bool:
        """Return whether a private stack is down: its `main.py` has ended."""
        assert self._stack is not None
        return self._stack.main.poll() is not None

    def segments(self) -> list[str]:
        """Return the existing files of the price book."""
        name = self.settings.price_book.name
        return [str(path) for path in (*SHM_DIR.glob(name), *SHM_DIR.glob(f"{name}.*"))]

    def left_behind(self) -> list[str]:
        """Return the remaining segments and processes of an ended stack, after `LEFT_S`."""

        def remains() -> list[str]:
            return [*self.segments(), *_processes_of(self.var_dir).values()]

        wait_for(lambda: not remains(), LEFT_S)
        return remains()

    def end(self) -> None:
        """End a private stack; leave a running one alone. May be called again."""
        if self._stack is not None:
            self._stack.end()

    def remove_files(self) -> None:
        """Remove the files of an ended private stack; keep those of a running one."""
        if self._stack is not None:
            self._stack.remove_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def strategy_state(settings: Settings) -> Path:
    """Return the file in which the strategy keeps the last tick that it evaluated."""
    return last_evaluated_path(settings.var_dir, settings.strategy.client_id)


def load_target_settings(config: Path | None, var_dir: Path | None) -> Settings:
    """Load the settings of the command line. Raises TargetError."""
    if var_dir is not None:
        os.environ["TRADING_VAR_DIR"] = str(var_dir.absolute())
    try:
        return load_settings(config)
    except SettingsError as error:
        raise TargetError(str(error)) from None


def find_target(
    config: Path | None,
    var_dir: Path | None,
    change: Callable[[Settings], Settings],
    *,
    needs_private: bool = False,
) -> TargetStack:
    """Find the running stack of these settings, or start a private one with them changed.

    `needs_private`: always start one, even beside a running one. Raises TargetError.
    """
    settings = load_target_settings(config, var_dir)
    if not needs_private and wake_supervisord(settings.var_dir):
        return TargetStack(settings)
    try:
        private = start_private_stack(change(settings), settings.var_dir / "chaos", "chaos-")
    except PrivateStackError as error:
        raise TargetError(str(error)) from None
    return TargetStack(private.settings, private)


def why_not_steady(processes: Iterable[Process]) -> str:
    """Return why a stack is not steady; "" if it is."""
    for process in processes:
        if process.state != "RUNNING":
            return f"{process.program} is {process.state}"
        with suppress(ProcessLookupError):  # it has ended since, and is started again
            if process_stat(process.pid).uptime_s >= YOUNG_S:
                continue
        return f"{process.program} has just started"
    return ""


def wait_for(condition: Callable[[], bool], limit_s: float, look_s: float = LOOK_S) -> bool:
    """Poll until a condition is true, for at most `limit_s`; return whether it is."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(look_s)
    return True


def _processes_of(var_dir: Path) -> dict[int, str]:
    """Return the processes that were started for this var directory, but not its observers."""
    mark = f"TRADING_VAR_DIR={var_dir}".encode()
    found = {}
    for entry in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):  # it has just ended, or belongs to another user
            is_other = int(entry.name) != os.getpid()
            if is_other and mark in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                said = command.decode(errors="replace")
                found[int(entry.name)] = f"process {entry.name}: {said}"
    return found
