"""The storm runner with processes that only sleep: which are hit, and that all is undone."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.faults.connection_faults import Blackhole, Clear, Reset
from chaos.faults.proxy import Proxy
from chaos.lab.experiment import RoundContext
from chaos.lab.recorder import SUPERVISORD, Event, StackRecording
from chaos.lab.target import TargetStack
from chaos.storms.planned_faults import ALL_ROLES, FaultKind, PlannedFault
from chaos.storms.runner import StormRunner
from lib.clock import SECOND_NS
from lib.process import run_identity
from lib.settings import Settings
from tests.helpers import wait_until
from tests.log_lines import recorded

Sleepers = dict[str, "subprocess.Popen[bytes]"]


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    """The processes of two roles, and one that is to come."""
    names = ("gateway", "watchdog", "successor")
    processes = {name: subprocess.Popen(["sleep", "1000"]) for name in names}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def recording() -> StackRecording:
    return StackRecording()


@pytest.fixture
def runner(sleepers: Sleepers, recording: StackRecording) -> StormRunner:
    return runner_for(sleepers, recording, {})


def runner_for(
    sleepers: Sleepers, recording: StackRecording, proxies: dict[str, Proxy]
) -> StormRunner:
    recorder = cast("Any", SimpleNamespace(recording=recording))
    context = RoundContext(
        TargetStack(Settings()), recorder, Random(1), lambda what, part=0.0: None
    )
    pids = {role: sleepers[role].pid for role in ("gateway", "watchdog")}
    return StormRunner(context, proxies, pids)


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    return run_identity.is_stopped(run_identity.run_of(process.pid))


def spawned(pid: int, seconds_ago: int = 0) -> Event:
    at_ns = time.monotonic_ns() - seconds_ago * SECOND_NS
    return recorded(at_ns, SUPERVISORD, "spawned", {"role": "gateway", "pid": pid})


def test_a_pause_ends_when_its_time_is_over(runner: StormRunner, sleepers: Sleepers) -> None:
    runner.run([PlannedFault(0.0, FaultKind.PAUSE, ("gateway",), lasts_s=0.1)])
    wait_until(lambda: not is_stopped(sleepers["gateway"]), "it goes on")
    [injected] = runner.injected_faults
    assert injected.end_ns is not None
    assert injected.end_ns - injected.begin_ns >= 100_000_000
    assert runner.last_change_ns == injected.end_ns


def test_a_freeze_is_left_to_the_watchdog_until_undo(
    runner: StormRunner, sleepers: Sleepers
) -> None:
    runner.run([PlannedFault(0.0, FaultKind.FREEZE, ("gateway",))])
    runner.wait_until_over(0)
    wait_until(lambda: is_stopped(sleepers["gateway"]), "it stands still")
    assert runner.injected_faults[0].end_ns is None
    runner.undo()
    wait_until(lambda: not is_stopped(sleepers["gateway"]), "it goes on")


def test_a_role_under_a_fault_is_not_hit_again_but_another_one_is(
    runner: StormRunner, sleepers: Sleepers
) -> None:
    kill = PlannedFault(0.0, FaultKind.KILL, ("gateway", "watchdog"))
    runner.run([kill, kill, kill])
    assert [injected.victim for injected in runner.injected_faults] == ["gateway", "watchdog"]
    assert runner.skipped == [kill]
    for role in ("gateway", "watchdog"):
        assert sleepers[role].wait(timeout=10) == -signal.SIGKILL


def test_a_role_that_is_young_or_down_is_not_hit_and_the_fault_counts_as_skipped(
    runner: StormRunner, recording: StackRecording, sleepers: Sleepers
) -> None:
    recording.events.append(spawned(sleepers["gateway"].pid))
    sleepers["watchdog"].kill()
    sleepers["watchdog"].wait()
    planned_faults = [
        PlannedFault(0.05, FaultKind.KILL, ("gateway", "watchdog")),
        PlannedFault(0.05, FaultKind.EVERYTHING, (ALL_ROLES,)),
    ]
    runner.run(planned_faults)
    assert runner.injected_faults == []
    assert runner.skipped == planned_faults
    assert sleepers["gateway"].poll() is None


def test_a_kill_is_over_when_the_role_has_a_new_process_which_is_hit_from_then_on(
    runner: StormRunner, recording: StackRecording, sleepers: Sleepers
) -> None:
    term = PlannedFault(0.05, FaultKind.TERM, ("gateway",))
    runner.run([term])
    assert sleepers["gateway"].wait(timeout=10) == -signal.SIGTERM
    runner.wait_until_over(0)
    assert runner.injected_faults[0].end_ns is None
    recording.events.append(spawned(sleepers["successor"].pid))
    runner.wait_until_over(100_000_000)
    assert runner.injected_faults[0].end_ns is not None
    recording.events.append(spawned(sleepers["successor"].pid, seconds_ago=10))
    runner.run([term])
    assert sleepers["successor"].wait(timeout=10) == -signal.SIGTERM


def test_a_connection_has_one_lasting_fault_at_a_time_and_only_an_open_one_is_cut(
    sleepers: Sleepers, recording: StackRecording
) -> None:
    lasting = PlannedFault(0.0, FaultKind.BLACKHOLE, ("price",), 0.1, Blackhole())
    cut = PlannedFault(0.0, FaultKind.RESET, ("price",), 0.0, Reset())
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()) as proxy:
        runner = runner_for(sleepers, recording, {"price": proxy})
        runner.run([lasting, lasting, cut])
        assert [injected.planned for injected in runner.injected_faults] == [lasting]
        assert runner.skipped == [lasting, cut]
        assert isinstance(proxy.fault, Clear)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            wait_until(lambda: proxy.connections == 1, "the proxy has a connection")
            runner.run([cut])
            with pytest.raises(ConnectionResetError):
                client.recv(1)
