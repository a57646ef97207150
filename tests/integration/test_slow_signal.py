"""A user's signal that is slow, or hangs, in a running stack."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.helpers import wait_until
from tests.stack import PrivateStack

RATE = 5000.0
HANG_AFTER_S = 1.0
SIGNALS = """
import time

class Slow:
    def __init__(self, settings):
        pass

    def on_tick(self, symbol, price, sentiment):
        end = time.perf_counter() + 0.0003
        while time.perf_counter() < end:
            pass

class Hangs(Slow):
    def on_tick(self, symbol, price, sentiment):
        time.sleep(1000)
"""
SLEEPS_AT = SIGNALS.splitlines().index("        time.sleep(1000)") + 1


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[PrivateStack]:
    """A stack whose strategy has the signal of the mark, and whose watchdog is impatient."""
    settings = {
        "gateway": {"rate": RATE},
        # What is in it takes two seconds to refill from.
        "price_book": {"ring_capacity": 8192},
        "strategy": {"class": f"my_signals:{request.param}"},
        "watchdog": {"hang_after": HANG_AFTER_S},
    }
    with PrivateStack(settings) as stack, pytest.MonkeyPatch.context() as patch:
        (stack.directory / "my_signals.py").write_text(SIGNALS)
        patch.setenv("PYTHONPATH", str(stack.directory))
        stack.start()
        yield stack


@pytest.mark.parametrize("stack", ["Slow"], indirect=True)
def test_a_strategy_whose_signal_is_slow_comes_back_from_a_kill_and_says_what_is_slow(
    stack: PrivateStack,
) -> None:
    said = stack.wait_for_event("strategy", "signal_too_slow")
    assert said["signal_us"] >= 300
    assert said["signal_us"] > said["tick_interval_us"]
    wait_until(lambda: stack.events("strategy", "ticks_missed"), "the ring has come round")
    os.kill(stack.pid("strategy"), signal.SIGKILL)
    wait_until(lambda: len(stack.events("strategy", "started")) == 2, "it is started again")
    wait_until(lambda: len(stack.events("strategy", "attached")) == 2, "it has refilled")
    pid = stack.pid("strategy")
    wait_until(lambda: len(stack.events("strategy", "evaluation_started")) >= 2, "it evaluates")
    assert stack.pid("strategy") == pid
    assert stack.events("watchdog", "role_hung") == []
    stack.stop()
    assert "the signal takes" in (stack.directory / "main.out").read_text()


@pytest.mark.parametrize("stack", ["Hangs"], indirect=True)
def test_a_signal_that_hangs_in_one_tick_is_named_before_it_is_killed(stack: PrivateStack) -> None:
    hung = stack.wait_for_event("watchdog", "role_hung")
    assert hung["program"] == "strategy"
    assert hung["where"] == f"{stack.directory}/my_signals.py, line {SLEEPS_AT}, in on_tick"
    had = re.match(r"the signal has had one tick for ([\d.]+) s", hung["reason"])
    assert had, hung["reason"]
    assert float(had[1]) >= HANG_AFTER_S
