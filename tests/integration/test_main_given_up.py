"""main.py and a program that does not start: what it shows, what it advises, how it ends."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

from lib.stack.log_follower import MAX_VALUE_CHARACTERS
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import ROLES, PrivateStack, copy_project

SETTINGS = {"gateway": {"rate": 500.0, "news_interval": 0.05}}

SIGNAL = """
import os
if os.environ.get("SUPERVISOR_PROCESS_NAME") == "strategy":
    raise RuntimeError("only under supervision, " + "and so on, " * 30 + "and here is the cure")
class Mine:
    def on_tick(self, symbol, price, sentiment):
        return None
"""


def start_main(stack: PrivateStack, root: Path = PROJECT_ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, root / "main.py", "--config", stack.config, "--var-dir", stack.var_dir],
        env={**os.environ, "PYTHONPATH": str(stack.directory)},
        stdout=(stack.directory / "main.out").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(stack: PrivateStack) -> str:
    return (stack.directory / "main.out").read_text()


def test_settings_that_a_role_refuses_at_its_first_start_end_the_stack_at_once(
    stack: PrivateStack,
) -> None:
    (stack.directory / "mine.py").write_text(SIGNAL)
    stack.write_config({**stack.settings, "strategy": {"class": "mine:Mine"}})
    with start_main(stack) as main:
        assert main.wait(timeout=60) == 78
    # On a busy machine supervisord may have tried again before main.py ends it.
    [reason] = {event["reason"] for event in stack.events("strategy", "settings_refused")}
    assert len(reason) > MAX_VALUE_CHARACTERS
    assert output(stack).count(reason) == 1
    assert re.fullmatch(r"main\.py: strategy .* 78\).*", output(stack).splitlines()[-1])


def test_a_program_that_is_given_up_is_started_as_advised_or_ends_the_stack_with_its_code(
    stack: PrivateStack,
) -> None:
    root = copy_project(stack.directory / "project", with_one_retry)
    with start_main(stack, root) as main:
        try:
            with socket.create_server(("127.0.0.1", stack.dashboard_port)):
                advice = wait_until(
                    lambda: re.search(r"dashboard .* given up .*, then: (.*)", output(stack)),
                    "main.py says what to do",
                )
            gave_up = stack.wait_for_event("watchdog", "role_gave_up", program="dashboard")
            assert gave_up["level"] == "error"
            stack.wait_for_event("order_manager", "order_filled")  # without it
            with subprocess.Popen(
                shlex.split(advice[1]), stdout=subprocess.DEVNULL, cwd="/"
            ) as start:
                stack.wait_for_event("dashboard", "started")
                start.kill()  # it would wait until that has lasted
            # The gateway cannot come back: it shall play a file that is no tape.
            tape = stack.directory / "tape.csv"
            tape.write_text("a,b\n1,2\n")
            gateway = {**stack.settings["gateway"], "source": "file", "path": str(tape)}
            stack.write_config({**stack.settings, "gateway": gateway})
            os.kill(stack.pid("gateway"), 9)
            assert main.wait(timeout=60) == 65
        finally:
            main.terminate()
    reason = stack.wait_for_event("gateway", "cannot_start")["reason"]
    assert str(tape) in reason
    assert len(reason) > MAX_VALUE_CHARACTERS
    assert output(stack).count(reason) == 1
    assert re.fullmatch(r"main\.py: gateway .*status 65\).*", output(stack).splitlines()[-1])


def with_one_retry(configuration: RawConfigParser) -> None:
    """Have supervisord try only once more: 10 retries take a minute."""
    for role in ROLES:
        program = configuration[f"program:{role}"]
        # On a busy machine it takes over a second to fail: that would pass for a start.
        program.update({"startretries": "1", "startsecs": "30"})
