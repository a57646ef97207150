"""The measured stack: a private stack with the real daemons under supervisord.

Nothing in it is special. Several strategies are several programs in the configuration of its
supervisord, each with a table in its settings (docs/extending.md: A second strategy), and another
rate is another rate in the settings file and a restart of the gateway, which goes on with its tape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.errors import BenchError, RoleEndedError
from bench.results import Usage
from lib.clock import SECOND_NS
from lib.process.log_events import GATEWAY, TAPE
from lib.process.run_identity import ProcessStat, process_stat
from lib.process.state_file import StateFile, open_state
from lib.process.supervisor import Supervisor, SupervisorEndingError, SupervisorSilentError
from lib.settings import DEFAULT_FILE, Settings, load_settings
from lib.stack.private_stack import PrivateStack, PrivateStackError, start_private_stack
from lib.stack.supervisord_configuration import PROGRAM
from lib.streams.publication import STATE_NAME, TICK_WORD
from lib.trading.decision_log import DecisionReader, decision_log_path

STEADY_S: Final = 60.0
"""How long a stack may take until all of it runs and its strategies evaluate."""
LOOK_S: Final = 0.05


class Published(NamedTuple):
    """The position of the gateway in its tape."""

    tape: str
    last: int
    """The sequence of the last published tick."""


class MeasuredStack:
    """See `measured_stack`."""

    def __init__(
        self, stack: PrivateStack, strategies: int, market: PrivateStack | None = None
    ) -> None:
        """`market` is the host of the gateway, None if it is that of the strategies."""
        self._stack = stack
        self._market = market or stack
        self._supervisor = Supervisor(self._market.var_dir / "supervisor.sock")
        self._state: StateFile | None = None
        self.client_ids = client_ids(stack.settings, strategies)
        """The client_ids of its strategies; each is also the name of a program."""
        self._decision_logs = {
            name: decision_log_path(stack.var_dir, name) for name in self.client_ids
        }

    @property
    def settings(self) -> Settings:
        """The settings with which its roles were last started."""
        return self._stack.settings

    @property
    def gateway_var_dir(self) -> Path:
        """Where the gateway logs, and keeps its state."""
        return self._market.var_dir

    def published(self) -> Published:
        """Return the gateway's position, read from its state file at no cost to it."""
        if self._state is None:
            self._state = open_state(self.gateway_var_dir / STATE_NAME, word_count=2)
            if self._state is None:
                raise BenchError("the gateway has no state file")
        return Published(self._state.header["tape"], self._state.words[TICK_WORD] - 1)

    def decision_readers(self) -> list[DecisionReader]:
        """Return a reader for each strategy, from now on. Raises BenchError if one has none."""
        readers = []
        for name, path in self._decision_logs.items():
            reader = DecisionReader.open(path)
            if reader is None:
                raise BenchError(f"{name} has no decision log")
            readers.append(reader)
        return readers

    def set_rate(self, rate: float) -> None:
        """Let the gateway continue its tape at another rate. Returns when ticks are evaluated.

        Evaluation alone does not prove that the new gateway runs: strategies that are behind go on
        with the ticks of the old one.
        """
        settings = self._market.settings
        gateway = replace(settings.gateway, rate=rate)
        self._market.write_settings(replace(settings, gateway=gateway))
        with _as_bench_error("the gateway does not restart"):
            self._restart_gateway()
        before, deadline_s = self.published(), time.monotonic() + STEADY_S
        wait_until(lambda: self.published() != before, deadline_s, "the gateway publishes nothing")
        self.wait_until_steady()

    def pids(self) -> dict[str, int]:
        """Return the process ids of all programs but the tape. Asking wakes supervisord.

        Raises RoleEndedError if one does not run.
        """
        return pids_of(self._supervisor)

    def wait_until_steady(self) -> None:
        """Wait until every strategy evaluates ticks, which needs all roles before it."""
        deadline_s = time.monotonic() + STEADY_S
        never = "not every strategy evaluates ticks"
        logs = self._decision_logs.values()
        wait_until(lambda: all(log.exists() for log in logs), deadline_s, never)
        for reader in self.decision_readers():
            wait_until(partial(_has_more, reader), deadline_s, never)

    def add_strategies(self) -> None:
        """Start the further strategies; the first one runs in every stack."""
        if names := self.client_ids[1:]:
            further = {name: replace(self.settings.strategy, client_id=name) for name in names}
            self._stack.write_settings(replace(self.settings, strategies=further))
            self._stack.reconfigure(partial(add_strategy_programs, names=names))

    def _restart_gateway(self) -> None:
        self._supervisor.stop(GATEWAY)
        self._supervisor.start(GATEWAY)


def pids_of(supervisor: Supervisor) -> dict[str, int]:
    """Return the process ids of all programs of one supervisord, but the tape.

    Raises RoleEndedError if one does not run, and BenchError.
    """
    with _as_bench_error("its programs are not known"):
        processes = supervisor.processes()
    pids = {p.program: p.pid for p in processes if p.program != TAPE}
    for program, pid in pids.items():
        if not pid:
            raise RoleEndedError(f"{program} does not run")
    return pids


@contextmanager
def _as_bench_error(what: str) -> Iterator[None]:
    try:
        yield
    except (SupervisorSilentError, SupervisorEndingError) as error:
        raise BenchError(f"{what}: {error or 'the stack is ending'}") from None


def bench_dir() -> Path:
    """Return the directory of the bench: in the var directory of the default settings.

    The directories of the stacks are directly in it, because the paths of their sockets must be
    short.
    """
    return load_settings(DEFAULT_FILE).var_dir / "bench"


@contextmanager
def measured_stack(settings: Settings, strategies: int = 1) -> Iterator[MeasuredStack]:
    """Run a stack with these settings; it trades when the block begins. Raises BenchError.

    The end of the block, however it comes, ends the stack and removes its files.
    """
    try:
        private = start_private_stack(settings, bench_dir(), "bench-")
        try:
            with private:
                stack = MeasuredStack(private, strategies)
                stack.add_strategies()
                stack.wait_until_steady()
                yield stack
        finally:
            private.remove_files()
    except PrivateStackError as error:
        raise BenchError(str(error)) from None


def symbols_of(count: int) -> tuple[str, ...]:
    """Return `count` symbols: the default ones if they suffice, otherwise S0000 and so on."""
    usual = Settings().symbols
    if count <= len(usual):
        return usual[:count]
    return tuple(f"S{number:04d}" for number in range(count))


def settings_for(symbols: int) -> Settings:
    """Return the default settings with so many symbols."""
    return replace(Settings(), symbols=symbols_of(symbols))


def client_ids(settings: Settings, strategies: int) -> list[str]:
    """Return the client_ids of the strategies of a stack; the first is that of [strategy]."""
    first = settings.strategy.client_id
    return [first, *(f"{first}-{number}" for number in range(2, strategies + 1))]


def add_strategy_programs(configuration: RawConfigParser, names: Iterable[str]) -> None:
    """Add programs for further strategies of these names to supervisord's configuration."""
    first = configuration[f"{PROGRAM}strategy"]
    for name in names:
        configuration[f"{PROGRAM}{name}"] = {**first, "command": f"{first['command']} {name}"}


class UsageMeter:
    """Measures CPU and memory of a stack's programs from its construction until `read`."""

    def __init__(self, stack: MeasuredStack) -> None:
        self._pids = stack.pids()
        self._since_ns = time.monotonic_ns()
        self._before_s = {
            role: process_stat_of(role, pid).cpu_s for role, pid in self._pids.items()
        }

    def read(self) -> tuple[Usage, ...]:
        """Return the CPU share since the construction, and the current memory.

        Raises RoleEndedError.
        """
        seconds = (time.monotonic_ns() - self._since_ns) / SECOND_NS
        stats = {role: process_stat_of(role, pid) for role, pid in sorted(self._pids.items())}
        return tuple(
            Usage(role, (stat.cpu_s - self._before_s[role]) / seconds, stat.resident_bytes)
            for role, stat in stats.items()
        )


def _has_more(reader: DecisionReader) -> bool:
    return len(reader.read().last) > 0


def process_stat_of(role: str, pid: int) -> ProcessStat:
    """Return what the kernel counts of a daemon. Raises RoleEndedError."""
    try:
        return process_stat(pid)
    except ProcessLookupError:
        raise RoleEndedError(f"{role} has ended while it was measured") from None


def wait_until(is_so: Callable[[], bool], deadline_s: float, otherwise: str) -> None:
    """Wait for a condition. Raises BenchError, which says `otherwise`."""
    while not is_so():
        if time.monotonic() > deadline_s:
            raise BenchError(f"the stack is not steady within {STEADY_S:g} s: {otherwise}")
        time.sleep(LOOK_S)
