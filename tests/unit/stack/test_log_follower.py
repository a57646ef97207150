"""Which log lines are shown and how, and following files that are rotated."""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.stack.log_follower import (
    ENDED,
    ERROR,
    GIVEN_UP,
    KILLED,
    MAX_LINE_BYTES,
    MAX_VALUE_CHARACTERS,
    NOTICE,
    READ_BYTES,
    SPAWN_FAILED,
    SPAWNED,
    STOPPED,
    SUPERVISORD,
    WARNING,
    FileFollower,
    LogFollower,
    ScreenLine,
    event_line,
    supervisor_line,
    supervisor_ms,
)


def event(name: str, level: str = "info", **details) -> bytes:
    envelope = {"timestamp": "2025-11-03T14:30:00.000001Z", "level": level, "role": "gateway"}
    return json.dumps({**envelope, "event": name, **details}).encode()


LONG = "so, " * 300 + "send this instead"
"""A reason is shown in full, whatever its length."""
EVENTS = {
    "keys without the envelope": (
        event("ticks_missed", first=3, last=9, where="price stream", share=0.5),
        'ticks_missed first=3 last=9 where="price stream" share=0.5',
    ),
    "the reason comes last and whole": (
        event("disconnected", "warning", reason=LONG, peer="127.0.0.1:5001"),
        f"disconnected peer=127.0.0.1:5001: {LONG}",
    ),
    "the last line of a traceback is the reason": (
        event("crashed", "error", exception="Traceback:\n  File x\nOSError: no such thing"),
        "crashed: OSError: no such thing",
    ),
    "a crash with a reason names it once": (
        event("crashed", "critical", reason="OSError: x", where="a", exception="T:\nOSError: x"),
        "crashed where=a: OSError: x",
    ),
    "text is whole and a list is cut": (
        event("odd", "warning", path="x" * 5000, examples=["y" * 5000]),
        f'odd path={"x" * 5000} examples=["{"y" * (MAX_VALUE_CHARACTERS - 2)}…',
    ),
    "the first of many examples is whole": (
        event("odd", "warning", count=2, examples=[{"text": "A;1", "reason": LONG}, {}]),
        f"odd count=2 text=A;1: {LONG}",
    ),
}


@pytest.mark.parametrize(("raw", "text"), EVENTS.values(), ids=EVENTS)
def test_an_event_is_shown_as_one_line(raw, text):
    name, level = (json.loads(raw)[key] for key in ("event", "level"))
    shown = {"info": NOTICE, "warning": WARNING, "error": ERROR, "critical": ERROR}[level]
    assert event_line("gateway", raw) == ScreenLine("gateway", text, shown, name)


def test_what_is_of_no_interest_is_not_shown_and_what_is_no_event_is_unchanged():
    said_by_supervisord = event("role_gave_up", "error", program="gateway")
    for raw in (b"", event("order_sent", "debug"), event("order_sent"), said_by_supervisord):
        assert event_line("watchdog", raw) is None
    for raw in (b"Traceback:", b"{}", b'{"event": "started", "level": {}}', b"[" * 50_000):
        assert event_line("gateway", raw) == ScreenLine("gateway", raw.decode(), WARNING)


def test_of_the_alerts_process_which_logs_with_the_watchdog_only_what_is_wrong_is_shown():
    assert event_line("watchdog", event("started", role="alerts", pid=7)) is None
    failed = event("alert_failed", "error", role="alerts", reason="exit status 1")
    assert event_line("watchdog", failed).text == "alert_failed: exit status 1"


def test_a_hung_role_is_named_apart_from_the_text():
    facts = {"role": "watchdog", "pid": 7, "silent_s": 2.0, "where": "a.py, line 65"}
    raw = event("role_hung", "error", program="strategy", **facts)
    assert event_line("watchdog", raw)[3:6] == ("role_hung", "strategy", "a.py, line 65")


def test_the_progress_of_a_preparation_is_a_number_beside_the_text():
    raw = event("tape_preparing", role="tape", kind="ticks", what="reading", share=0.42)
    line = event_line("tape", raw)
    assert line.text == "tape_preparing kind=ticks what=reading share=0.42"
    assert (line.detail, line.share) == ("preparing ticks: reading", 0.42)


def test_control_characters_never_reach_the_terminal():
    raw = event("rejected", "warning", frame="\x1b[2Jboo\n", peer="\x9b1m")
    assert event_line("gateway", raw).text.isprintable()
    assert event_line("gateway", b"bad \x1b[2J\xff").text == "bad \\x1b[2J\ufffd"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("INFO spawned: 'my-2.x' with pid 12", ("my-2.x", "spawned pid={}", NOTICE, SPAWNED, "12")),
        ("WARN exited: a (x; y (z))", ("a", "ended by itself ({})", WARNING, ENDED, "x; y (z)")),
        (
            "INFO exited: tape (terminated by SIGKILL)",
            ("tape", "ended by itself ({})", WARNING, ENDED, "terminated by SIGKILL"),
        ),
        ("WARN stopped: my-2.x (x)", ("my-2.x", "stopped as asked ({})", NOTICE, STOPPED, "x")),
        ("WARN killing 'a' (77) with SIGKILL", ("a", "gets {}", WARNING, KILLED, "SIGKILL")),
        ("INFO gave up: a entered FATAL", ("a", "given up: {}", ERROR, GIVEN_UP, "FATAL")),
        ("INFO spawnerr: no 'x'", (SUPERVISORD, "{}", ERROR, SPAWN_FAILED, "no 'x'")),
    ],
)
def test_what_supervisord_does_with_a_program_is_shown(message, line):
    program, text, level, event, detail = line
    assert supervisor_line(f"2025-11-03 14:30:00,123 {message}") == ScreenLine(
        program, text.format(detail), level, event, detail
    )


def test_other_lines_of_supervisords_log_are_not_shown():
    for text in (
        "success: gateway entered RUNNING state, it is up",
        "supervisord started with pid 7",
        "exited: tape (exit status 1; not expected)",  # its work has an end, which is logged
    ):
        assert supervisor_line(f"2025-11-03 14:30:00,123 INFO {text}") is None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def followed(path: Path, *, from_end: bool) -> AbstractContextManager[FileFollower]:
    return closing(FileFollower(path, from_end=from_end))


def test_a_follower_reads_whole_lines_as_they_become_whole(path):
    with followed(path, from_end=True) as later:
        assert later.read() == []
        path.write_bytes(b"old\n")
        assert later.read() == [b"old"]
    with followed(path, from_end=True) as follower, path.open("ab", buffering=0) as file:
        assert follower.read() == []
        for piece, lines in [(b"on", []), (b"e\ntw", [b"one"]), (b"o\n\n", [b"two", b""])]:
            file.write(piece)
            assert follower.read() == lines


@pytest.mark.parametrize("is_late", [False, True], ids=["the next is there", "it comes later"])
def test_a_follower_reads_a_rotated_file_to_its_end_and_then_the_next_one(path, tmp_path, is_late):
    path.write_bytes(b"before\nsplit by the ")
    with followed(path, from_end=False) as follower:
        path.rename(tmp_path / "log.1")
        if is_late:
            assert follower.read() == [b"before"]
            assert follower.read() == []
        path.write_bytes(b"rotation\nafter\n")
        lines = follower.read() + follower.read()
    assert lines == [b"before"] * (not is_late) + [b"split by the rotation", b"after"]


def test_a_follower_begins_anew_when_the_file_is_cut_short(path):
    path.write_bytes(b"something long\nand half")
    with followed(path, from_end=False) as follower:
        assert follower.read() == [b"something long"]
        path.write_bytes(b"new\n")
        assert follower.read() == [b"new"]


@pytest.mark.parametrize("plant", [os.mkfifo, Path.mkdir])
def test_a_follower_does_not_wait_for_what_is_no_file(path, plant):
    plant(path)
    with followed(path, from_end=False) as follower:
        assert follower.read() == []
        path.rename(path.with_name("moved"))
        path.write_bytes(b"one\n")
        assert follower.read() == [b"one"]


def test_a_follower_takes_a_large_file_in_bounded_pieces_and_loses_nothing(path):
    written = [b"%07d" % number for number in range(300_000)]
    path.write_bytes(b"\n".join(written) + b"\n")
    read = []
    with followed(path, from_end=False) as follower:
        while piece := follower.read():
            assert len(piece) <= READ_BYTES / 8 + 1
            read += piece
    assert read == written


def test_a_line_without_end_is_shown_in_pieces(path):
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 1))
    with followed(path, from_end=False) as follower:
        assert follower.read() == [b"x" * (MAX_LINE_BYTES + 1)]


def test_lines_are_shown_from_the_start_on_and_by_role(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "order_manager.out").write_text("Received Order 1: BUY 10 AAPL @ 172.00\n")
    follower = LogFollower(tmp_path)
    assert follower.new_lines() == []
    with (log / "order_manager.out").open("a") as file:
        file.write("Received Order 2: BUY 10 AAPL @ 173.20\n")
    (log / "gateway.jsonl").write_bytes(event("started", pid=1) + b"\n" + event("dull") + b"\n")
    (log / "gateway.jsonl.1").write_bytes(event("started", pid=0) + b"\n")
    (tmp_path / "supervisord.log").write_text(
        "2025-11-03 14:30:00,123 INFO spawned: 'gateway' with pid 1\n"
        "2025-13-03 14:30:00,123 INFO x\nno line\n"
    )
    lines = follower.new_lines()
    assert sorted(lines) == [
        ScreenLine("gateway", "spawned pid=1", NOTICE, SPAWNED, "1"),
        ScreenLine("gateway", "started pid=1", NOTICE, "started"),
        ScreenLine("order_manager", "Received Order 2: BUY 10 AAPL @ 173.20", NOTICE),
    ]
    assert follower.new_lines() == []
    follower.close()


class Logs:
    """The logs of a gateway and of supervisord, as both write them."""

    def __init__(self, var_dir: Path, at_s: float) -> None:
        self.at_s = at_s
        self._gateway = var_dir / "log" / "gateway.jsonl"
        self._gateway.parent.mkdir()
        self._supervisord = var_dir / "supervisord.log"

    def supervisord(self, message: str) -> None:
        self.at_s += 0.1
        local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at_s))
        with self._supervisord.open("a") as file:
            file.write(f"{local},{int(self.at_s % 1 * 1000):03d} {message}\n")

    def gateway(self, name: str, level: str = "info", **details: object) -> None:
        self.at_s += 0.1
        stamp = datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="microseconds")
        facts = {"timestamp": stamp.replace("+00:00", "Z"), "level": level, "event": name}
        with self._gateway.open("a") as file:
            file.write(json.dumps(facts | details) + "\n")


def test_what_is_logged_while_the_files_are_read_waits_for_the_next_look(tmp_path):
    logs = Logs(tmp_path, time.time() + 60)
    follower = LogFollower(tmp_path)
    logs.gateway("started", pid=1)
    assert follower.new_lines() == []
    logs.at_s -= 1
    logs.supervisord("INFO spawned: 'gateway' with pid 1")
    assert [line.event for line in follower.new_lines()] == [SPAWNED, "started"]
    logs.gateway("stopped")
    assert follower.new_lines() == []
    assert [line.event for line in follower.rest()] == ["stopped"]
    follower.close()


@pytest.mark.parametrize("dull_lines", [0, 40])
def test_after_a_standstill_even_long_logs_come_in_the_order_of_time(tmp_path, dull_lines):
    """Out of order, a program that always started would be given up."""
    logs = Logs(tmp_path, time.time() - 6000)
    follower = LogFollower(tmp_path)
    for pid in range(10):
        logs.supervisord(f"INFO spawned: 'gateway' with pid {pid}")
        for _ in range(dull_lines):
            logs.gateway("dull", text="x" * (READ_BYTES // 32))
        logs.gateway("started", pid=pid)
        logs.supervisord("WARN exited: gateway (exit status 1; not expected)")
    lines = []
    for _ in range(30 if dull_lines else 1):
        lines += follower.new_lines()
    assert [line.event for line in lines if line.event] == [SPAWNED, "started", ENDED] * 10
    follower.close()


@pytest.mark.parametrize(
    ("zone_name", "local", "now", "written"),
    [
        ("UTC", "2025-11-03 14:30:00,123", "2025-11-03T14:31:00", "2025-11-03T14:30:00.123"),
        ("Asia/Kolkata", "2025-11-03 14:30:00,5", "2025-11-03T14:31:00", "2025-11-03T09:00:00.500"),
        # The night of 2 November 2025 has the hour from 01:00 twice.
        ("America/New_York", "2025-11-02 01:30:00,000", "2025-11-02T05:31", "2025-11-02T05:30"),
        ("America/New_York", "2025-11-02 01:30:00,000", "2025-11-02T06:31", "2025-11-02T06:30"),
    ],
)
def test_supervisords_local_time_is_understood(monkeypatch, zone_name, local, now, written):
    def utc_ms(text: str) -> int:
        return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)

    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone_name)
        time.tzset()
        assert supervisor_ms(f"{local} INFO x", utc_ms(now)) == utc_ms(written)
    time.tzset()
