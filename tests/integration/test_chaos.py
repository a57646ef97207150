"""Experiments as a user runs them: from any directory, against a private or a running stack."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.experiments import command, run
from tests.helpers import DEADLINE_S, wait_until
from tests.stack import PrivateStack

SETTINGS = {"gateway": {"news_interval": 0.1}}


def state_of(pid: int) -> str:
    """One letter: T is stopped."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


def test_an_experiment_without_a_stack_starts_its_own_and_leaves_nothing(
    stack: PrivateStack,
) -> None:
    path = stack.directory / "figures.json"
    result = run(stack, "freeze", "orderbook", "--times", "1", "--json", path)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "started a private one" in result.stdout
    assert re.search(r"^respawn +1( +\d+\.\d){3}$", result.stdout, re.MULTILINE)
    figures = json.loads(path.read_text())
    assert (figures["experiment"], figures["role"], figures["holds"]) == (
        "freeze", "orderbook", True,
    )  # fmt: skip
    assert figures["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    [measured] = figures["rounds"]
    assert measured["detection_ns"] > 0
    assert 0 < measured["respawn_ns"] < measured["reconnection_ns"]
    assert measured["respawn_ns"] < measured["fresh_tick_ns"] <= measured["order_possible_ns"]
    assert stack.processes() == []
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


@pytest.mark.parametrize(
    ("arguments", "gateway", "line"),
    [
        (("freeze", "gatewya"), {}, r"argument ROLE: no role 'gatewya'; .*gateway.*"),
        (
            ("drop_gateway", "--var-dir", "{directory}/" + "x" * 90), {},
            r"no private stack can be started: .*path.*",
        ),
        (("drop_gateway",), {"rate": -1.0}, r".*gateway\.rate.*"),
        (("slow_consumer",), {"rate": 0.0}, r"with gateway\.rate = 0 .*"),
    ],
    ids=["an unknown role", "a path too long", "invalid settings", "no rate for slow_consumer"],
)  # fmt: skip
def test_what_cannot_be_done_is_a_one_line_error(
    stack: PrivateStack, arguments: tuple[str, ...], gateway: dict[str, float], line: str
) -> None:
    stack.write_config({**stack.settings, "gateway": {**stack.settings["gateway"], **gateway}})
    result = run(stack, *(one.format(directory=stack.directory) for one in arguments))
    assert result.returncode == 2
    assert re.fullmatch(rf"chaos/{arguments[0]}\.py: {line}\n", result.stderr)


def test_an_unhealthy_stack_is_a_one_line_error_and_stays_as_it_is(stack: PrivateStack) -> None:
    stack.start()
    stack.supervisorctl("stop", "strategy")
    before = stack.pid("gateway")
    result = run(stack, "drop_gateway")
    assert result.returncode == 2
    assert re.fullmatch(r"chaos/drop_gateway\.py: .*strategy is STOPPED\n", result.stderr)
    assert stack.pid("gateway") == before
    stack.stop()


def test_an_interruption_resumes_a_frozen_role(stack: PrivateStack) -> None:
    # Without a watchdog to end the process first.
    stack.write_config({**stack.settings, "watchdog": {"hang_after": 0.0}})
    stack.start()
    gateway = stack.pid("gateway")
    experiment = subprocess.Popen(
        command(stack, "freeze", "gateway"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: state_of(gateway) == "T", "the gateway is frozen")
        experiment.send_signal(signal.SIGTERM)
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
    wait_until(lambda: stack.processes() == [], "its processes have ended")
    assert list((stack.var_dir / "chaos").iterdir()) == []
