"""kill_everything as a user runs it: on a private stack and on a running one."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from lib.process.supervisor import Supervisor
from tests.experiments import command, run
from tests.helpers import DEADLINE_S, wait_until
from tests.stack import PrivateStack


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack's settings and var directory; a test starts it, or lets the experiment start one."""
    with PrivateStack({"gateway": {"news_interval": 0.1}}) as stack:
        yield stack


def test_everything_is_killed_twice_and_comes_back(stack: PrivateStack) -> None:
    figures = stack.directory / "figures.json"
    result = run(
        stack, "kill_everything", "--times", "2", "--json", figures, limit_s=4 * DEADLINE_S
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    figures_json = json.loads(figures.read_text())
    assert len(figures_json["roles_killed"]) == len(figures_json["supervisord_killed"]) == 2
    for found in figures_json["roles_killed"]:
        assert 0 < found["detection_ns"] <= found["respawn_ns"] < found["reconnection_ns"]
        assert found["fresh_tick_ns"] <= found["order_possible_ns"]
    for found in figures_json["supervisord_killed"]:
        assert all(time_ns > 0 for time_ns in found["departure"].values())
        assert found["started_again"]["respawn_ns"] < found["started_again"]["order_possible_ns"]
    assert figures_json["ticks_at_book"] == {"missed": 0, "repeated": 0, "out_of_order": 0}
    assert list((stack.var_dir / "chaos").iterdir()) == []


def test_a_supervisord_that_was_killed_runs_again_after_an_interruption(
    stack: PrivateStack,
) -> None:
    main = stack.start()
    pid_file, log = stack.var_dir / "supervisord.pid", stack.var_dir / "supervisord.log"
    killed = pid_file.read_text().strip()
    with (stack.directory / "experiment.out").open("wb") as output:
        experiment = subprocess.Popen(
            command(stack, "kill_everything"), stdout=output, stderr=output
        )
    try:
        main.wait(timeout=DEADLINE_S)  # it ends with its supervisord
        experiment.send_signal(signal.SIGINT)
        assert experiment.wait(timeout=DEADLINE_S) == 130
        assert "it goes on in the background" in (stack.directory / "experiment.out").read_text()
        again = wait_until(
            lambda: pid_file.read_text().strip().replace(killed, ""), "supervisord runs again"
        )
        assert f"supervisord started with pid {again}" in log.read_text()
        roles = Supervisor(stack.var_dir / "supervisor.sock").processes()
        assert {role.state for role in roles} <= {"STARTING", "RUNNING"}
    finally:
        experiment.kill()
        experiment.wait()
        stack.supervisorctl("shutdown")
