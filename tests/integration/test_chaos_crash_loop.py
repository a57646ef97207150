"""The crash loop as a user runs it. A whole one takes a minute, so only the quick parts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.experiments import command
from tests.helpers import DEADLINE_S, wait_until
from tests.stack import PrivateStack


@pytest.fixture
def stack() -> Iterator[PrivateStack]:
    """A stack's settings and var directory; a test starts it."""
    with PrivateStack() as stack:
        yield stack


def test_an_interruption_ends_the_crash_loop_and_the_role_runs_again(stack: PrivateStack) -> None:
    stack.start()
    others = ("gateway", "orderbook", "strategy", "watchdog")
    before = {role: stack.pid(role) for role in others}
    log = stack.var_dir / "supervisord.log"
    spawned = "spawned: 'order_manager'"
    experiment = subprocess.Popen(
        command(stack, "crash_loop"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        # The first start is of the stack; after the third the next wait is one of 2 s.
        wait_until(lambda: log.read_text().count(spawned) >= 3, "it is started and killed")
        experiment.send_signal(signal.SIGINT)
        assert experiment.wait(timeout=DEADLINE_S) == 130
    finally:
        experiment.kill()
        experiment.wait()
    assert "RUNNING" in stack.supervisorctl("status", "order_manager")
    assert {role: stack.pid(role) for role in others} == before
    assert stack.stop() == 0
