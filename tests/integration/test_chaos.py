"""Experiments as a user runs them: from any directory, against a private or a running stack."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.experiments import command, run
from tests.helpers import DEADLINE_S, wait_until
from tests.stack import PrivateStack


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack's settings and var directory; a test starts it, or lets an experiment start one."""
    with PrivateStack({"gateway": {"news_interval": 0.1}}) as stack:
        yield stack


def raw_figures(path: Path) -> dict[str, Any]:
    figures_json: dict[str, Any] = json.loads(path.read_text())
    return figures_json


def of_this_stack(stack: PrivateStack) -> list[int]:
    """Processes that carry the stack's directory in their command line or environment."""
    mark = str(stack.directory).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def state_of(pid: int) -> str:
    """One letter: T is stopped."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


@pytest.mark.parametrize(
    ("name", "arguments", "role"),
    [("drop_gateway", (), "gateway"), ("freeze", ("orderbook",), "orderbook")],
)
def test_an_experiment_without_a_stack_starts_its_own_and_leaves_nothing(
    stack: PrivateStack, name: str, arguments: tuple[str, ...], role: str
) -> None:
    figures = stack.directory / "figures.json"
    result = run(stack, name, *arguments, "--times", "1", "--json", figures)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "started a private one" in result.stdout
    assert re.search(r"^respawn +1( +\d+\.\d){3}$", result.stdout, re.MULTILINE)
    figures_json = raw_figures(figures)
    [measured] = figures_json["rounds"]
    assert (figures_json["experiment"], figures_json["role"], figures_json["holds"]) == (
        name,
        role,
        True,
    )
    assert figures_json["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    assert measured["detection_ns"] > 0
    assert 0 < measured["respawn_ns"] < measured["reconnection_ns"]
    assert measured["respawn_ns"] < measured["fresh_tick_ns"] <= measured["order_possible_ns"]
    assert of_this_stack(stack) == []
    assert list((stack.var_dir / "chaos").iterdir()) == []


def test_an_experiment_acts_on_the_running_stack(stack: PrivateStack) -> None:
    main = stack.start()
    before = stack.pid("order_manager")
    result = run(stack, "drop_order_manager", "--times", "1", "--restart")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert f"a stack is running in {stack.var_dir}" in result.stdout
    assert main.poll() is None
    assert stack.pid("order_manager") != before
    assert stack.stop() == 0


def test_an_unknown_role_is_a_one_line_error(stack: PrivateStack) -> None:
    result = run(stack, "freeze", "gatewya")
    assert result.returncode == 2
    assert re.fullmatch(
        r"chaos/freeze\.py: argument ROLE: no role 'gatewya'; .*gateway.*\n", result.stderr
    )


def test_a_private_stack_that_cannot_be_started_is_a_one_line_error(stack: PrivateStack) -> None:
    deep = stack.directory / ("x" * 90)
    result = run(stack, "drop_gateway", "--var-dir", deep)
    assert result.returncode == 2
    assert re.fullmatch(
        r"chaos/drop_gateway\.py: no private stack can be started: .*path.*\n", result.stderr
    )


def test_invalid_settings_are_a_one_line_error(stack: PrivateStack) -> None:
    stack.write_config({"gateway": {"rate": -1.0}})
    result = run(stack, "drop_gateway")
    assert result.returncode == 2
    assert re.fullmatch(r"chaos/drop_gateway\.py: .*gateway\.rate.*\n", result.stderr)


def test_an_unhealthy_stack_is_a_one_line_error_and_stays_as_it_is(stack: PrivateStack) -> None:
    stack.start()
    stack.supervisorctl("stop", "strategy")
    before = stack.pid("gateway")
    result = run(stack, "drop_gateway")
    assert result.returncode == 2
    assert re.fullmatch(r"chaos/drop_gateway\.py: .*strategy is STOPPED\n", result.stderr)
    assert stack.pid("gateway") == before
    stack.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_resumes_a_frozen_role(stack: PrivateStack, number: signal.Signals) -> None:
    # Without a watchdog to end the process first.
    stack.write_config({**stack.settings, "watchdog": {"hang_after": 0.0}})
    stack.start()
    gateway = stack.pid("gateway")
    experiment = subprocess.Popen(
        command(stack, "freeze", "gateway"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: state_of(gateway) == "T", "the gateway is frozen")
        experiment.send_signal(number)
        assert experiment.wait(timeout=DEADLINE_S) == 130
    finally:
        experiment.kill()
        experiment.wait()
    assert state_of(gateway) != "T"
    assert stack.pid("gateway") == gateway
    stack.stop()


def test_an_interruption_ends_the_private_stack(stack: PrivateStack) -> None:
    experiment = subprocess.Popen(
        command(stack, "freeze", "gateway"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        [pid_file] = wait_until(
            lambda: list(stack.var_dir.glob("chaos/private-*/var/supervisord.pid")), "a stack runs"
        )
        supervisord = wait_until(pid_file.read_text, "its process id is written").strip()
        experiment.send_signal(signal.SIGINT)
        assert experiment.wait(timeout=DEADLINE_S) == 130
    finally:
        experiment.kill()
        experiment.wait()
    assert not Path(f"/proc/{supervisord}").exists()  # at once, and not when it notices
    wait_until(lambda: of_this_stack(stack) == [], "its processes have ended")
    assert list((stack.var_dir / "chaos").iterdir()) == []
