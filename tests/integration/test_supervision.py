"""The stack as a user runs it: main.py, supervisord, supervisorctl, and what is left afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from lib.shared_memory_utils import SharedPriceBook
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import ROLES, PrivateStack

SETTINGS = {"gateway": {"rate": 500.0, "news_interval": 0.1}}


def assert_nothing_is_left(stack: PrivateStack) -> None:
    wait_until(lambda: stack.processes() == [], "all processes of the stack have ended")
    wait_until(lambda: stack.segments() == [], "its segments are gone")


def sequences_in_book(stack: PrivateStack) -> list[int]:
    """The tick sequences in the ring, in order."""
    with SharedPriceBook.attach(stack.book_name) as book, book.reader(0) as reader:
        sequences = []
        while len(ticks := reader.read().ticks):
            sequences += ticks["sequence"].tolist()
        return sequences


def assert_no_tick_was_missed(stack: PrivateStack) -> None:
    sequences = sequences_in_book(stack)
    assert sequences == list(range(1, len(sequences) + 1))
    assert stack.missed("orderbook") == []


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_the_stack_trades_before_and_after_a_kill_and_leaves_nothing_behind(
    stack: PrivateStack,
) -> None:
    """The one stack of `make check`."""
    stack.start()
    wait_until(lambda: len(stack.output("order_manager")) >= 5, "five orders are printed")

    def running() -> list[str]:
        return re.findall(r"^(\w+) +RUNNING", stack.supervisorctl("status"), re.MULTILINE)

    wait_until(lambda: running() == sorted(ROLES), "supervisorctl shows every role running")
    kill(stack.pid("gateway"))
    continued = stack.wait_for_event("gateway", "tape_continued")
    wait_until(lambda: len(stack.events("orderbook", "connected")) == 2, "the book is back")
    assert stack.events("orderbook", "connected")[1]["tape"] == continued["tape"]
    more = len(stack.output("order_manager")) + 5
    wait_until(lambda: len(stack.output("order_manager")) >= more, "five more are printed")
    assert_no_tick_was_missed(stack)
    assert all(
        re.fullmatch(r"Received Order \d+: (BUY|SELL) \d+ \w+ @ \d+\.\d\d+", line)
        for line in stack.output("order_manager")
    )
    assert stack.stop() == 0
    assert_nothing_is_left(stack)
    output = (stack.directory / "main.out").read_text()
    assert "Received Order 1: " in output
    assert "\x1b[" not in output  # no colour without a terminal
    # What was sent is what was booked is what was printed.
    sent = [e["order_id"] for e in stack.events("strategy", "order_sent")]
    filled = [e["order_id"] for e in stack.events("order_manager", "order_filled")]
    printed = [int(line.split()[2][:-1]) for line in stack.output("order_manager")]
    assert sent[: len(filled)] == filled == printed
    assert filled == list(range(1, len(filled) + 1))


def test_a_restarted_gateway_and_a_killed_orderbook_go_on_and_no_tick_is_missed(
    stack: PrivateStack,
) -> None:
    main = stack.start()
    assert "gateway: started" in stack.supervisorctl("restart", "gateway")
    stack.wait_for_event("gateway", "tape_continued")
    wait_until(lambda: len(stack.events("orderbook", "connected")) == 2, "the book follows it")
    for connections in (3, 4):
        kill(stack.pid("orderbook"))
        wait_until(
            lambda n=connections: len(stack.events("orderbook", "connected")) == n,
            "the orderbook is back",
        )
    last = sequences_in_book(stack)[-1]
    wait_until(lambda: sequences_in_book(stack)[-1] > last + 100, "ticks flow again")
    assert_no_tick_was_missed(stack)
    assert {e["tape"] for e in stack.events("orderbook", "connected")} == {
        e["tape"] for e in stack.events("gateway", "tape_started")
    }
    assert stack.missed("strategy") == []
    assert len(stack.events("strategy", "evaluation_started")) == 1
    # The segment outlives its roles, and not the stack.
    stack.supervisorctl("stop", "all")
    assert stack.segments() != []
    stack.supervisorctl("shutdown")
    assert main.wait(timeout=60) == 0
    assert_nothing_is_left(stack)


@pytest.mark.parametrize("victim", ["main.py", "supervisord"])
def test_nothing_is_left_after_sigkill_of(victim: str, stack: PrivateStack) -> None:
    main = stack.start()
    stack.wait_for_event("orderbook", "connected")
    if victim == "supervisord":  # a hung role does not outlive it either
        os.kill(stack.pid("gateway"), signal.SIGSTOP)
    pid_file = stack.var_dir / "supervisord.pid"
    kill(main.pid if victim == "main.py" else int(pid_file.read_text()))
    main.wait(timeout=60)
    assert_nothing_is_left(stack)


def run_main(stack: PrivateStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "main.py", "--config", stack.config, *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_stack_in_the_way_of_the_first_ends_with_one_line(stack: PrivateStack) -> None:
    stack.start()
    stack.wait_for_event("orderbook", "connected")
    pid = stack.pid("gateway")
    with PrivateStack(SETTINGS | {"price_book": {"name": stack.book_name}}) as namesake:
        for second, var_dir, line in (
            (stack, stack.var_dir, r"another stack runs in .*"),
            (stack, stack.directory / "var2", rf".*:{stack.price_port}.*price_port.*"),
            (
                namesake,
                namesake.var_dir,
                rf"price book {stack.book_name} .*\[price_book\] name .*",
            ),
        ):
            ended = run_main(second, "--var-dir", str(var_dir))
            assert ended.returncode == 1
            assert re.fullmatch(rf"main\.py: {line}\n", ended.stderr)
    assert stack.pid("gateway") == pid
    assert_no_tick_was_missed(stack)


def test_impossible_settings_end_with_78_and_one_line(stack: PrivateStack) -> None:
    stack.write_config({**stack.settings, "strategy": {"short_window": 60, "long_window": 50}})
    result = run_main(stack, "--var-dir", str(stack.var_dir))
    assert result.returncode == 78
    assert re.fullmatch(r".*strategy\.short_window: .*long_window.*\n", result.stderr)
    for role in ROLES:
        process = stack.start_by_hand(role)
        assert process.wait(timeout=60) == 78
        [event] = stack.events(role)
        assert event["event"] == "settings_refused"
        assert "strategy.short_window" in event["reason"]


def test_a_duration_ends_the_stack_with_exit_code_0(stack: PrivateStack) -> None:
    result = run_main(stack, "--var-dir", str(stack.var_dir), "--duration", "2.5")
    assert (result.returncode, result.stderr) == (0, "")
    assert_nothing_is_left(stack)
