"""The merged logs: in the order of time, filtered, and fit for a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib.log_view import EARLIER_LINES, HELD_LOOKS, LEVELS, LogView
from lib.stack.log_follower import ERROR, NOTICE, WARNING
from tests.helpers import PROJECT_ROOT, wait_until


def raw(second: int, event: str = "x", level: str = "info", **facts) -> bytes:
    timestamp = f"2026-01-02T03:04:{second:02}.123456Z"
    line = {"timestamp": timestamp, "level": level, "role": "r", "event": event, **facts}
    return json.dumps(line).encode()


def shown(view: LogView, *looks: list[tuple[str, bytes]]) -> list[str]:
    """What comes of these looks, and of as many empty ones as lines are held back for."""
    lines = [line for look in (*looks, *[[]] * HELD_LOOKS) for line in view.look(look)]
    assert view.rest() == []
    return [f"{line.role} {line.text}" for line in lines]


def test_an_event_is_a_line_with_its_time_its_program_and_what_it_says():
    lines = [("strategy-2", raw(5, "order_sent", order_id=7, symbol="AAPL"))]
    assert shown(LogView([], "debug"), lines) == [
        "strategy-2 03:04:05.123 order_sent order_id=7 symbol=AAPL"
    ]


def test_lines_of_several_files_come_in_the_order_of_time():
    view = LogView([], "debug")
    first = [("a", raw(1, "one")), ("a", raw(4, "four")), ("b", raw(2, "two"))]
    late = [("b", raw(3, "three")), ("a", raw(5, "five"))]
    events = [line.split()[2] for line in shown(view, first, late)]
    assert events == ["one", "two", "three", "four", "five"]


def test_other_programs_and_lower_levels_are_left_out():
    lines = [(p, raw(1, f"{p}-{level}", level)) for p in "ab" for level in LEVELS]
    events = [line.split()[2] for line in shown(LogView(["b"], "warning"), lines)]
    assert sorted(events) == ["b-critical", "b-error", "b-warning"]


def test_levels_have_the_colours_of_the_story():
    view = LogView([], "debug")
    view.look([("a", raw(n, "x", level)) for n, level in enumerate(LEVELS)])
    assert [line.level for line in view.rest()] == [NOTICE, NOTICE, WARNING, ERROR, ERROR]


def test_what_is_no_event_is_a_warning_in_its_place():
    lines = [("a", raw(1, "one")), ("a", b"ModuleNotFoundError: \x1b"), ("b", raw(2, "two"))]
    view = LogView([], "debug")
    view.look(lines)
    shown = view.rest()
    assert [line.text for line in shown][1] == "03:04:01.123 ModuleNotFoundError: \\x1b"
    assert shown[1].level == WARNING


@pytest.mark.parametrize("line", [b"", b"  "])
def test_an_empty_line_is_left_out(line):
    assert shown(LogView([], "debug"), [("a", line)]) == []


def test_control_characters_do_not_reach_the_terminal():
    [line] = shown(LogView([], "debug"), [("a", raw(1, "x", reason="\x1b[2J"))])
    assert "\x1b" not in line


def environment(var_dir: Path) -> dict[str, str]:
    return {**os.environ, "TRADING_VAR_DIR": str(var_dir)}


def test_the_program_shows_what_was_last_and_follows(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "a.jsonl").write_bytes(b"".join(raw(n, f"e{n}") + b"\n" for n in range(30)))
    output = tmp_path / "output"
    with output.open("wb") as file:
        program = subprocess.Popen(
            [sys.executable, "-m", "lib.log_view"],
            cwd=PROJECT_ROOT,
            env=environment(tmp_path),
            stdout=file,
        )
    try:
        wait_until(lambda: output.read_text().count("\n") == EARLIER_LINES, "the last lines come")
        (log / "b.jsonl").write_bytes(raw(59, "new") + b"\n")
        wait_until(lambda: "03:04:59.123 new" in output.read_text(), "a new line comes")
        program.send_signal(signal.SIGINT)
        assert program.wait(10) == 0
    finally:
        program.kill()
    assert output.read_text().splitlines()[0] == "a             | 03:04:10.123 e10"


def test_a_program_without_a_log_is_reported_with_those_that_have_one(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "gateway.jsonl").touch()
    done = subprocess.run(
        [sys.executable, "-m", "lib.log_view", "--no-follow", "--role", "gatway"],
        cwd=PROJECT_ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == "no log of gatway yet; there are gateway\n"


def test_without_logs_it_says_so_and_ends_where_it_need_not_wait(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lib.log_view", "--no-follow"],
        cwd=PROJECT_ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "no logs in" in done.stderr
