"""The storm runner with processes that only sleep: which are hit, and that all is undone."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.faults.connection_faults import Blackhole, Clear, Reset
from chaos.faults.proxy import Proxy
from chaos.lab.experiment import RoundContext
from chaos.lab.recorder import SUPERVISORD, StackRecording
from chaos.lab.target import TargetStack
from chaos.storms.planned_faults import ALL_ROLES, FaultKind, PlannedFault
from chaos.storms.runner import GarbageClient, StormRunner
from lib.settings import GatewaySettings, Settings
from tests.helpers import wait_until
from tests.log_lines import recorded

Sleepers = dict[str, "subprocess.Popen[bytes]"]


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    """The processes of two roles."""
    processes = {role: subprocess.Popen(["sleep", "1000"]) for role in ("gateway", "watchdog")}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def runner_for(
    sleepers: Sleepers, proxies: dict[str, Proxy] | None = None, settings: Settings | None = None
) -> tuple[StormRunner, StackRecording]:
    recording = StackRecording()
    recorder = cast("Any", SimpleNamespace(recording=recording))
    context = RoundContext(
        TargetStack(settings or Settings()), recorder, Random(1), lambda what, part=0.0: None
    )
    pids = {role: process.pid for role, process in sleepers.items()}
    return StormRunner(context, proxies or {}, pids), recording


def state_of(process: subprocess.Popen[bytes]) -> str:
    """One letter: T is stopped."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


def test_a_pause_ends_when_its_time_is_over(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.PAUSE, ("gateway",), lasts_s=0.1)])
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")
    [injected] = runner.injected_faults
    assert injected.end_ns is not None
    assert injected.end_ns - injected.begin_ns >= 100_000_000
    assert runner.last_change_ns == injected.end_ns


def test_a_freeze_is_left_to_the_watchdog_until_undo(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.FREEZE, ("gateway",))])
    runner.wait_until_over(0)
    wait_until(lambda: state_of(sleepers["gateway"]) == "T", "it stands still")
    assert runner.injected_faults[0].end_ns is None
    runner.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")


def test_undo_resumes_a_role_after_an_interruption(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    number = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            runner.run([PlannedFault(0.0, FaultKind.PAUSE, ("gateway",), lasts_s=60.0)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, number)
    wait_until(lambda: state_of(sleepers["gateway"]) == "T", "it stands still")
    runner.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")


def test_a_role_under_a_fault_is_not_hit_again_but_another_one_is(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    kill = PlannedFault(0.0, FaultKind.KILL, ("gateway", "watchdog"))
    runner.run([kill, kill, kill])
    assert [injected.victim for injected in runner.injected_faults] == ["gateway", "watchdog"]
    assert runner.skipped == [kill]
    for process in sleepers.values():
        assert process.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.parametrize("change", ["ended", "given_up"])
def test_a_role_that_is_young_or_down_is_not_hit_and_the_fault_counts_as_skipped(
    sleepers: Sleepers, change: str
) -> None:
    runner, recording = runner_for(sleepers)
    recording.events += [
        recorded(time.monotonic_ns(), SUPERVISORD, "spawned", {"role": "gateway"}),
        recorded(time.monotonic_ns(), SUPERVISORD, change, {"role": "watchdog"}),
    ]
    planned_faults = [
        PlannedFault(0.05, FaultKind.KILL, ("gateway", "watchdog")),
        PlannedFault(0.05, FaultKind.EVERYTHING, (ALL_ROLES,)),
    ]
    runner.run(planned_faults)
    assert runner.injected_faults == []
    assert runner.skipped == planned_faults
    assert [process.poll() for process in sleepers.values()] == [None, None]


def test_a_role_that_has_not_logged_its_new_pid_yet_is_not_hit(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    sleepers["watchdog"].kill()
    sleepers["watchdog"].wait()
    planned_fault = PlannedFault(0.0, FaultKind.EVERYTHING, (ALL_ROLES,))
    runner.run([planned_fault])
    assert runner.skipped == [planned_fault]
    assert sleepers["gateway"].poll() is None


def test_a_process_is_hit_through_its_handle_and_never_by_a_reused_pid(
    sleepers: Sleepers,
) -> None:
    runner, _ = runner_for(sleepers)
    gateway, watchdog = sleepers["gateway"], sleepers["watchdog"]
    gateway.kill()
    gateway.wait()
    # As if the kernel had given the number of the one that ended to the other one.
    runner._processes["gateway"].pid = watchdog.pid
    planned_faults = [
        PlannedFault(0.0, kind, ("gateway",))
        for kind in (FaultKind.KILL, FaultKind.TERM, FaultKind.FREEZE)
    ]
    runner.run(planned_faults)
    assert runner.skipped == planned_faults
    assert watchdog.poll() is None
    assert state_of(watchdog) != "T"


def test_a_new_process_of_a_role_is_held_once_its_pid_is_logged(sleepers: Sleepers) -> None:
    runner, recording = runner_for(sleepers)
    sleepers["gateway"].kill()
    sleepers["gateway"].wait()
    with subprocess.Popen(["sleep", "1000"]) as successor:
        try:
            details = {"pid": successor.pid}
            recording.events.append(recorded(time.monotonic_ns(), "gateway", "started", details))
            runner.run([PlannedFault(0.05, FaultKind.TERM, ("gateway",))])
            assert successor.wait(timeout=10) == -signal.SIGTERM
        finally:
            successor.kill()
    assert [injected.victim for injected in runner.injected_faults] == ["gateway"]


def test_an_interrupted_undo_can_be_called_again(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.FREEZE, ("gateway",))])
    [active] = runner._active
    [resume] = active.undo
    interruptions = iter([KeyboardInterrupt])

    def interrupted_once() -> None:
        for kind in interruptions:
            raise kind
        resume()

    active.undo[0] = interrupted_once
    with pytest.raises(KeyboardInterrupt):
        runner.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) == "T", "it stands still")
    runner.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")


def test_a_kill_is_over_when_the_role_has_been_started_again(sleepers: Sleepers) -> None:
    runner, recording = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.TERM, ("gateway",))])
    recording.events.append(
        recorded(time.monotonic_ns(), SUPERVISORD, "spawned", {"role": "gateway"})
    )
    runner.wait_until_over(100_000_000)
    assert runner.injected_faults[0].end_ns is not None
    assert sleepers["gateway"].wait(timeout=10) == -signal.SIGTERM


def test_a_connection_has_one_lasting_fault_at_a_time_and_is_cleared_afterwards(
    sleepers: Sleepers,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()) as proxy:
        runner, _ = runner_for(sleepers, {"price": proxy})
        lasting = PlannedFault(0.0, FaultKind.BLACKHOLE, ("price",), 0.1, Blackhole())
        runner.run([lasting, lasting])
        assert (len(runner.injected_faults), runner.skipped) == (1, [lasting])
        assert isinstance(proxy.fault, Clear)


def test_what_is_not_connected_cannot_be_cut(sleepers: Sleepers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()) as proxy:
        runner, _ = runner_for(sleepers, {"price": proxy})
        cut = PlannedFault(0.0, FaultKind.RESET, ("price",), 0.0, Reset())
        runner.run([cut])
        assert runner.skipped == [cut]
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            wait_until(lambda: proxy.connections == 1, "the proxy has a connection")
            runner.run([cut])
            assert len(runner.injected_faults) == 1
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_garbage_is_the_same_for_the_same_fault_and_uses_its_own_random(
    sleepers: Sleepers,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        host, port = server.getsockname()
        gateway = GatewaySettings(host=host, price_port=port)
        said = []
        for _ in range(2):
            runner, _ = runner_for(sleepers, settings=Settings(gateway=gateway))
            runner.run([PlannedFault(0.0, FaultKind.NOISE, ("price",), 0.1, seed=5)])
            with server.accept()[0] as peer:
                peer.settimeout(10)
                said.append(peer.recv(1 << 16)[:10])
            assert runner._context.random.getstate() == Random(1).getstate()
    assert said[0] == said[1] != b""


def test_a_garbage_client_reconnects_after_the_server_has_disconnected_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        garbage_client = GarbageClient(server.getsockname(), Random(1))
        server.setblocking(False)
        for _ in range(2):
            sock = wait_until(lambda: step_and_accept(garbage_client, server), "garbage comes")
            assert sock
            sock.settimeout(10)
            assert sock.recv(1 << 16)
            sock.close()
        garbage_client.close()


def step_and_accept(garbage_client: GarbageClient, server: socket.socket) -> socket.socket | None:
    garbage_client.step()
    try:
        return server.accept()[0]
    except BlockingIOError:
        return None
