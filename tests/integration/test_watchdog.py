"""The watchdog at a running stack: deaths, hangs, and its own death."""

from __future__ import annotations

import os
import re
import signal

from tests.helpers import wait_until
from tests.stack import ROLES, PrivateStack

SETTINGS = {"watchdog": {"hang_after": 1.0}}
OTHERS = tuple(role for role in ROLES if role != "watchdog")


def wait_until_running(stack: PrivateStack) -> None:
    def running() -> list[str]:
        return re.findall(r"^(\w+) +RUNNING", stack.supervisorctl("status"), re.MULTILINE)

    wait_until(lambda: set(running()) == set(ROLES), "every role runs")


def hit(stack: PrivateStack, role: str, number: signal.Signals) -> int:
    """Send a signal to a role, and wait for its successor; return the pid of the one hit."""
    pid = stack.pid(role)
    os.kill(pid, number)
    wait_until(
        lambda: stack.events(role, "started")[-1]["pid"] != pid, f"the {role} has a successor"
    )
    return pid


def events_about(stack: PrivateStack, pid: int) -> list[str]:
    """What the watchdog has logged of a process, in order."""
    return [e["event"] for e in stack.events("watchdog") if e.get("pid") == pid]


def test_a_killed_role_and_a_frozen_one_have_a_successor(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    for role in OTHERS:
        pid = hit(stack, role, signal.SIGKILL)
        ended = stack.wait_for_event("watchdog", "role_ended", pid=pid)
        assert ended["program"] == role
        assert ended["timestamp"] < stack.events(role, "started")[-1]["timestamp"]
    assert stack.events("watchdog", "role_hung") == []
    wait_until_running(stack)
    for role in OTHERS:
        pid = hit(stack, role, signal.SIGSTOP)
        assert events_about(stack, pid) == ["role_hung", "role_ended"]
        hung = stack.wait_for_event("watchdog", "role_hung", pid=pid)
        assert hung["program"] == role
        assert hung["silent_s"] >= 1.0
    # And everybody else was left in peace.
    assert len(stack.events("watchdog", "role_hung")) == len(OTHERS)
    stack.stop()
    assert "role_hung program=gateway pid=" in (stack.directory / "main.out").read_text()


def test_a_killed_watchdog_comes_back_and_no_role_is_killed(stack: PrivateStack) -> None:
    stack.start()
    wait_until_running(stack)
    pids = {role: stack.pid(role) for role in OTHERS}
    hit(stack, "watchdog", signal.SIGKILL)
    assert {role: stack.pid(role) for role in OTHERS} == pids
    # And it does its work again.
    pid = hit(stack, "gateway", signal.SIGSTOP)
    assert events_about(stack, pid) == ["role_hung", "role_ended"]
