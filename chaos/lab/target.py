"""The stack that an experiment acts on: one that runs already, or a private one of its own.

A running stack is found by the control socket of its supervisord in the var directory of its
settings. Where nobody listens there, a private stack is started by `main.py`, with the same
settings but for free ports, a price book and a var directory of its own, and ended afterwards.

Everything that is wrong is a `TargetError`, one line for people.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lib.price_book.segment_files import SHM_DIR
from lib.process.process_handle import ProcessHandle
from lib.process.state_file import open_state
from lib.process.supervisor import (
    Process,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
)
from lib.settings import Settings, SettingsError, load_settings
from lib.stack.launch import wake_supervisord
from lib.stack.private_stack import (
    STOP_S,
    PrivateStack,
    PrivateStackError,
    comes_to_listen,
    start_private_stack,
)
from lib.stack.supervisord_configuration import programs_of, read_configuration

YOUNG_S: Final = 2.0
"""A role younger than this is not hit: supervisord would call it one that could not start."""
STEADY_S: Final = 20.0
"""How long a stack may take until it is healthy: a role that failed to start is tried again after
1, 2, 3 s."""
LEFT_S: Final = 3.0
"""How long what is left of an ended stack may take to go."""
REVIVE_S: Final = 20.0
"""How long a role that the lab has brought down may take to run again."""
LOOK_S: Final = 0.05

_HOPELESS_STATES: Final = frozenset({"FATAL", "STOPPED", "EXITED", "UNKNOWN"})
"""States that a role does not leave by itself (supervisor 4.3: states.py)."""
_START_TICKS: Final = 19
"""Where field 22 of /proc/PID/stat, the time of its start, lies behind the program's name."""


class TargetError(Exception):
    """There is no stack to experiment on, or it is not fit for it (one line for people)."""


def known_roles() -> tuple[str, ...]:
    """Return the names of the programs in `etc/supervisord.conf`."""
    return tuple(program.name for program in programs_of(read_configuration()))


class Supervisord:
    """A supervisord as it runs now: its process, and how it was started."""

    def __init__(self, pid: int) -> None:
        """Raises OSError if there is no such process, or it is somebody else's."""
        process = Path(f"/proc/{pid}")
        self._command = (process / "cmdline").read_bytes().split(b"\0")[:-1]
        self._directory = (process / "cwd").readlink()
        pairs = (process / "environ").read_bytes().split(b"\0")
        self._environment = dict(pair.split(b"=", 1) for pair in pairs if b"=" in pair)
        self._handle = ProcessHandle(pid)
        self.successor: subprocess.Popen[bytes] | None = None
        """What was started in its place."""

    @property
    def in_foreground(self) -> bool:
        """Whether it was told not to become a daemon."""
        return b"-n" in self._command or b"--nodaemon" in self._command

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self._handle.kill()

    def has_ended(self) -> bool:
        """Tell whether it runs no more."""
        return self._handle.has_ended()

    def start_again(self) -> subprocess.Popen[bytes]:
        """Run the same command in the same directory and environment, with nobody's terminal."""
        return subprocess.Popen(
            self._command,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Give back the descriptor."""
        self._handle.close()


class TargetStack:
    """A stack under a supervisord. Leaving the `with` block ends it if it is a private one.

    Its files stay, for whoever wants to know what was wrong with it, unless `remove_files` was
    called.
    """

    def __init__(self, settings: Settings, stack: PrivateStack | None = None) -> None:
        self.settings = settings
        self.var_dir = settings.var_dir
        self._stack = stack
        self._starter: subprocess.Popen[bytes] | None = None  # of a stack that is not ours
        self._control_socket = settings.var_dir / "supervisor.sock"

    @property
    def private(self) -> bool:
        """Whether the stack is ours, to be ended by us."""
        return self._stack is not None

    def reconfigure(self, change: Callable[[str], str]) -> None:
        """Change the configuration of a private stack's supervisord, as `PrivateStack` does it."""
        assert self._stack is not None
        try:
            self._stack.reconfigure(change)
        except PrivateStackError as error:
            raise TargetError(str(error)) from None

    def processes(self) -> dict[str, Process]:
        """All roles as supervisord sees them. Asking wakes supervisord: not while time is taken."""
        with self._supervisor() as supervisor:
            return {process.program: process for process in supervisor.processes()}

    def restart(self, role: str) -> None:
        """Stop a role and start it again, as `supervisorctl restart` does."""
        self.stop(role)
        self.start(role)

    def start(self, role: str) -> None:
        """Start a role that does not run, as `supervisorctl start` does: until it has started."""
        with self._supervisor(f"cannot start {role}") as supervisor:
            supervisor.start(role)

    def stop(self, role: str) -> None:
        """Stop a role, as `supervisorctl stop` does."""
        with self._supervisor(f"cannot stop {role}") as supervisor:
            supervisor.stop(role)

    def revive(self, role: str) -> None:
        """See to it that a role runs, at once and not after supervisord's next wait.

        Raises TargetError if it does not within `REVIVE_S`.
        """
        deadline_s = time.monotonic() + REVIVE_S
        while (state := self.processes()[role].state) != "RUNNING":
            if time.monotonic() > deadline_s:
                raise TargetError(f"{role} does not run again, it is {state}")
            with suppress(TargetError):  # it was faster than we, or failed once more
                if state == "BACKOFF":  # there is no other way to shorten it
                    self.restart(role)
                elif state in _HOPELESS_STATES:
                    self.start(role)
            time.sleep(LOOK_S)

    def supervisord(self) -> Supervisord:
        """Return the supervisord that runs now. Close it after use. Raises TargetError."""
        with self._supervisor() as supervisor:
            pid = supervisor.pid()
        try:
            return Supervisord(pid)
        except OSError as error:
            raise TargetError(f"supervisord's process {pid} cannot be seen: {error}") from None

    def start_again(self, killed: Supervisord) -> int:
        """Start a supervisord the way the killed one was started; return when that was.

        Monotonic, in ns. Returns when the new one listens. Called again after an interruption, it
        goes on where it was: one that lives is killed first, one that was started is waited for.
        Raises TargetError where it does not come.
        """
        started_ns = time.monotonic_ns()
        if killed.successor is None:
            self._wait_for_end(killed)
            started_ns = time.monotonic_ns()
            killed.successor = self._start_like(killed)
        if not comes_to_listen(self.var_dir, killed.successor):
            raise TargetError(f"supervisord in {self.var_dir} does not start again")
        return started_ns

    def _wait_for_end(self, killed: Supervisord) -> None:
        """See to it that a supervisord has ended, and what we had started it with."""
        killed.kill()
        deadline_s = time.monotonic() + STOP_S
        while not killed.has_ended() and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
        try:
            main = self._stack.main if self._stack else None
            for child in (self._starter, main):  # main.py ends when its supervisord has
                if child is not None:
                    child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise TargetError(f"what started the supervisord in {self.var_dir} lives on") from None

    def _start_like(self, killed: Supervisord) -> subprocess.Popen[bytes]:
        if self._stack is not None:
            self._stack.start_again()
            return self._stack.main
        if self._starter is None and killed.in_foreground:
            print(
                "supervisord was in the foreground of what started it, such as main.py, which has "
                "lost it; it goes on in the background: supervisorctl shutdown ends it"
            )
        self._starter = killed.start_again()
        return self._starter

    @contextmanager
    def _supervisor(self, failure: str = "does not answer") -> Iterator[Supervisor]:
        """Give somebody to ask. Raises TargetError where the answer is an error."""
        try:
            yield Supervisor(self._control_socket)
        except SupervisorEndingError:
            raise TargetError(f"the supervisord in {self.var_dir} is ending") from None
        except SupervisorSilentError as error:
            raise TargetError(f"the supervisord in {self.var_dir} {failure}: {error}") from None

    def wait_until_steady(self) -> dict[str, Process]:
        """Wait until every role runs, none of them young, and ticks arrive at the strategy.

        Raises TargetError after `STEADY_S`, or at once where waiting does not help.
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
        while self.last_evaluated() == before:
            if time.monotonic() > deadline_s:
                raise TargetError(
                    f"the stack in {self.var_dir} is not healthy: no tick arrives at the strategy"
                )
            time.sleep(LOOK_S)
        return processes

    def last_evaluated(self) -> tuple[str, int]:
        """Tape and sequence of the last tick that the strategy evaluated, as it remembers them."""
        state = open_state(strategy_state(self.settings), word_count=1)
        return (str(state.header.get("tape")), state.words[0]) if state else ("", 0)

    def segments(self) -> list[str]:
        """Return the files of the price book that are there."""
        return _segments(self.settings.price_book.name)

    def left_behind(self) -> list[str]:
        """Segments and processes of a stack that has ended, once they had time to go."""
        deadline_s = time.monotonic() + LEFT_S
        while left := [*self.segments(), *_processes_of(self.var_dir)]:
            if time.monotonic() > deadline_s:
                break
            time.sleep(LOOK_S)
        return left

    def end(self) -> None:
        """End a private stack; another one is left alone. May be called again."""
        if self._stack is not None:
            self._stack.end()

    def remove_files(self) -> None:
        """Remove the files of a private stack that has ended; those of another one stay."""
        if self._stack is not None:
            self._stack.remove_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


def strategy_state(settings: Settings) -> Path:
    """Return the file in which the strategy keeps the last tick that it evaluated."""
    return settings.var_dir / f"strategy-{settings.strategy.client_id}.state"


def find_target(
    config: Path | None, var_dir: Path | None, *, needs_private: bool = False
) -> TargetStack:
    """Find the running stack of these settings, or start a private one.

    `needs_private`: a private one in any case, also beside one that runs. Raises TargetError.
    """
    if var_dir is not None:
        os.environ["TRADING_VAR_DIR"] = str(var_dir.absolute())
    try:
        settings = load_settings(config)
    except SettingsError as error:
        raise TargetError(str(error)) from None
    if not needs_private and wake_supervisord(settings.var_dir):
        return TargetStack(settings)
    try:
        private = start_private_stack(settings, settings.var_dir / "chaos", "chaos-")
    except PrivateStackError as error:
        raise TargetError(str(error)) from None
    return TargetStack(private.settings, private)


def why_not_steady(processes: Iterable[Process]) -> str:
    """Say what keeps a stack from being steady; "" if nothing does."""
    for process in processes:
        if process.state != "RUNNING":
            return f"{process.program} is {process.state}"
        if _age_s(process.pid) < YOUNG_S:
            return f"{process.program} has just started"
    return ""


def _age_s(pid: int) -> float:
    """How long a process has lived; 0 if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0.0
    started_ticks = int(stat[stat.rindex(b")") + 1 :].split()[_START_TICKS])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def _segments(name: str) -> list[str]:
    return [
        f"/dev/shm/{path.name}"
        for path in SHM_DIR.glob(f"{name}*")
        if path.name == name or path.name.startswith(f"{name}.")
    ]


def _processes_of(var_dir: Path) -> list[str]:
    """Processes that were started for this var directory; whoever just looks at it is none."""
    mark = f"TRADING_VAR_DIR={var_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found.append(f"process {entry.name}: {command.decode(errors='replace')}")
        except OSError:
            continue  # it has just ended, or is somebody else's
    return found
