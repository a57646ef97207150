"""The watchdog at a running stack: deaths, hangs, and everything that is none of its business."""

from __future__ import annotations

import os
import re
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.stack import ROLES, PrivateStack

SETTINGS = {"watchdog": {"hang_after": 1.0}}

OTHERS = tuple(role for role in ROLES if role != "watchdog")


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


def test_a_killed_role_and_a_frozen_one_have_a_successor(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    for role in OTHERS:
        pid = stack.pid(role)
        os.kill(pid, signal.SIGKILL)
        wait_for_successor(stack, role, pid)
        ended = stack.wait_for_event("watchdog", "role_ended", pid=pid)
        assert ended["program"] == role
        assert ended["timestamp"] < stack.events(role, "started")[-1]["timestamp"]
    assert stack.events("watchdog", "role_hung") == []
    wait_until_running(stack)
    for role in OTHERS:
        pid = stack.pid(role)
        freeze_until_replaced(stack, role, pid)
        hung = stack.wait_for_event("watchdog", "role_hung", pid=pid)
        assert hung["program"] == role
        assert hung["silent_s"] >= 1.0
    # And everybody else was left in peace.
    assert len(stack.events("watchdog", "role_hung")) == len(OTHERS)
    stack.stop()
    assert "role_hung program=gateway pid=" in (stack.directory / "main.out").read_text()


def freeze_until_replaced(stack: PrivateStack, role: str, pid: int) -> None:
    """Freeze a process; the watchdog kills it."""
    os.kill(pid, signal.SIGSTOP)
    wait_for_successor(stack, role, pid)
    assert events_about(stack, pid) == ["role_hung", "role_ended"]


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


def test_with_hang_after_0_a_frozen_role_is_left_alone_and_a_killed_one_is_not() -> None:
    with PrivateStack({"watchdog": {"hang_after": 0}}) as stack:
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


def test_a_killed_watchdog_comes_back_and_no_role_is_killed(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    pids = {role: stack.pid(role) for role in OTHERS}
    watchdog = stack.pid("watchdog")
    os.kill(watchdog, signal.SIGKILL)
    wait_for_successor(stack, "watchdog", watchdog)
    assert {role: stack.pid(role) for role in OTHERS} == pids
    # And it does its work again.
    freeze_until_replaced(stack, "gateway", pids["gateway"])


def test_when_everything_stood_still_no_role_is_killed() -> None:
    with PrivateStack({"watchdog": {"hang_after": 4.0}}) as stack:
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
    freeze_until_replaced(stack, "strategy", stack.pid("strategy"))


def test_the_watchdog_alone_says_what_it_needs(stack: PrivateStack) -> None:
    process = stack.start_by_hand("watchdog")
    assert process.wait(timeout=60) == 1
    refused = stack.wait_for_event("watchdog", "cannot_start")
    assert "etc/supervisord.conf" in refused["reason"]
