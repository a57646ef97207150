"""Repetitions: what a program says at each try is shown once, and again when it is news again."""

from __future__ import annotations

import pytest

from lib.stack.log_follower import (
    ENDED,
    ERROR,
    GIVEN_UP,
    NOTICE,
    ROLE_HUNG,
    SPAWN_FAILED,
    SPAWNED,
    STARTED,
    STOPPED,
    SUPERVISORD,
    WARNING,
    ScreenLine,
)
from lib.stack.repeated_lines import CALM_S, MAX_TEXTS, RepeatedLines

STATUS_1 = "exit status 1; not expected"
SIGKILL = "terminated by SIGKILL; not expected"


class Screen:
    """What is shown of lines that come at these times."""

    def __init__(self) -> None:
        self.repetitions = RepeatedLines()
        self.now_s = 1000.0
        self.pid = 100

    def show(self, *lines: ScreenLine) -> list[str]:
        return [line.text for each in lines for line in self.repetitions.new_of(each, self.now_s)]

    def after(self, seconds: float) -> list[str]:
        self.now_s += seconds
        return [line.text for line in self.repetitions.forget_old_failures(self.now_s)]

    def spawned(self) -> ScreenLine:
        self.pid += 1
        return ScreenLine("gateway", f"spawned pid={self.pid}", NOTICE, SPAWNED, str(self.pid))

    def started(self) -> ScreenLine:
        return ScreenLine("gateway", f"started pid={self.pid}", NOTICE, STARTED)

    def failed_try(self, reason: str = "no tape") -> list[ScreenLine]:
        return [self.spawned(), refused(reason), ended()]


def refused(reason: str, role: str = "gateway") -> ScreenLine:
    return ScreenLine(role, f"cannot_start: {reason}", ERROR, "cannot_start")


def ended(how: str = STATUS_1) -> ScreenLine:
    return ScreenLine("gateway", f"ended by itself ({how})", WARNING, ENDED, how)


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_of_eleven_tries_the_first_is_shown_and_that_there_were_ten(screen: Screen) -> None:
    shown = []
    for pause_s in range(11):
        shown += screen.after(pause_s) + screen.show(*screen.failed_try())
    assert shown == [
        "spawned pid=101",
        "cannot_start: no tape",
        f"ended by itself ({STATUS_1})",
        "spawned pid=102",
        f"ended by itself ({STATUS_1}), 10 times now",
    ]
    assert screen.show(*screen.failed_try("no disk")) == ["cannot_start: no disk"]


def test_what_is_no_repetition_is_shown_meanwhile(screen: Screen) -> None:
    of_another = refused("no tape", "orderbook")
    printed = ScreenLine("gateway", "Received Order 1", NOTICE)
    frame = ScreenLine("gateway", "  File x, in f", WARNING)
    screen.show(of_another, printed, screen.spawned())
    assert len(screen.show(frame, frame, ended())) == 3  # within one try
    screen.show(*screen.failed_try())
    for line in (of_another, printed):
        assert screen.show(line, *screen.failed_try(), line) == [line.text] * 2
    assert screen.show(frame, frame) == []


def test_a_warning_that_a_running_program_repeats_is_shown_each_time(screen: Screen) -> None:
    screen.show(screen.spawned(), screen.started())
    warning = ScreenLine("gateway", "client_refused peer=x", WARNING, "client_refused")
    assert screen.show(*[warning] * 5) == [warning.text] * 5


def test_a_program_that_starts_and_crashes_again_and_again_is_shown_once(screen: Screen) -> None:
    shown = []
    for _ in range(9):
        assert screen.after(CALM_S - 1) == []
        connected = ScreenLine("gateway", f"connected first={screen.pid}", NOTICE, "connected")
        lines = [screen.spawned(), screen.started(), connected, refused("a bug"), ended()]
        shown.append(len(screen.show(*lines)))
    # That it has come back once, and not why it went again.
    assert shown == [5, 3, *[0] * 7]


def test_a_program_that_runs_again_is_said_to_and_its_next_failure_is_news(screen: Screen) -> None:
    for _ in range(3):
        screen.show(*screen.failed_try())
    assert screen.after(CALM_S + 1) == []  # it waits for its next try
    assert screen.show(screen.spawned(), screen.started()) == [f"started pid={screen.pid}"]
    assert screen.after(CALM_S) == ["has run for 30 s now, after it had ended 3 times"]
    assert screen.after(CALM_S) == []
    assert len(screen.show(refused("no tape"), ended(), *screen.failed_try())) == 3


@pytest.mark.parametrize("event", [STOPPED, GIVEN_UP])
def test_after_a_person_or_supervisord_has_stopped_it_all_is_news(
    screen: Screen, event: str
) -> None:
    screen.show(*screen.failed_try())
    assert screen.show(ScreenLine("gateway", "over", NOTICE, event)) == ["over"]
    assert len(screen.show(*screen.failed_try())) == 3


def test_a_program_that_is_killed_is_shown_each_time_while_it_works_and_once_before(
    screen: Screen,
) -> None:
    for _ in range(3):
        assert len(screen.show(screen.spawned(), screen.started(), ended(SIGKILL))) == 3
    tries = [len(screen.show(screen.spawned(), ended(SIGKILL))) for _ in range(3)]
    assert tries == [2, 1, 0]


def test_each_place_at_which_the_watchdog_ends_a_program_is_shown_once(screen: Screen) -> None:
    shown = []
    for silent_s, where in enumerate(["line 65", "line 65", "line 61", "line 65"]):
        text = f"role_hung program=gateway silent_s={silent_s} where={where}"
        hung = ScreenLine("watchdog", text, ERROR, ROLE_HUNG, "gateway", where)
        lines = screen.show(screen.spawned(), screen.started(), hung, ended(SIGKILL))
        shown.append(text in lines)
    assert shown == [True, False, True, False]


def test_a_command_that_cannot_be_run_is_shown_once_until_it_is_quiet(screen: Screen) -> None:
    line = ScreenLine(SUPERVISORD, "cannot execute x", ERROR, SPAWN_FAILED)
    assert screen.show(line, line) == [line.text]
    assert screen.after(CALM_S - 1) == []
    assert screen.show(line) == []
    assert screen.after(CALM_S) == []
    assert screen.show(line) == [line.text]


def test_what_is_remembered_is_bounded_and_the_latest_texts_are_kept(screen: Screen) -> None:
    screen.show(*(refused(str(number)) for number in range(10 * MAX_TEXTS)), ended())
    shown = screen.show(refused("0"), refused(str(10 * MAX_TEXTS - 1)), ended())
    assert shown == ["cannot_start: 0"]
