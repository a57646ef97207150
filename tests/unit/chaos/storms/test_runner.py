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
from chaos.storms.runner import GarbageClient, StormRunner
from lib.clock import SECOND_NS
from lib.process import run_identity
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


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    return run_identity.is_stopped(run_identity.run_of(process.pid))


def test_a_pause_ends_when_its_time_is_over(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.PAUSE, ("gateway",), lasts_s=0.1)])
    wait_until(lambda: not is_stopped(sleepers["gateway"]), "it goes on")
    [injected] = runner.injected_faults
    assert injected.end_ns is not None
    assert injected.end_ns - injected.begin_ns >= 100_000_000
    assert runner.last_change_ns == injected.end_ns


def test_a_freeze_is_left_to_the_watchdog_until_undo_which_may_be_interrupted(
    sleepers: Sleepers,
) -> None:
    runner, _ = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.FREEZE, ("gateway",))])
    runner.wait_until_over(0)
    wait_until(lambda: is_stopped(sleepers["gateway"]), "it stands still")
    [active] = runner._active
    assert active.end_ns is None
    [resume] = active.undo
    interruptions = iter([KeyboardInterrupt])

    def interrupted_once() -> None:
        for kind in interruptions:
            raise kind
        resume()

    active.undo[0] = interrupted_once
    with pytest.raises(KeyboardInterrupt):
        runner.undo()
    assert is_stopped(sleepers["gateway"])
    runner.undo()
    wait_until(lambda: not is_stopped(sleepers["gateway"]), "it goes on")


def test_a_role_under_a_fault_is_not_hit_again_but_another_one_is(sleepers: Sleepers) -> None:
    runner, _ = runner_for(sleepers)
    kill = PlannedFault(0.0, FaultKind.KILL, ("gateway", "watchdog"))
    runner.run([kill, kill, kill])
    assert [injected.victim for injected in runner.injected_faults] == ["gateway", "watchdog"]
    assert runner.skipped == [kill]
    for process in sleepers.values():
        assert process.wait(timeout=10) == -signal.SIGKILL


def spawned(pid: int, seconds_ago: int = 0) -> Event:
    at_ns = time.monotonic_ns() - seconds_ago * SECOND_NS
    return recorded(at_ns, SUPERVISORD, "spawned", {"role": "gateway", "pid": pid})


def test_a_role_that_is_young_or_down_is_not_hit_and_the_fault_counts_as_skipped(
    sleepers: Sleepers,
) -> None:
    runner, recording = runner_for(sleepers)
    gateway, watchdog = sleepers["gateway"], sleepers["watchdog"]
    recording.events.append(spawned(gateway.pid))
    watchdog.kill()
    watchdog.wait()
    planned_faults = [
        PlannedFault(0.05, FaultKind.KILL, ("gateway", "watchdog")),
        PlannedFault(0.05, FaultKind.EVERYTHING, (ALL_ROLES,)),
    ]
    runner.run(planned_faults)
    assert runner.injected_faults == []
    assert runner.skipped == planned_faults
    assert gateway.poll() is None


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
    assert not is_stopped(watchdog)


def test_a_new_process_of_a_role_is_held_once_its_pid_is_logged(sleepers: Sleepers) -> None:
    runner, recording = runner_for(sleepers)
    sleepers["gateway"].kill()
    sleepers["gateway"].wait()
    with subprocess.Popen(["sleep", "1000"]) as successor:
        try:
            recording.events.append(spawned(successor.pid, seconds_ago=10))
            runner.run([PlannedFault(0.05, FaultKind.TERM, ("gateway",))])
            assert successor.wait(timeout=10) == -signal.SIGTERM
        finally:
            successor.kill()
    assert [injected.victim for injected in runner.injected_faults] == ["gateway"]


def test_a_kill_is_over_when_the_role_has_been_started_again(sleepers: Sleepers) -> None:
    runner, recording = runner_for(sleepers)
    runner.run([PlannedFault(0.0, FaultKind.TERM, ("gateway",))])
    recording.events.append(spawned(sleepers["watchdog"].pid))
    runner.wait_until_over(100_000_000)
    assert runner.injected_faults[0].end_ns is not None
    assert sleepers["gateway"].wait(timeout=10) == -signal.SIGTERM


def test_a_connection_has_one_lasting_fault_at_a_time_and_only_an_open_one_is_cut(
    sleepers: Sleepers,
) -> None:
    lasting = PlannedFault(0.0, FaultKind.BLACKHOLE, ("price",), 0.1, Blackhole())
    cut = PlannedFault(0.0, FaultKind.RESET, ("price",), 0.0, Reset())
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()) as proxy:
        runner, _ = runner_for(sleepers, {"price": proxy})
        runner.run([lasting, lasting, cut])
        assert [injected.planned for injected in runner.injected_faults] == [lasting]
        assert runner.skipped == [lasting, cut]
        assert isinstance(proxy.fault, Clear)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            wait_until(lambda: proxy.connections == 1, "the proxy has a connection")
            runner.run([cut])
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
