"""A storm that blows on processes that only sleep: who is hit, and that all of it is put back."""

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
from chaos.lab.recorder import SUPERVISORD, Event, StackRecording
from chaos.lab.target import TargetStack
from chaos.storms.planned_faults import EVERYBODY, FaultKind, PlannedFault, RoleInstances
from chaos.storms.runner import GarbageClient, HeldProcess, StormRunner
from lib.settings import GatewaySettings, Settings
from tests.helpers import wait_until

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


def weather_over(
    sleepers: Sleepers, proxies: dict[str, Proxy] | None = None, settings: Settings | None = None
) -> tuple[StormRunner, StackRecording]:
    recording = StackRecording()
    recorder = cast("Any", SimpleNamespace(recording=recording))
    stage = RoundContext(
        TargetStack(settings or Settings()), recorder, Random(1), lambda what, part=0.0: None
    )
    lives = RoleInstances({role: process.pid for role, process in sleepers.items()})
    return StormRunner(stage, proxies or {}, lives), recording


def state_of(process: subprocess.Popen[bytes]) -> str:
    """One letter: T is stopped."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


def test_a_pause_ends_when_its_time_is_over(sleepers: Sleepers) -> None:
    weather, _ = weather_over(sleepers)
    weather.blow([PlannedFault(0.0, FaultKind.PAUSE, ("gateway",), lasts_s=0.1)])
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")
    [hit] = weather.hits
    assert hit.end_ns is not None
    assert hit.end_ns - hit.begin_ns >= 100_000_000
    assert weather.last_ns == hit.end_ns


def test_a_freeze_is_left_to_the_watchdog_until_all_is_put_back(sleepers: Sleepers) -> None:
    weather, _ = weather_over(sleepers)
    weather.blow([PlannedFault(0.0, FaultKind.FREEZE, ("gateway",))])
    weather.calm_down(0)
    wait_until(lambda: state_of(sleepers["gateway"]) == "T", "it stands still")
    assert weather.hits[0].end_ns is None
    weather.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")


def test_an_interruption_leaves_nothing_that_undo_cannot_put_back(sleepers: Sleepers) -> None:
    weather, _ = weather_over(sleepers)
    number = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            weather.blow([PlannedFault(0.0, FaultKind.PAUSE, ("gateway",), lasts_s=60.0)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, number)
    wait_until(lambda: state_of(sleepers["gateway"]) == "T", "it stands still")
    weather.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")


def test_a_role_under_a_fault_is_not_hit_again_but_another_one_is(sleepers: Sleepers) -> None:
    weather, _ = weather_over(sleepers)
    kill = PlannedFault(0.0, FaultKind.KILL, ("gateway", "watchdog"))
    weather.blow([kill, kill, kill])
    assert [hit.victim for hit in weather.hits] == ["gateway", "watchdog"]
    assert weather.skipped == [kill]
    for process in sleepers.values():
        assert process.wait(timeout=10) == -signal.SIGKILL


def test_a_role_that_is_young_or_dead_is_not_hit_and_the_gust_counts_as_skipped(
    sleepers: Sleepers,
) -> None:
    weather, recording = weather_over(sleepers)
    recording.events += [
        Event(time.monotonic_ns(), SUPERVISORD, "spawned", {"role": "gateway"}),
        Event(time.monotonic_ns(), SUPERVISORD, "ended", {"role": "watchdog"}),
    ]
    gusts = [
        PlannedFault(0.05, FaultKind.KILL, ("gateway", "watchdog")),
        PlannedFault(0.05, FaultKind.EVERYTHING, (EVERYBODY,)),
    ]
    weather.blow(gusts)
    assert weather.hits == []
    assert weather.skipped == gusts
    assert [process.poll() for process in sleepers.values()] == [None, None]


def test_a_role_that_has_not_told_its_new_process_yet_is_not_hit(sleepers: Sleepers) -> None:
    weather, _ = weather_over(sleepers)
    sleepers["watchdog"].kill()
    sleepers["watchdog"].wait()
    gust = PlannedFault(0.0, FaultKind.EVERYTHING, (EVERYBODY,))
    weather.blow([gust])
    assert weather.skipped == [gust]
    assert sleepers["gateway"].poll() is None


def test_a_process_is_hit_through_what_is_held_and_never_by_a_number_that_was_given_again(
    sleepers: Sleepers,
) -> None:
    weather, _ = weather_over(sleepers)
    gateway, watchdog = sleepers["gateway"], sleepers["watchdog"]
    gateway.kill()
    gateway.wait()
    # As if the kernel had given the number of the one that ended to the other one.
    weather._holds["gateway"].pid = watchdog.pid
    weather._lives.of("gateway").pid = watchdog.pid
    gusts = [
        PlannedFault(0.0, kind, ("gateway",))
        for kind in (FaultKind.KILL, FaultKind.TERM, FaultKind.FREEZE)
    ]
    weather.blow(gusts)
    assert weather.skipped == gusts
    assert watchdog.poll() is None
    assert state_of(watchdog) != "T"


def test_a_new_process_of_a_role_is_held_when_it_is_told_of(sleepers: Sleepers) -> None:
    weather, recording = weather_over(sleepers)
    sleepers["gateway"].kill()
    sleepers["gateway"].wait()
    with subprocess.Popen(["sleep", "1000"]) as successor:
        try:
            told = {"pid": successor.pid}
            recording.events.append(Event(time.monotonic_ns(), "gateway", "started", told))
            weather.blow([PlannedFault(0.05, FaultKind.TERM, ("gateway",))])
            assert successor.wait(timeout=10) == -signal.SIGTERM
        finally:
            successor.kill()
    assert [hit.victim for hit in weather.hits] == ["gateway"]


def test_all_at_once_is_done_also_where_one_ends_by_itself_meanwhile(
    sleepers: Sleepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    weather, _ = weather_over(sleepers)
    sleepers["gateway"].kill()
    sleepers["gateway"].wait()
    monkeypatch.setattr(HeldProcess, "alive", True)  # it was, when it was looked at
    weather.blow([PlannedFault(0.0, FaultKind.EVERYTHING, (EVERYBODY,))])
    assert ([hit.victim for hit in weather.hits], weather.skipped) == ([EVERYBODY], [])
    assert sleepers["watchdog"].wait(timeout=10) == -signal.SIGKILL


def test_a_role_that_ends_by_itself_before_it_is_hit_is_skipped(
    sleepers: Sleepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    weather, _ = weather_over(sleepers)
    sleepers["gateway"].kill()
    sleepers["gateway"].wait()
    monkeypatch.setattr(HeldProcess, "alive", True)
    gusts = [PlannedFault(0.0, kind, ("gateway",)) for kind in (FaultKind.KILL, FaultKind.FREEZE)]
    weather.blow(gusts)
    assert (weather.hits, weather.skipped) == ([], gusts)


def test_an_interruption_of_undo_is_made_good_by_another_one(sleepers: Sleepers) -> None:
    weather, _ = weather_over(sleepers)
    weather.blow([PlannedFault(0.0, FaultKind.FREEZE, ("gateway",))])
    [under_way] = weather._under_way
    [go_on] = under_way.undo
    interruptions = iter([KeyboardInterrupt])

    def interrupted_once() -> None:
        for kind in interruptions:
            raise kind
        go_on()

    under_way.undo[0] = interrupted_once
    with pytest.raises(KeyboardInterrupt):
        weather.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) == "T", "it stands still")
    weather.undo()
    wait_until(lambda: state_of(sleepers["gateway"]) != "T", "it goes on")


def test_a_kill_is_over_when_the_role_has_been_started_again(sleepers: Sleepers) -> None:
    weather, recording = weather_over(sleepers)
    weather.blow([PlannedFault(0.0, FaultKind.TERM, ("gateway",))])
    recording.events.append(Event(time.monotonic_ns(), SUPERVISORD, "spawned", {"role": "gateway"}))
    weather.calm_down(100_000_000)
    assert weather.hits[0].end_ns is not None
    assert sleepers["gateway"].wait(timeout=10) == -signal.SIGTERM


def test_a_connection_has_one_lasting_fault_at_a_time_and_is_cleared_afterwards(
    sleepers: Sleepers,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()) as proxy:
        weather, _ = weather_over(sleepers, {"price": proxy})
        lasting = PlannedFault(0.0, FaultKind.BLACKHOLE, ("price",), 0.1, Blackhole())
        weather.blow([lasting, lasting])
        assert (len(weather.hits), weather.skipped) == (1, [lasting])
        assert isinstance(proxy.fault, Clear)


def test_what_is_not_connected_cannot_be_cut(sleepers: Sleepers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()) as proxy:
        weather, _ = weather_over(sleepers, {"price": proxy})
        cut = PlannedFault(0.0, FaultKind.RESET, ("price",), 0.0, Reset())
        weather.blow([cut])
        assert weather.skipped == [cut]
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            wait_until(lambda: proxy.connections == 1, "the proxy has a connection")
            weather.blow([cut])
            assert len(weather.hits) == 1
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_garbage_is_the_same_for_the_same_gust_and_leaves_the_storms_chance_alone(
    sleepers: Sleepers,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        host, port = server.getsockname()
        gateway = GatewaySettings(host=host, price_port=port)
        said = []
        for _ in range(2):
            weather, _ = weather_over(sleepers, settings=Settings(gateway=gateway))
            weather.blow([PlannedFault(0.0, FaultKind.NOISE, ("price",), 0.1, seed=5)])
            with server.accept()[0] as peer:
                peer.settimeout(10)
                said.append(peer.recv(1 << 16)[:10])
            assert weather._stage.random.getstate() == Random(1).getstate()
    assert said[0] == said[1] != b""


def test_noise_connects_again_after_the_server_has_hung_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        noise = GarbageClient(server.getsockname(), Random(1))
        server.setblocking(False)
        for _ in range(2):
            sock = wait_until(lambda: step_and_accept(noise, server), "garbage comes")
            assert sock
            sock.settimeout(10)
            assert sock.recv(1 << 16)
            sock.close()
        noise.close()


def step_and_accept(noise: GarbageClient, server: socket.socket) -> socket.socket | None:
    noise.step()
    try:
        return server.accept()[0]
    except BlockingIOError:
        return None
