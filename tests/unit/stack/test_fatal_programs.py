"""What is given up: what to do about it, and whether the stack ends with it and how."""

from __future__ import annotations

import pytest

from lib.errors import EXIT_BAD_INPUT
from lib.settings import EXIT_BAD_SETTINGS
from lib.stack.fatal_programs import FAR_LINES, MAX_REASON_CHARACTERS, MAX_TRIES, FatalPrograms
from lib.stack.log_follower import (
    ENDED,
    ERROR,
    GIVEN_UP,
    NOTICE,
    SPAWN_FAILED,
    SPAWNED,
    STARTED,
    SUPERVISORD,
    WARNING,
    ScreenLine,
)

PROGRAMS = {
    "gateway": "gateway",
    "orderbook": "orderbook",
    "order_manager": "order_manager",
    "strategy": "strategy",
    "second": "strategy",
    "dashboard": "dashboard",
}
START = "supervisorctl -c 'a b.conf' start"


class Stack:
    """Lines that come, each shown."""

    def __init__(self) -> None:
        self.given_up = FatalPrograms(PROGRAMS, START)
        self.shown = 0

    @property
    def code(self) -> int | None:
        """With which code the stack ends; None if it goes on."""
        return self.given_up.ending and self.given_up.ending.code

    @property
    def message(self) -> str:
        return self.given_up.ending.message if self.given_up.ending else ""

    def take(self, program: str, text: str, level: str, event: str = "", detail: str = "") -> str:
        self.shown += 1
        line = ScreenLine(program, text, level, event, detail)
        return self.given_up.take_line(line, self.shown).text

    def try_to_start(self, program: str, end: str, reason: str = "no port", times: int = 1) -> None:
        for _ in range(times):
            self.take(program, "spawned", NOTICE, SPAWNED, "7")
            if reason:
                self.take(program, f"cannot_start: {reason}", ERROR, "cannot_start")
            self.take(program, "ended", WARNING, ENDED, f"{end}; not expected")

    def start(self, program: str) -> None:
        self.take(program, "spawned", NOTICE, SPAWNED, "7")
        self.take(program, "started", NOTICE, STARTED)

    def give_up(self, program: str) -> str:
        return self.take(program, "given up: FATAL", ERROR, GIVEN_UP)

    def fail(self, program: str, end: str = "exit status 1") -> str:
        self.try_to_start(program, end, times=11)
        return self.give_up(program)

    def pass_lines(self, count: int) -> None:
        for _ in range(count):
            self.take("main.py", "x", NOTICE)


@pytest.fixture
def stack() -> Stack:
    return Stack()


@pytest.mark.parametrize(
    ("program", "end", "code"),
    [
        ("gateway", "exit status 3", 3),
        ("orderbook", "exit status 0", 1),
        ("order_manager", "terminated by SIGSEGV", 1),
    ],
)
def test_without_it_nothing_is_traded_and_the_stack_ends_with_its_code(
    stack: Stack, program: str, end: str, code: int
) -> None:
    stack.try_to_start(program, end, times=11)
    assert stack.code is None
    assert START not in stack.give_up(program)
    assert stack.code == code
    assert stack.message.startswith(f"{program} does not start (11 tries, {end})")
    stack.fail("strategy", "exit status 4")
    assert stack.code == code


@pytest.mark.parametrize(
    ("program", "end", "begin"),
    [
        ("dashboard", "exit status 1", "given up (11 tries, exit status 1)"),
        ("by_hand", "exit status 1", "given up (11 tries, exit status 1)"),
        ("strategy", "exit status 1", "given up (11 tries, exit status 1)"),  # there is another one
        (
            "gateway",
            "terminated by SIGKILL",
            "given up (11 tries, terminated by SIGKILL); something",
        ),
    ],
)
def test_otherwise_the_stack_goes_on_and_the_line_says_how_to_start_it(
    stack: Stack, program: str, end: str, begin: str
) -> None:
    text = stack.fail(program, end)
    assert stack.code is None
    assert text.startswith(begin)
    assert text.endswith(f"then: {START} {program}")


def test_of_two_strategies_the_last_one_ends_the_stack(stack: Stack) -> None:
    stack.fail("strategy")
    stack.start("strategy")  # by hand
    stack.fail("second")
    assert stack.code is None
    stack.fail("strategy", "exit status 5")
    assert stack.code == 5


@pytest.mark.parametrize("code", [EXIT_BAD_SETTINGS, EXIT_BAD_INPUT])
def test_what_is_refused_at_the_first_start_ends_the_stack_at_once_and_later_after_its_tries(
    stack: Stack, code: int
) -> None:
    started = Stack()
    started.start("gateway")
    for one, ends in ((stack, code), (started, None)):
        one.try_to_start("gateway", f"exit status {code}")
        assert one.code == ends
    started.fail("gateway", f"exit status {code}")
    assert started.code == code


def test_failing_starts_that_supervisord_takes_for_good_ones_have_a_bound(stack: Stack) -> None:
    for _ in range(3 * MAX_TRIES):  # it is killed and comes back
        stack.start("gateway")
        stack.take("gateway", "x", WARNING, ENDED, "exit status 1; not expected")
    stack.start("gateway")
    stack.try_to_start("gateway", "exit status 1", times=MAX_TRIES - 1)
    assert stack.code is None
    stack.try_to_start("gateway", "exit status 1")
    assert stack.code == 1


def test_a_program_of_which_no_process_could_be_made_ends_with_1(stack: Stack) -> None:
    stack.start("gateway")
    stack.take("gateway", "x", WARNING, ENDED, "terminated by SIGKILL; not expected")
    stack.start("gateway")
    stack.take(SUPERVISORD, "cannot execute x", ERROR, SPAWN_FAILED)
    stack.pass_lines(2 * FAR_LINES)
    stack.give_up("gateway")
    assert stack.code == 1
    assert "cannot execute x" in stack.message


def test_a_reason_is_named_again_in_short_only_where_it_is_far_above_and_that_there_is_none(
    stack: Stack,
) -> None:
    stack.try_to_start("dashboard", "exit status 1", "no port")
    assert "no port" not in stack.give_up("dashboard")
    stack.try_to_start("by_hand", "exit status 1", "")
    assert "no reason" in stack.give_up("by_hand")
    reason = "no port " + "x" * 1000
    stack.try_to_start("gateway", "exit status 1", reason)
    stack.pass_lines(2 * FAR_LINES)
    # What an interpreter says while it ends is no reason.
    stack.take("gateway", "spawned", NOTICE, SPAWNED, "7")
    stack.take("gateway", f"cannot_start: {reason}", ERROR, "cannot_start")
    stack.take("gateway", "Exception ignored in: x", WARNING)
    stack.give_up("gateway")
    assert f": {f'cannot_start: {reason}'[:MAX_REASON_CHARACTERS]}…." in stack.message
