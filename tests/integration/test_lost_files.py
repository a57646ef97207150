"""Files of a running stack that are removed, and others that are planted before its start."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lib.stack.launch import own_var_dir, prepare_var_dir
from lib.stack.supervisord_configuration import read_configuration
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import ROLES, PrivateStack

SETTINGS = {"watchdog": {"hang_after": 1.0}}
STATES = ("gateway.state", "strategy-strategy.state", "strategy-strategy.decisions")
OTHERS = ("strategy-strategy.lock", "supervisor.sock", "supervisord.pid", "supervisord.conf")


def removed_and_back(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
    wait_until(lambda: all(path.exists() for path in paths), f"{paths} are back")


def hit(stack: PrivateStack, role: str, number: signal.Signals) -> None:
    pid = stack.pid(role)
    os.kill(pid, number)
    wait_until(
        lambda: stack.events(role, "started")[-1]["pid"] != pid, f"the {role} has a successor"
    )


def orders(stack: PrivateStack) -> int:
    return len(stack.events("order_manager", "order_filled"))


def test_what_is_removed_of_a_running_stack_comes_back_and_it_trades_on(
    stack: PrivateStack,
) -> None:
    own_var_dir(stack.var_dir)
    (stack.var_dir / "gateway.heartbeat").mkdir()  # it cannot be written, at first
    stack.start()
    stack.wait_for_event("gateway", "heartbeat_failed")
    (stack.var_dir / "gateway.heartbeat").rmdir()
    stack.wait_for_event("gateway", "heartbeat_recovered")
    wait_until(lambda: orders(stack) > 0, "the stack trades")
    beats = [f"{role}.{kind}" for role in ROLES for kind in ("heartbeat", "stack")]
    names = {*STATES, *OTHERS, *beats}
    removed_and_back([stack.var_dir / name for name in names])

    def said() -> set[str]:
        lost = [event for role in ROLES for event in stack.events(role, "file_lost")]
        assert all(event["reason"] == "removed or replaced; put back" for event in lost)
        return {Path(event["file"]).name for event in lost}

    wait_until(lambda: said() == names, "each loss is logged")
    # What was put back does its work: the tape goes on, and a hanging role is killed.
    hit(stack, "gateway", signal.SIGKILL)
    stack.wait_for_event("gateway", "tape_continued")
    assert len(stack.events("gateway", "tape_started")) == 1
    hit(stack, "strategy", signal.SIGSTOP)
    stack.wait_for_event("watchdog", "role_hung", program="strategy")
    wait_until(lambda: len(stack.events("strategy", "evaluation_started")) == 2, "it trades on")
    assert stack.events("strategy", "evaluation_started")[1]["last_evaluated"] > 0
    hangs = stack.events("watchdog", "role_hung")
    assert len([hang for hang in hangs if hang["program"] == "strategy"]) == 1  # and only once
    # The logs go on where they were, and the screen with them.
    shutil.rmtree(stack.log_dir)
    stack.wait_for_event("watchdog", "log_reopened", file=str(stack.log_dir / "strategy.jsonl"))
    wait_until(lambda: orders(stack) > 0, "it trades on, and logs it")
    # A stop that meets a FIFO in the place of the configuration is not deaf.
    (stack.var_dir / "supervisord.conf").unlink()
    os.mkfifo(stack.var_dir / "supervisord.conf")
    assert stack.stop() == 0
    output = (stack.directory / "main.out").read_text()
    assert f"log_reopened file={stack.log_dir}/gateway.jsonl" in output
    assert f"file_lost file={stack.var_dir}/gateway.state: removed or replaced; put back" in output


def test_a_planted_fifo_ends_main_in_one_line_and_does_not_stop_a_plain_supervisord(
    stack: PrivateStack,
) -> None:
    own_var_dir(stack.var_dir)
    pid_file, log = stack.var_dir / "supervisord.pid", stack.log_dir / "strategy.jsonl"
    os.mkfifo(pid_file)
    ended = subprocess.run(
        [sys.executable, "main.py", "--config", stack.config],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert re.fullmatch(rf"main\.py: cannot use {pid_file}: it is a FIFO, .*\n", ended.stderr)
    pid_file.unlink()
    os.mkfifo(log)
    configuration = prepare_var_dir(stack.var_dir, read_configuration())
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-s", "-c", configuration],
        env=stack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as supervisord:
        try:
            wait_until(log.is_file, "a log is in the place of the FIFO")
            stack.wait_for_event("strategy", "started")
            assert stack.wait_for_event("watchdog", "file_lost")["file"] == str(log)
        finally:
            supervisord.terminate()
    assert supervisord.returncode == 0
