"""Which log lines are shown and how, and following files that are rotated."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.stack.fatal_programs import MAX_TRIES, FatalPrograms
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
from lib.stack.repeated_lines import RepeatedLines


def event(name: str, level: str = "info", **details) -> bytes:
    envelope = {"timestamp": "2025-11-03T14:30:00.000001Z", "level": level, "role": "gateway"}
    return json.dumps({**envelope, "event": name, **details}).encode()


def test_an_event_is_shown_with_its_keys_and_without_its_envelope():
    raw = event("ticks_missed", first=3, last=9, where="price stream", share=0.5)
    assert event_line("gateway", raw) == ScreenLine(
        "gateway",
        'ticks_missed first=3 last=9 where="price stream" share=0.5',
        NOTICE,
        "ticks_missed",
    )


@pytest.mark.parametrize(
    ("level", "shown"), [("warning", WARNING), ("error", ERROR), ("critical", ERROR)]
)
def test_a_warning_or_worse_is_shown_whatever_its_name(level, shown):
    assert event_line("gateway", event("odd", level)) == ScreenLine("gateway", "odd", shown, "odd")


@pytest.mark.parametrize("level", ["debug", "info"])
def test_an_everyday_event_of_no_interest_is_not_shown(level):
    assert event_line("gateway", event("order_sent", level)) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"Traceback (most recent call last):",
        b"[1]",
        b"{}",
        b'{"event": []}',
        b'{"event": "started", "level": {}}',
        b"[" * 50_000,
    ],
)
def test_what_is_no_event_is_shown_unchanged(raw):
    assert event_line("gateway", raw) == ScreenLine("gateway", raw.decode(), WARNING)


def test_an_empty_line_is_not_shown():
    assert event_line("gateway", b"") is None


def test_a_reason_comes_last_and_whole_whatever_its_length():
    reason = 'price_book.name: "x" belongs to another stack' + " and so on" * 100 + ": the cure"
    raw = event("disconnected", "warning", reason=reason, peer="127.0.0.1:5001")
    line = event_line("gateway", raw)
    assert line.text == f"disconnected peer=127.0.0.1:5001: {reason}"


def test_of_a_traceback_the_last_line_is_the_reason():
    raw = event("crashed", "error", exception="Traceback:\n  File x\nOSError: no such thing")
    assert event_line("gateway", raw).text == "crashed: OSError: no such thing"


def test_a_crash_with_a_reason_names_it_and_its_place_once():
    raw = event(
        "crashed",
        "error",
        reason="ZeroDivisionError: division by zero",
        where="lib/my_signals.py, line 12, in on_tick",
        exception="Traceback:\n  File x\nZeroDivisionError: division by zero",
    )
    assert event_line("strategy", raw).text == (
        'crashed where="lib/my_signals.py, line 12, in on_tick": '
        "ZeroDivisionError: division by zero"
    )


def test_text_is_whole_and_a_long_list_is_cut():
    raw = event("odd", "warning", path="x" * 5000, examples=["y" * 5000])
    line = event_line("gateway", raw)
    assert line.text == f'odd path={"x" * 5000} examples=["{"y" * (MAX_VALUE_CHARACTERS - 2)}…'


def test_of_many_examples_the_first_is_whole_with_its_reason():
    cure = "and so on, " * 30 + "send this instead"
    examples = [{"sequence": 7, "text": "AAPL;1", "reason": cure}, {"reason": "another"}]
    raw = event("malformed_frames", "warning", count=2, examples=examples, stream="price")
    text = event_line("orderbook", raw).text
    assert text == f"malformed_frames count=2 stream=price sequence=7 text=AAPL;1: {cure}"


def test_what_the_watchdog_says_of_a_program_that_supervisord_gave_up_is_left_to_supervisord():
    assert event_line("watchdog", event("role_gave_up", "error", program="gateway")) is None


def test_a_hung_role_is_named_apart_from_the_text():
    facts = {"role": "watchdog", "pid": 7, "silent_s": 2.0, "where": "a.py, line 65"}
    raw = event("role_hung", "error", program="strategy", **facts)
    assert event_line("watchdog", raw)[3:] == ("role_hung", "strategy", "a.py, line 65")


def test_control_characters_never_reach_the_terminal():
    raw = event("rejected", "warning", frame="\x1b[2Jboo\n", peer="\x9b1m")
    assert event_line("gateway", raw).text.isprintable()
    assert event_line("gateway", b"bad \x1b[2J\xff").text == "bad \\x1b[2J\ufffd"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "INFO spawned: 'second-strategy' with pid 12",
            ScreenLine("second-strategy", "spawned pid=12", NOTICE, SPAWNED, "12"),
        ),
        (
            "WARN exited: order_manager (terminated by SIGKILL; not expected)",
            ScreenLine(
                "order_manager",
                "ended by itself (terminated by SIGKILL; not expected)",
                WARNING,
                ENDED,
                "terminated by SIGKILL; not expected",
            ),
        ),
        (
            "WARN stopped: strategy (exit status 0)",
            ScreenLine(
                "strategy", "stopped as asked (exit status 0)", NOTICE, STOPPED, "exit status 0"
            ),
        ),
        (
            "WARN killing 'orderbook' (77) with SIGKILL",
            ScreenLine("orderbook", "gets SIGKILL", WARNING, KILLED, "SIGKILL"),
        ),
        (
            "INFO gave up: gateway entered FATAL state, too many start retries too quickly",
            ScreenLine(
                "gateway",
                "given up: FATAL state, too many start retries too quickly",
                ERROR,
                GIVEN_UP,
                "FATAL state, too many start retries too quickly",
            ),
        ),
        (
            "INFO spawnerr: command at '/x/run-role' is not executable",
            ScreenLine(
                SUPERVISORD,
                "command at '/x/run-role' is not executable",
                ERROR,
                SPAWN_FAILED,
                "command at '/x/run-role' is not executable",
            ),
        ),
        (
            "INFO spawned: 'my-2.x' with pid 12",
            ScreenLine("my-2.x", "spawned pid=12", NOTICE, SPAWNED, "12"),
        ),
        (
            "WARN stopped: my-2.x (exit 0)",
            ScreenLine("my-2.x", "stopped as asked (exit 0)", NOTICE, STOPPED, "exit 0"),
        ),
        ("CRIT Supervisor is running as root.  Privileges were not dropped", None),
        ("INFO success: gateway entered RUNNING state, process has stayed up", None),
        ("INFO supervisord started with pid 7", None),
    ],
)
def test_supervisord_tells_of_roles_that_come_and_go(message, line):
    assert supervisor_line(f"2025-11-03 14:30:00,123 {message}") == line


@pytest.mark.parametrize("text", ["", "not its format", "2025-11-03 14:30:00,123 INFO"])
def test_other_lines_of_supervisords_log_are_not_shown(text):
    assert supervisor_line(text) is None


def test_a_follower_reads_whole_lines_as_they_become_whole(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    follower = FileFollower(path, from_end=True)
    assert follower.read() == []
    with path.open("ab") as file:
        for piece, lines in [(b"on", []), (b"e\ntw", [b"one"]), (b"o\n\n", [b"two", b""])]:
            file.write(piece)
            file.flush()
            assert follower.read() == lines
    follower.close()


def test_a_follower_waits_for_a_file_that_is_not_there_yet(tmp_path):
    path = tmp_path / "log"
    follower = FileFollower(path, from_end=True)
    assert follower.read() == []
    path.write_bytes(b"first\n")
    assert follower.read() == [b"first"]
    follower.close()


def test_a_follower_loses_nothing_when_the_file_is_rotated(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    follower = FileFollower(path, from_end=True)
    with path.open("ab") as file:
        file.write(b"before\nsplit by the ")
    path.rename(tmp_path / "log.1")
    assert follower.read() == [b"before"]
    path.write_bytes(b"rotation\nafter\n")
    assert follower.read() == [b"split by the rotation", b"after"]
    follower.close()


def test_a_follower_reads_a_rotated_file_to_its_end_before_the_next_one(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    follower = FileFollower(path, from_end=False)
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"second\n")
    assert follower.read() == [b"first"]
    assert follower.read() == [b"second"]
    follower.close()


def test_a_follower_begins_anew_when_the_file_is_cut_short(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"something long\nand half")
    follower = FileFollower(path, from_end=False)
    assert follower.read() == [b"something long"]
    path.write_bytes(b"new\n")
    assert follower.read() == [b"new"]
    follower.close()


def test_a_follower_takes_a_large_file_in_bounded_pieces_and_loses_nothing(tmp_path):
    path = tmp_path / "log"
    written = [b"%07d" % number for number in range(300_000)]
    path.write_bytes(b"\n".join(written) + b"\n")
    follower = FileFollower(path, from_end=False)
    read = []
    while piece := follower.read():
        assert len(piece) <= READ_BYTES / 8 + 1
        read += piece
    assert read == written
    follower.close()


def test_a_line_without_end_is_shown_in_pieces(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 1))
    follower = FileFollower(path, from_end=False)
    assert follower.read() == [b"x" * (MAX_LINE_BYTES + 1)]
    assert follower.read() == []
    follower.close()


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

    def one_life(self, pid: int, how: str = "exit status 1; not expected") -> None:
        self.supervisord(f"INFO spawned: 'gateway' with pid {pid}")
        self.gateway("started", pid=pid)
        self.supervisord(f"WARN exited: gateway ({how})")


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_after_a_standstill_a_program_that_always_started_is_not_given_up(tmp_path):
    logs = Logs(tmp_path, time.time() - 600)
    follower = LogFollower(tmp_path)
    for pid in range(MAX_TRIES + 5):
        logs.one_life(pid)
    given_up = FatalPrograms({"gateway": "gateway"}, "supervisorctl start")
    lines = follower.new_lines()
    assert [line.event for line in lines] == [SPAWNED, "started", ENDED] * (MAX_TRIES + 5)
    for line in lines:
        given_up.take_line(line, 0)
    assert given_up.ending is None
    follower.close()


@pytest.mark.usefixtures("zone")
def test_after_a_standstill_a_kill_from_outside_is_no_failure(tmp_path):
    logs = Logs(tmp_path, time.time() - 600)
    follower = LogFollower(tmp_path)
    for pid in range(3):
        logs.one_life(pid, "terminated by SIGKILL; not expected")
    repetitions = RepeatedLines()
    shown = [new for line in follower.new_lines() for new in repetitions.new_of(line, 0.0)]
    assert len(shown) == 9
    follower.close()


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


def test_what_supervisord_says_waits_for_the_rest_of_a_long_log(tmp_path):
    logs = Logs(tmp_path, time.time() - 6000)
    follower = LogFollower(tmp_path)
    for pid in range(10):
        logs.supervisord(f"INFO spawned: 'gateway' with pid {pid}")
        for _ in range(40):
            logs.gateway("dull", text="x" * (READ_BYTES // 32))
        logs.gateway("started", pid=pid)
        logs.supervisord("WARN exited: gateway (exit status 1; not expected)")
    lines = []
    for _ in range(30):
        lines += follower.new_lines()
    assert [line.event for line in lines if line.event] == [SPAWNED, "started", ENDED] * 10
    follower.close()


@pytest.mark.parametrize(
    ("zone_name", "local", "now", "written"),
    [
        ("UTC", "2025-11-03 14:30:00,123", "2025-11-03T14:31:00", "2025-11-03T14:30:00.123"),
        ("Asia/Kolkata", "2025-11-03 14:30:00,5", "2025-11-03T14:31:00", "2025-11-03T09:00:00.500"),
        # The night of 2 November 2025 has the hour from 01:00 twice.
        (
            "America/New_York",
            "2025-11-02 01:30:00,000",
            "2025-11-02T05:31:00",
            "2025-11-02T05:30:00",
        ),
        (
            "America/New_York",
            "2025-11-02 01:30:00,000",
            "2025-11-02T06:31:00",
            "2025-11-02T06:30:00",
        ),
        ("America/New_York", "2025-07-01 01:30:00,000", "2025-07-01T06:31:00", "2025-07-01T05:30"),
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


@pytest.mark.parametrize("text", ["", "no line", "2025-13-03 14:30:00,123 INFO x"])
def test_what_has_no_time_is_no_error(text):
    assert supervisor_ms(text, 0) is None
