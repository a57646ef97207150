"""The merged logs: in the order of time, filtered, and fit for a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from lib.log_view import EARLIER_LINES, HELD_LOOKS, LEVELS, LogView
from lib.stack.log_follower import WARNING
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


def test_what_is_no_event_is_a_warning_in_its_place():
    lines = [("a", raw(1, "one")), ("a", b"  "), ("a", b"ModuleNotFoundError: \x1b")]
    view = LogView([], "debug")
    view.look([*lines, ("b", raw(2, "two", reason="\x1b[2J"))])
    shown = view.rest()
    assert [line.text for line in shown] == [
        "03:04:01.123 one",
        "03:04:01.123 ModuleNotFoundError: \\x1b",
        "03:04:02.123 two: \\x1b[2J",
    ]
    assert shown[1].level == WARNING


def program(var_dir: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lib.log_view", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, "TRADING_VAR_DIR": str(var_dir)},
        text=True,
        **options,
    )


def test_the_program_shows_what_was_last_and_follows(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "a.jsonl").write_bytes(b"".join(raw(n, f"e{n}") + b"\n" for n in range(30)))
    output = tmp_path / "output"
    with output.open("wb") as file:
        following = program(tmp_path, stdout=file)
    try:
        wait_until(lambda: output.read_text().count("\n") == EARLIER_LINES, "the last lines come")
        (log / "b.jsonl").write_bytes(raw(59, "new") + b"\n")
        wait_until(lambda: "03:04:59.123 new" in output.read_text(), "a new line comes")
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0
    finally:
        following.kill()
    assert output.read_text().splitlines()[0] == "a             | 03:04:10.123 e10"


def test_a_log_that_is_not_there_is_reported_and_ends_it_where_it_need_not_wait(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "gateway.jsonl").touch()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = program(tmp_path, "--no-follow", "--role", "gatway", **pipes)
    assert ended.communicate(timeout=60) == ("", "no log of gatway yet; there are gateway\n")
    assert ended.returncode == 0


def test_without_a_standard_output_it_shows_nothing_and_ends_as_usual(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.jsonl").write_bytes(raw(1, "one") + b"\n")
    quiet = program(tmp_path, "--no-follow", stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert quiet.communicate(timeout=60)[1] == ""
    assert quiet.returncode == 0
