"""The watchdog at a running stack: deaths, hangs, and everything that is none of its business."""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lib.stack.launch import prepare_var_dir
from lib.stack.supervisord_configuration import (
    configuration_text,
    parse_configuration,
    read_configuration,
)
from tests.helpers import wait_until
from tests.stack import ROLES, PrivateStack

OTHERS = tuple(role for role in ROLES if role != "watchdog")


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack whose watchdog loses patience after a second; a test starts it."""
    with PrivateStack({"watchdog": {"hang_after": 1.0}}) as stack:
        yield stack


def states(stack: PrivateStack) -> dict[str, str]:
    status = stack.supervisorctl("status")
    return dict(re.findall(r"^(\w+) +([A-Z]+)", status, re.MULTILINE))


def wait_until_running(stack: PrivateStack) -> None:
    wait_until(lambda: set(states(stack).values()) == {"RUNNING"}, "every role runs")


def wait_for_successor(stack: PrivateStack, role: str, pid: int) -> None:
    """Wait until a process other than `pid` has started as this role."""
    wait_until(
        lambda: stack.events(role, "started")[-1]["pid"] != pid,
        f"the {role} has a successor",
    )


def events_about(stack: PrivateStack, pid: int) -> list[str]:
    """What the watchdog has logged of a process, in order."""
    about = [e for e in stack.events("watchdog") if e.get("pid") == pid]
    return [e["event"] for e in about]


def test_a_killed_role_is_noticed_and_has_a_successor(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    for role in OTHERS:
        pid = stack.pid(role)
        os.kill(pid, signal.SIGKILL)
        wait_for_successor(stack, role, pid)
        ended = stack.wait_for_event("watchdog", "role_ended", pid=pid)
        assert ended["program"] == role
        successor = stack.events(role, "started")[-1]
        assert ended["timestamp"] < successor["timestamp"]
    assert stack.events("watchdog", "role_hung") == []


def test_a_killed_role_is_back_sooner_with_a_watchdog_than_without(stack: PrivateStack) -> None:
    # A role that dies makes the others write to their logs, which wakes supervisord by chance.
    # Only one that is alone shows how long supervisord takes by itself.
    stack.start()
    stack.supervisorctl("stop", "orderbook", "order_manager", "strategy")

    def median_of_three() -> float:
        return statistics.median(seconds_to_successor(stack, "gateway") for _ in range(3))

    with_watchdog = median_of_three()
    stack.supervisorctl("stop", "watchdog")
    assert with_watchdog < median_of_three() / 2


def seconds_to_successor(stack: PrivateStack, role: str) -> float:
    """From SIGKILL to supervisord's word that it has started another."""
    wait_until(lambda: states(stack)[role] == "RUNNING", f"the {role} runs")

    def starts() -> int:
        return (stack.var_dir / "supervisord.log").read_text().count(f"spawned: '{role}'")

    before = starts()
    pid = stack.pid(role)
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: starts() > before, f"the {role} has a successor")
    return time.monotonic() - killed_s


def test_a_frozen_role_is_killed_and_has_a_successor(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    for role in OTHERS:
        pid = stack.pid(role)
        os.kill(pid, signal.SIGSTOP)
        wait_for_successor(stack, role, pid)
        hung = stack.wait_for_event("watchdog", "role_hung", pid=pid)
        assert hung["program"] == role
        assert hung["silent_s"] >= 1.0
        assert events_about(stack, pid) == ["role_hung", "role_ended"]
    # And everybody else was left in peace.
    assert len(stack.events("watchdog", "role_hung")) == len(OTHERS)
    stack.stop()
    assert "role_hung program=gateway pid=" in (stack.directory / "main.out").read_text()


def test_roles_that_freeze_together_are_all_back(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    pids = {role: stack.pid(role) for role in OTHERS}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    for role, pid in pids.items():
        wait_for_successor(stack, role, pid)


def test_with_hang_after_0_a_frozen_role_is_left_alone_and_a_killed_one_is_not() -> None:
    stack = PrivateStack({"watchdog": {"hang_after": 0}})
    try:
        stack.start()
        wait_until_running(stack)
        frozen, killed = stack.pid("gateway"), stack.pid("order_manager")
        os.kill(frozen, signal.SIGSTOP)
        assert not list(stack.var_dir.glob("*.heartbeat"))
        os.kill(killed, signal.SIGKILL)
        wait_for_successor(stack, "order_manager", killed)
        stack.wait_for_event("watchdog", "role_ended", pid=killed)
        assert stack.pid("gateway") == frozen
        assert events_about(stack, frozen) == []
        os.kill(frozen, signal.SIGCONT)
    finally:
        stack.close()


def test_a_role_that_a_person_has_stopped_stays_stopped(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    pid = stack.pid("strategy")
    stack.supervisorctl("stop", "strategy")
    stack.wait_for_event("watchdog", "role_ended", pid=pid)
    # Something else happens to others, and is dealt with.
    frozen = stack.pid("gateway")
    os.kill(frozen, signal.SIGSTOP)
    wait_for_successor(stack, "gateway", frozen)
    assert states(stack)["strategy"] == "STOPPED"
    assert len(stack.events("strategy", "started")) == 1


def test_a_role_that_is_being_stopped_is_not_killed_by_the_watchdog(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    pid = stack.pid("gateway")
    os.kill(pid, signal.SIGSTOP)
    # supervisord gives it 3 s before it sends SIGKILL; the watchdog would give it one.
    stack.supervisorctl("stop", "gateway")
    assert states(stack)["gateway"] == "STOPPED"
    assert stack.events("watchdog", "role_hung") == []


def test_a_killed_watchdog_comes_back_and_no_role_is_killed(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    pids = {role: stack.pid(role) for role in OTHERS}
    watchdog = stack.pid("watchdog")
    os.kill(watchdog, signal.SIGKILL)
    wait_for_successor(stack, "watchdog", watchdog)
    assert {role: stack.pid(role) for role in OTHERS} == pids
    # And it does its work again.
    os.kill(pids["gateway"], signal.SIGSTOP)
    wait_for_successor(stack, "gateway", pids["gateway"])
    assert events_about(stack, pids["gateway"]) == ["role_hung", "role_ended"]


def test_when_everything_stood_still_no_role_is_killed() -> None:
    stack = PrivateStack({"watchdog": {"hang_after": 4.0}})
    try:
        stack.start()
        wait_until_running(stack)
        pids = {role: stack.pid(role) for role in ROLES}
        watchdog, killed = pids.pop("watchdog"), pids.pop("order_manager")
        frozen = pids.values()
        for pid in (watchdog, killed, *frozen):
            os.kill(pid, signal.SIGSTOP)
        long_enough_ns = time.monotonic_ns() + 5_000_000_000
        wait_until(lambda: time.monotonic_ns() > long_enough_ns, "all have been silent too long")
        # The watchdog is the first to go on, and sees the others as they are.
        os.kill(watchdog, signal.SIGCONT)
        os.kill(killed, signal.SIGKILL)
        stack.wait_for_event("watchdog", "role_ended", pid=killed)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        wait_for_successor(stack, "order_manager", killed)
        wait_until_running(stack)
        assert stack.events("watchdog", "role_hung") == []
    finally:
        stack.close()


def test_a_role_that_cannot_start_is_given_up_and_said_to_be(
    stack: PrivateStack,
) -> None:
    configuration = prepare_var_dir(stack.var_dir, read_configuration())
    parser = parse_configuration(configuration.read_text())
    for role in ROLES:
        parser[f"program:{role}"]["startretries"] = "1"
    # On a busy machine it takes over a second to fail: that would pass for a start.
    parser["program:order_manager"]["startsecs"] = "30"
    configuration.write_text(configuration_text(parser))
    with (
        socket.create_server(("127.0.0.1", stack.order_port)),
        subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", configuration],
            env=stack.environment,
            stdout=subprocess.DEVNULL,
        ) as supervisord,
    ):
        try:
            gave_up = stack.wait_for_event("watchdog", "role_gave_up", program="order_manager")
            assert gave_up["level"] == "error"
            assert states(stack)["order_manager"] == "FATAL"
            refusals = len(stack.events("order_manager", "cannot_start"))
            assert refusals == 2
            assert_backed_off(stack)
            # To ask again and again wakes no role that is given up.
            wait_until(lambda: states(stack)["strategy"] == "RUNNING", "the others run")
            assert len(stack.events("order_manager")) == refusals
            assert len(stack.events("watchdog", "role_gave_up")) == 1
        finally:
            supervisord.terminate()


def assert_backed_off(stack: PrivateStack) -> None:
    """After the first failure supervisord waits a second, as its own log tells."""
    log = (stack.var_dir / "supervisord.log").read_text()
    failed, spawned_again = (
        datetime.strptime(re.findall(pattern, log, re.MULTILINE)[index], "%Y-%m-%d %H:%M:%S,%f")
        for pattern, index in (
            (r"^(\S+ \S+) WARN exited: order_manager", 0),
            (r"^(\S+ \S+) INFO spawned: 'order_manager'", 1),
        )
    )
    assert spawned_again - failed >= timedelta(seconds=1)


def test_where_there_is_no_pidfd_the_watchdog_looks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: PrivateStack
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'daemons.watchdog' in sys.orig_argv: del os.pidfd_open\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stack.start()
    wait_until_running(stack)
    killed = stack.pid("gateway")
    os.kill(killed, signal.SIGKILL)
    wait_for_successor(stack, "gateway", killed)
    assert events_about(stack, killed) == ["role_ended"]
    frozen = stack.pid("strategy")
    os.kill(frozen, signal.SIGSTOP)
    wait_for_successor(stack, "strategy", frozen)
    assert events_about(stack, frozen) == ["role_hung", "role_ended"]


def test_the_watchdog_alone_says_what_it_needs(stack: PrivateStack) -> None:
    process = stack.start_by_hand("watchdog")
    assert process.wait(timeout=60) == 1
    refused = stack.wait_for_event("watchdog", "cannot_start")
    assert "etc/supervisord.conf" in refused["reason"]
