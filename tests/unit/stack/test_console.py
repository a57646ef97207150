"""The screen: a column for the role, colours where they belong, readers that are slow or gone."""

from __future__ import annotations

import os
import threading

import pytest

from lib.stack.console import Screen, format_line, wants_colour
from lib.stack.log_follower import ERROR, NOTICE, WARNING, ScreenLine
from tests.terminals import terminal

ORDER = ScreenLine("order_manager", "Received Order 12", NOTICE)
PREPARING = ScreenLine(
    "tape", "tape_preparing share=0.5", NOTICE, detail="preparing ticks: reading", share=0.5
)


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    ends = {"reader": reader, "writer": writer}
    yield ends
    for fd in ends.values():
        os.close(fd)


@pytest.mark.parametrize(
    ("level", "text"), [(NOTICE, "x"), (WARNING, "WARNING x"), (ERROR, "ERROR x")]
)
def test_without_colours_a_line_is_plain_text_and_levels_are_named(level, text):
    line = ScreenLine("gateway", "x", level)
    assert format_line(line, colour=False) == f"gateway       | {text}"


def test_colours_are_for_terminals_whose_users_want_them(pipe, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    controller, terminal = os.openpty()
    try:
        assert wants_colour(terminal)
        assert not wants_colour(pipe["writer"])
        monkeypatch.setenv("TERM", "dumb")
        assert not wants_colour(terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        assert not wants_colour(terminal)
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_has_a_bar_below_the_lines_until_the_gateway_goes_on(columns, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    order = format_line(ORDER, colour=False)
    bar = {
        40: "[#####.....]  50% preparing ticks: read",
        80: "[##########..........]  50% preparing ticks: reading",
    }[columns]
    with terminal(columns) as shown:
        screen = Screen(shown.theirs, lambda: False)
        screen.show([PREPARING._replace(share=0.1), PREPARING])
        assert shown.rows() == [bar]
        screen.show([ORDER])
        screen.show([PREPARING, ORDER])
        assert shown.rows() == [order, order, bar]
        for line in (ScreenLine("gateway", "tape_started", NOTICE), ScreenLine("tape", "x", ERROR)):
            screen.show([PREPARING, line, ORDER])
            ended = f"{line.role:<13} | {line.text}"
            assert shown.rows() == [ended, order, ""]
        screen.show([PREPARING])
        screen.erase_bar()
        assert shown.rows() == [""]


def test_elsewhere_the_progress_is_a_line_like_any_other(pipe):
    Screen(pipe["writer"], lambda: False).show([PREPARING, ORDER])
    expected = "".join(f"{format_line(line, colour=False)}\n" for line in (PREPARING, ORDER))
    assert os.read(pipe["reader"], 1000).decode() == expected


def test_lines_arrive_in_order_at_a_reader_that_is_slower_than_the_stack(pipe):
    screen = Screen(pipe["writer"], lambda: False)
    lines = [ScreenLine("gateway", f"{number} " + "x" * 100, NOTICE) for number in range(2000)]
    expected = "".join(format_line(line, colour=False) + "\n" for line in lines).encode()
    writing = threading.Thread(target=screen.show, args=(lines,))
    writing.start()
    received = b""
    while len(received) < len(expected):
        received += os.read(pipe["reader"], 1000)
    writing.join()
    assert received == expected


def test_a_stuck_reader_does_not_keep_the_stack_from_stopping(pipe):
    looks = iter([False, False, False])
    screen = Screen(pipe["writer"], lambda: next(looks, True))
    screen.show([ScreenLine("gateway", "x" * 200_000, NOTICE)])  # returns
    assert list(looks) == []


def test_a_reader_that_went_away_is_noticed_without_writing(pipe):
    screen = Screen(pipe["writer"], lambda: False)
    assert not screen.reader_is_gone()
    os.close(pipe.pop("reader"))
    assert screen.reader_is_gone()
    screen.show([ORDER])  # neither raises nor waits
