"""The alerts of a running stack, and their process at logs that are written by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from lib.clock import SECOND_NS, utc_stamp
from lib.process.run_identity import Run, is_alive, run_of
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import PrivateStack, copy_project

COMMAND = "cat >> {}/alerts"


def told(directory: Path) -> list[dict[str, Any]]:
    """What the command has appended to its file."""
    path = directory / "alerts"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def told_of(directory: Path, kind: str, role: str) -> list[dict[str, Any]]:
    return [one for one in told(directory) if (one["kind"], one["role"]) == (kind, role)]


def with_alerts(stack: PrivateStack, command: str = COMMAND) -> None:
    settings = {**stack.settings, "alerts": {"command": command.format(stack.directory)}}
    stack.write_config(settings)


def alerts_run(stack: PrivateStack, number: int) -> Run:
    """The process of the alerts, the first, second … one of this stack."""

    def started() -> list[int]:
        events = stack.events("watchdog", "started")
        return [event["pid"] for event in events if event["role"] == "alerts"]

    wait_until(lambda: len(started()) >= number, "the process of the alerts has started")
    return run_of(started()[number - 1])


def test_each_fault_is_told_once_also_after_the_watchdog_was_killed(stack: PrivateStack) -> None:
    with_alerts(stack)
    stack.start()
    first = alerts_run(stack, 1)
    (stack.var_dir / "HALT").touch()
    # On a busy machine a role may hang as well.
    stack.wait_for_event("watchdog", "alert_sent", kind="trading_halted")
    (halted,) = told_of(stack.directory, "trading_halted", "order_manager")
    logged = stack.wait_for_event("order_manager", "trading_halted")
    assert halted == {
        "kind": "trading_halted",
        "role": "order_manager",
        "timestamp": logged["timestamp"],
        "level": "warning",
        "message": "order_manager: trading is halted",
        "stack": str(stack.var_dir),
        "event": {},
        "suppressed": 0,
    }
    os.kill(stack.pid("watchdog"), signal.SIGKILL)
    wait_until(lambda: not is_alive(first), "its process has ended")
    second = alerts_run(stack, 2)
    os.kill(stack.pid("gateway"), signal.SIGSTOP)
    wait_until(lambda: told_of(stack.directory, "role_hung", "gateway"), "the hang is told")
    stack.wait_for_event("watchdog", "alert_sent", program="gateway")
    os.kill(second.pid, signal.SIGKILL)
    alerts_run(stack, 3)
    stack.wait_for_event("watchdog", "alerts_ended", reason="signal 9")
    os.kill(stack.pid("orderbook"), signal.SIGSTOP)
    wait_until(lambda: told_of(stack.directory, "role_hung", "orderbook"), "that one as well")
    for kind, role in (("trading_halted", "order_manager"), ("role_hung", "gateway")):
        assert len(told_of(stack.directory, kind, role)) == 1
    assert stack.stop() == 0
    assert stack.processes() == []


def test_what_ends_the_stack_is_told_before_it_has_ended(tmp_path: Path) -> None:
    def give_up_soon(parser: RawConfigParser) -> None:
        parser["program:strategy"]["startretries"] = "1"

    project = copy_project(tmp_path / "project", give_up_soon)
    with PrivateStack(project=project) as stack:
        with_alerts(stack, f"{COMMAND}; sleep 0.3")
        main = stack.start()
        alerts_run(stack, 1)
        stack.settings["strategy"]["class"] = "no_such_module:Signal"
        stack.write_config(stack.settings)
        os.kill(stack.pid("strategy"), signal.SIGKILL)
        assert main.wait(60) != 0
        about = {"kind": "role_gave_up", "program": "strategy"}
        stack.wait_for_event("watchdog", "alert_started", **about)
        ends = stack.events("watchdog", "alert_sent") + stack.events("watchdog", "alert_failed")
        (end,) = [one for one in ends if one.items() >= about.items()]
        if end["event"] == "alert_sent":
            (alert,) = told_of(stack.directory, "role_gave_up", "strategy")
            assert alert["message"].startswith("strategy: given up: FATAL")
        else:  # this machine was too busy to run it in time
            assert end["reason"].startswith("the stack is stopping; killed")


class ByHand:
    """The process of the alerts, started by hand, with logs that a test writes."""

    def __init__(self, directory: Path, command: str) -> None:
        self.directory = directory
        self._log_dir = directory / "var" / "log"
        self._log_dir.mkdir(parents=True)
        command = command.format(directory)
        config = directory / "trading.toml"
        config.write_text(f"[alerts]\ncommand = {json.dumps(command)}\n")
        self.environment = {
            **os.environ,
            "TRADING_CONFIG": str(config),
            "TRADING_VAR_DIR": str(directory / "var"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it follows the logs."""
        before = len(self.events("started"))
        with (self._log_dir / "watchdog.jsonl").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemons.alerts"],
                cwd=PROJECT_ROOT,
                env=self.environment,
                stderr=log,
            )
        wait_until(lambda: len(self.events("started")) > before, "it has started")

    def end(self, number: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(60)

    def log_tape_end(self, program: str, ticks: int, ago_s: int = 0) -> None:
        at = utc_stamp(time.time_ns() - ago_s * SECOND_NS)
        event = {"timestamp": at, "level": "info", "role": "gateway", "event": "tape_ended"}
        with (self._log_dir / f"{program}.jsonl").open("ab") as log:
            log.write(json.dumps({**event, "tape": "t", "ticks": ticks}).encode() + b"\n")

    def events(self, *names: str) -> list[dict[str, Any]]:
        path = self._log_dir / "watchdog.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [event for line in lines if (event := json.loads(line))["event"] in names]


@pytest.fixture
def by_hand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ByHand]:
    alerts = ByHand(tmp_path, request.param)
    yield alerts
    if alerts.process:
        alerts.process.kill()
        alerts.process.wait(60)


@pytest.mark.parametrize("by_hand", [COMMAND], indirect=True)
def test_a_successor_tells_what_happened_meanwhile_and_nothing_twice(by_hand: ByHand) -> None:
    by_hand.log_tape_end("before", 1, ago_s=1)
    by_hand.start()
    by_hand.log_tape_end("gateway", 2)
    wait_until(lambda: by_hand.events("alert_sent"), "it is told")
    by_hand.log_tape_end("gateway", 3)  # held back
    by_hand.end(signal.SIGKILL)
    by_hand.log_tape_end("other", 4)
    by_hand.start()
    wait_until(lambda: len(by_hand.events("alert_sent")) == 2, "what happened meanwhile is told")
    by_hand.log_tape_end("third", 5)
    wait_until(lambda: len(by_hand.events("alert_sent")) == 3, "what happens now is told")
    assert [one["event"]["ticks"] for one in told(by_hand.directory)] == [2, 4, 5]
    assert by_hand.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("by_hand", [COMMAND], indirect=True)
def test_the_logs_are_where_supervisord_is_though_var_dir_is_elsewhere(by_hand: ByHand) -> None:
    control_socket = by_hand.directory / "var" / "supervisor.sock"
    by_hand.environment["SUPERVISOR_SERVER_URL"] = f"unix://{control_socket}"
    by_hand.environment["TRADING_VAR_DIR"] = str(by_hand.directory / "elsewhere")
    by_hand.start()
    by_hand.log_tape_end("gateway", 1)
    wait_until(lambda: by_hand.events("alert_sent"), "it is told")
    assert by_hand.process
    # Below the roles that trade.
    priorities = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, by_hand.process.pid)]
    assert priorities[0] < priorities[1] or priorities == [19, 19]
    assert by_hand.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("by_hand", ["echo no route >&2; exit 7"], indirect=True)
def test_a_command_that_fails_is_logged_with_its_reason(by_hand: ByHand) -> None:
    by_hand.start()
    by_hand.log_tape_end("gateway", 1)
    wait_until(lambda: by_hand.events("alert_failed"), "the failure is logged")
    (failed,) = by_hand.events("alert_failed")
    about = (failed["kind"], failed["program"], failed["reason"])
    assert about == ("tape_ended", "gateway", "exit status 7: no route")
    assert by_hand.end(signal.SIGTERM) == 0
    assert by_hand.events("alert_sent") == []


@pytest.mark.parametrize("by_hand", ["echo é"], indirect=True)
def test_a_command_with_letters_that_the_locale_does_not_have_fails(by_hand: ByHand) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    by_hand.environment.update(ascii_only)
    by_hand.start()
    for number in (1, 2):
        by_hand.log_tape_end(f"gateway-{number}", number)
        wait_until(lambda n=number: len(by_hand.events("alert_failed")) == n, "it is logged")
    assert by_hand.events("alert_failed")[0]["reason"].startswith("cannot be run: 'ascii' codec")
    assert by_hand.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("by_hand", [COMMAND], indirect=True)
def test_what_happens_right_before_the_end_is_sent(by_hand: ByHand) -> None:
    by_hand.start()
    by_hand.log_tape_end("gateway", 1)
    assert by_hand.end(signal.SIGTERM) == 0
    assert len(by_hand.events("alert_started")) == 1


@pytest.mark.parametrize("by_hand", ["touch {}/begun; sleep 99"], indirect=True)
def test_a_command_that_hangs_does_not_hold_up_the_end(by_hand: ByHand) -> None:
    by_hand.start()
    by_hand.log_tape_end("gateway", 1)
    wait_until((by_hand.directory / "begun").exists, "the command runs")
    assert by_hand.end(signal.SIGTERM) == 0
    ends = by_hand.events("alert_failed", "stopped")
    assert [one.get("reason") for one in ends] == ["the stack is stopping; killed", None]


@pytest.mark.parametrize("by_hand", [""], indirect=True)
def test_without_a_command_it_ends_and_says_what_to_do(by_hand: ByHand) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "daemons.alerts"],
        cwd=PROJECT_ROOT,
        env=by_hand.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert json.loads(process.stderr)["reason"] == "alerts.command is empty: restart the watchdog"
