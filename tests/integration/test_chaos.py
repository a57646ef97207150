"""Experiments as a user runs them: from any directory, against a private or a running stack."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos import corrupt_feed, plant, vanish
from chaos.corrupt_feed import CorruptFeed
from chaos.faults.hostile_gateway import Lost, Noise, Withheld
from chaos.faults.planted_files import Planted
from chaos.faults.second_user import Kind
from chaos.lab.experiment import command_line, run_experiment
from chaos.plant import Plant
from chaos.storms.planned_faults import PLAIN_KINDS, PROXY_KINDS
from chaos.vanish import Vanish
from lib.stack import private_stack
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until
from tests.stack import PrivateStack

SETTINGS = {"gateway": {"news_interval": 0.1}}
CONFIGURATION = "supervisord.conf"
NONE_WRONG = {"missed": 0, "repeated": 0, "out_of_order": 0}


def command(stack: PrivateStack, name: str, *arguments: str | Path) -> list[str | Path]:
    """The command line of `chaos/NAME.py` for a stack that runs, or the private one it starts."""
    script = PROJECT_ROOT / "chaos" / f"{name}.py"
    return [
        sys.executable,
        script,
        "--config",
        stack.config,
        "--var-dir",
        stack.var_dir,
        *arguments,
    ]


def run(stack: PrivateStack, name: str, *arguments: str) -> tuple[Any, str]:
    """Run an experiment to its end; its figures, and what it prints."""
    path = stack.directory / "figures.json"
    done = subprocess.run(
        command(stack, name, *arguments, "--json", path),
        cwd="/", capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    figures = json.loads(path.read_text())
    # The longest waits also depend on the machine.
    assert [r for r in figures["reasons"] if not r.startswith("longest time")] == [], done.stdout
    assert done.returncode == (0 if figures["holds"] else 1)
    assert figures["ticks_at_book"] == NONE_WRONG
    return figures, done.stdout


def assert_nothing_is_left(stack: PrivateStack) -> None:
    wait_until(lambda: stack.processes() == [], "its processes have ended")
    assert list((stack.var_dir / "chaos").iterdir()) == []


def test_a_frozen_role_is_measured_on_a_private_stack_of_which_nothing_is_left(
    stack: PrivateStack,
) -> None:
    figures, _ = run(stack, "freeze", "orderbook", "--times", "1")
    assert (figures["experiment"], figures["role"]) == ("freeze", "orderbook")
    [measured] = figures["rounds"]
    assert measured["detection_ns"] > 0
    assert 0 < measured["respawn_ns"] < measured["reconnection_ns"]
    assert measured["respawn_ns"] < measured["fresh_tick_ns"] <= measured["order_possible_ns"]
    assert_nothing_is_left(stack)


def test_a_gateway_with_a_prepared_tape_is_killed_and_its_tape_goes_on(
    stack: PrivateStack,
) -> None:
    figures, output = run(stack, "drop_gateway", "--tape-ticks", "100000", "--times", "1")
    assert "always run on a private stack" in output
    assert figures["fault"] == "SIGKILL of gateway with a tape of 100,000 ticks"
    assert figures["tape_ticks"] == 100_000
    [measured] = figures["rounds"]
    assert 0 < measured["respawn_ns"] < measured["fresh_tick_ns"]
    assert figures["ticks_at_strategy"] == NONE_WRONG
    assert_nothing_is_left(stack)


def test_everything_is_killed_and_comes_back(stack: PrivateStack) -> None:
    figures, _ = run(stack, "kill_everything", "--times", "1")
    [roles], [supervisord] = figures["roles_killed"], figures["supervisord_killed"]
    assert 0 < roles["detection_ns"] <= roles["respawn_ns"] < roles["reconnection_ns"]
    assert roles["fresh_tick_ns"] <= roles["order_possible_ns"]
    assert all(time_ns > 0 for time_ns in supervisord["departure"].values())
    again = supervisord["started_again"]
    assert again["respawn_ns"] < again["order_possible_ns"]
    assert_nothing_is_left(stack)


def test_clients_that_do_not_read_affect_no_other_and_one_that_resumes_misses_nothing(
    stack: PrivateStack,
) -> None:
    # With so many ticks buffers are full soon.
    stack.write_config({**stack.settings, "gateway": {**stack.settings["gateway"], "rate": 2000.0}})
    figures, _ = run(stack, "slow_consumer", "--times", "1")
    [found] = figures["rounds"]
    assert found["troubles"] == []
    assert all(found["waiting_bytes"]["numbered prices"])
    assert all(found["waiting_bytes"]["orders"])
    assert found["hung_up"]["numbered prices"] == 2  # of three; the third has read on
    assert found["hung_up"]["orders"] == 3
    assert found["ticks_read_on"] > 3 * 1000  # of a window, at least


def test_a_storm_loses_nothing_and_records_every_fault(stack: PrivateStack) -> None:
    figures, _ = run(stack, "storm", "--minutes", "0.2", "--seed", "1")
    [recorded] = figures["storms"]
    for fault in recorded["gusts"]:
        assert 0 <= fault["begin_ns"] <= fault["end_ns"] <= recorded["steady_ns"]
    assert {fault["kind"] for fault in recorded["gusts"]} & {k.name.lower() for k in PROXY_KINDS}
    assert sum(recorded["evaluated_per_s"]) > 0
    assert len(recorded["evaluated_per_s"]) == len(recorded["orders_per_s"])


def test_a_running_stack_is_hit_itself_and_gets_no_faults_that_need_a_proxy(
    stack: PrivateStack,
) -> None:
    main = stack.start()
    figures, output = run(stack, "storm", "--minutes", "0.2", "--seed", "2")
    assert f"a stack is running in {stack.var_dir}" in output
    kinds = {fault["kind"] for fault in figures["storms"][0]["gusts"]}
    assert kinds
    assert kinds <= {kind.name.lower() for kind in PLAIN_KINDS}
    assert main.poll() is None


def test_the_defects_of_a_hostile_gateway_are_counted_as_what_they_are(
    stack: PrivateStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADING_VAR_DIR", str(stack.var_dir))  # the frame sets it; put it back
    monkeypatch.setattr(corrupt_feed, "DEFECTS", (Noise, Withheld, Lost))
    code = run_experiment(CorruptFeed(1), arguments_for(stack, "corrupt_feed"))
    figures = json.loads((stack.directory / "figures.json").read_text())
    assert (code, figures["reasons"]) == (0, []), capsys.readouterr().out
    for defect in figures["harms"]:
        assert defect["sent"] == defect["counted"]
    noise, withheld, lost = (defect["counted"]["counts"] for defect in figures["harms"])
    assert noise == {"malformed_frames": 20}
    assert withheld["ticks_missed"] >= 20
    assert lost == {"protocol_error": 20, "disconnected": 20}
    assert figures["ticks_at_book"] == NONE_WRONG
    assert_nothing_is_left(stack)


def arguments_for(stack: PrivateStack, name: str) -> argparse.Namespace:
    """The command line of an experiment that this process runs itself, with its figures."""
    line = [str(one) for one in command(stack, name, "--json", stack.directory / "figures.json")]
    return command_line(name, "").parse_args(line[2:])


def test_a_stack_trades_on_after_a_file_was_removed_and_is_judged(
    stack: PrivateStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One file: that every one is healed or logged is shown by `make chaos`.
    monkeypatch.setenv("TRADING_VAR_DIR", str(stack.var_dir))  # the frame sets it; put it back
    monkeypatch.setattr(vanish, "files_in_var", lambda target: [target.var_dir / CONFIGURATION])
    monkeypatch.setattr(vanish, "files_in_shm", lambda _: [])
    for step in ("_freeze", "_remove_book", "_remove_book_for_good", "_remove_ledger"):
        monkeypatch.setattr(Vanish, step, lambda *_: None)
    experiment = Vanish(1)
    code = run_experiment(experiment, arguments_for(stack, "vanish"))
    assert (code, experiment.reasons()) == (0, []), capsys.readouterr().out
    [removal] = experiment.removals
    assert (removal.file, removal.healed_ns is not None) == (CONFIGURATION, True)
    assert_nothing_is_left(stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_what_another_user_planted_is_named_or_not_adopted(
    stack: PrivateStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_VAR_DIR", str(stack.var_dir))  # the frame sets it; put it back
    planted = {CONFIGURATION: Kind.DIRECTORY, "gateway.heartbeat": Kind.FIFO}

    def plan(_context: object, private: private_stack.PrivateStack, _number: int) -> list[Planted]:
        var_dir = private.settings.var_dir
        return [Planted(name, var_dir / name, kind) for name, kind in planted.items()]

    experiment = Plant(1)
    monkeypatch.setattr(experiment, "_plan", plan)
    run_experiment(experiment, arguments_for(stack, "plant"))
    found = {one.file: one for one in experiment.found if one.when == plant.BEFORE}
    assert found.keys() == planted.keys()
    assert [one.trouble for one in found.values()] == ["", ""]
    assert CONFIGURATION in found[CONFIGURATION].outcome
    during = [one for one in experiment.found if one.when == plant.DURING]
    assert [one.trouble for one in during] == [""] * len(during)
    wait_until(lambda: stack.processes() == [], "its processes have ended")


@contextmanager
def interrupted(stack: PrivateStack, number: signal.Signals) -> Iterator[None]:
    """An experiment that freezes the gateway runs in the block, and is interrupted after it."""
    experiment = subprocess.Popen(
        command(stack, "freeze", "gateway"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
        experiment.send_signal(number)
        assert experiment.wait(timeout=DEADLINE_S) == 130
    finally:
        experiment.kill()
        experiment.wait()


def test_an_interruption_resumes_a_frozen_role(stack: PrivateStack) -> None:
    # Without a watchdog to end the process first.
    stack.write_config({**stack.settings, "watchdog": {"hang_after": 0.0}})
    stack.start()
    gateway = stack.pid("gateway")
    stat = Path(f"/proc/{gateway}/stat")

    def is_frozen() -> bool:
        return stat.read_text().rpartition(")")[2].split()[0] == "T"

    with interrupted(stack, signal.SIGTERM):
        wait_until(is_frozen, "the gateway is frozen")
    assert not is_frozen()
    assert stack.pid("gateway") == gateway


def test_an_interruption_ends_the_private_stack(stack: PrivateStack) -> None:
    with interrupted(stack, signal.SIGINT):
        [pid_file] = wait_until(
            lambda: list(stack.var_dir.glob("chaos/private-*/var/supervisord.pid")), "a stack runs"
        )
        supervisord = wait_until(pid_file.read_text, "its process id is written").strip()
    assert not Path(f"/proc/{supervisord}").exists()  # at once, and not when it notices
    assert_nothing_is_left(stack)
