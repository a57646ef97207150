"""The story: which lines of the logs are told and how, and following files that are rotated."""

from __future__ import annotations

import json

import pytest

from lib.story import (
    ERROR,
    MAX_LINE_BYTES,
    NOTICE,
    READ_BYTES,
    WARNING,
    Follower,
    Line,
    Story,
    tell_event,
    tell_supervisor,
)


def event(name: str, level: str = "info", **details) -> bytes:
    envelope = {"timestamp": "2025-11-03T14:30:00.000001Z", "level": level, "role": "gateway"}
    return json.dumps({**envelope, "event": name, **details}).encode()


def test_an_event_is_told_with_its_keys_and_without_its_envelope():
    raw = event("ticks_missed", first=3, last=9, where="price stream", share=0.5)
    assert tell_event("gateway", raw) == Line(
        "gateway", 'ticks_missed first=3 last=9 where="price stream" share=0.5', NOTICE
    )


@pytest.mark.parametrize(
    ("level", "told"), [("warning", WARNING), ("error", ERROR), ("critical", ERROR)]
)
def test_a_warning_or_worse_is_told_whatever_its_name(level, told):
    assert tell_event("gateway", event("odd", level)) == Line("gateway", "odd", told)


@pytest.mark.parametrize("level", ["debug", "info"])
def test_an_everyday_event_of_no_interest_is_not_told(level):
    assert tell_event("gateway", event("order_sent", level)) is None


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
def test_what_is_no_event_is_told_as_it_is(raw):
    assert tell_event("gateway", raw) == Line("gateway", raw.decode(), WARNING)


def test_an_empty_line_is_not_told():
    assert tell_event("gateway", b"") is None


def test_of_an_exception_its_last_line_is_told():
    raw = event("crashed", "error", exception="Traceback:\n  File x\nOSError: no such thing")
    assert tell_event("gateway", raw) == Line(
        "gateway", 'crashed exception="OSError: no such thing"', ERROR
    )


def test_a_long_value_is_cut():
    line = tell_event("gateway", event("rejected", "warning", frame="x" * 5000))
    assert line.text == f"rejected frame={'x' * 200}…"


def test_control_characters_never_reach_the_terminal():
    raw = event("rejected", "warning", frame="\x1b[2Jboo\n", peer="\x9b1m")
    assert tell_event("gateway", raw).text.isprintable()
    assert tell_event("gateway", b"bad \x1b[2J\xff").text == "bad \\x1b[2J\ufffd"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("INFO spawned: 'gateway' with pid 12", Line("gateway", "spawned pid=12", NOTICE)),
        (
            "WARN exited: order_manager (terminated by SIGKILL; not expected)",
            Line(
                "order_manager",
                "ended by itself (terminated by SIGKILL; not expected)",
                WARNING,
            ),
        ),
        (
            "WARN stopped: strategy (exit status 0)",
            Line("strategy", "ended as told (exit status 0)", NOTICE),
        ),
        (
            "WARN killing 'orderbook' (77) with SIGKILL",
            Line("orderbook", "gets SIGKILL", WARNING),
        ),
        (
            "INFO gave up: gateway entered FATAL state, too many start retries too quickly",
            Line("gateway", "given up: FATAL state, too many start retries too quickly", ERROR),
        ),
        (
            "INFO spawnerr: command at '/x/run-role' is not executable",
            Line("supervisord", "command at '/x/run-role' is not executable", ERROR),
        ),
        ("INFO spawned: 'my-2.x' with pid 12", Line("my-2.x", "spawned pid=12", NOTICE)),
        ("WARN stopped: my-2.x (exit 0)", Line("my-2.x", "ended as told (exit 0)", NOTICE)),
        ("WARN exited: my-2.x (exit 1)", Line("my-2.x", "ended by itself (exit 1)", WARNING)),
        ("WARN killing 'my-2.x' (77) with SIGKILL", Line("my-2.x", "gets SIGKILL", WARNING)),
        ("INFO gave up: my-2.x entered FATAL", Line("my-2.x", "given up: FATAL", ERROR)),
        ("CRIT Supervisor is running as root.  Privileges were not dropped", None),
        ("INFO success: gateway entered RUNNING state, process has stayed up", None),
    ],
)
def test_supervisord_tells_of_roles_that_come_and_go(message, line):
    assert tell_supervisor(f"2025-11-03 14:30:00,123 {message}") == line


@pytest.mark.parametrize("text", ["", "not its format", "2025-11-03 14:30:00,123 INFO"])
def test_other_lines_of_supervisords_log_are_not_told(text):
    assert tell_supervisor(text) is None


def test_a_follower_reads_whole_lines_as_they_become_whole(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    follower = Follower(path, from_end=True)
    assert follower.read() == []
    with path.open("ab") as file:
        for piece, lines in [(b"on", []), (b"e\ntw", [b"one"]), (b"o\n\n", [b"two", b""])]:
            file.write(piece)
            file.flush()
            assert follower.read() == lines
    follower.close()


def test_a_follower_waits_for_a_file_that_is_not_there_yet(tmp_path):
    path = tmp_path / "log"
    follower = Follower(path, from_end=True)
    assert follower.read() == []
    path.write_bytes(b"first\n")
    assert follower.read() == [b"first"]
    follower.close()


def test_a_follower_loses_nothing_when_the_file_is_rotated(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    follower = Follower(path, from_end=True)
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
    follower = Follower(path, from_end=False)
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"second\n")
    assert follower.read() == [b"first"]
    assert follower.read() == [b"second"]
    follower.close()


def test_a_follower_begins_anew_when_the_file_is_cut_short(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"something long\nand half")
    follower = Follower(path, from_end=False)
    assert follower.read() == [b"something long"]
    path.write_bytes(b"new\n")
    assert follower.read() == [b"new"]
    follower.close()


def test_a_follower_takes_a_large_file_in_bounded_pieces_and_loses_nothing(tmp_path):
    path = tmp_path / "log"
    written = [b"%07d" % number for number in range(300_000)]
    path.write_bytes(b"\n".join(written) + b"\n")
    follower = Follower(path, from_end=False)
    read = []
    while piece := follower.read():
        assert len(piece) <= READ_BYTES / 8 + 1
        read += piece
    assert read == written
    follower.close()


def test_a_line_without_end_is_told_in_pieces(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 1))
    follower = Follower(path, from_end=False)
    assert follower.read() == [b"x" * (MAX_LINE_BYTES + 1)]
    assert follower.read() == []
    follower.close()


def test_the_story_is_told_from_its_beginning_and_by_role(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "order_manager.out").write_text("Received Order 1: BUY 10 AAPL @ 172.00\n")
    story = Story(tmp_path)
    assert story.new_lines() == []
    with (log / "order_manager.out").open("a") as file:
        file.write("Received Order 2: BUY 10 AAPL @ 173.20\n")
    (log / "gateway.jsonl").write_bytes(event("started", pid=1) + b"\n" + event("dull") + b"\n")
    (log / "gateway.jsonl.1").write_bytes(event("started", pid=0) + b"\n")
    (tmp_path / "supervisord.log").write_text(
        "2025-11-03 14:30:00,123 INFO spawned: 'gateway' with pid 1\n"
    )
    assert story.new_lines() == [
        Line("order_manager", "Received Order 2: BUY 10 AAPL @ 173.20", NOTICE),
        Line("gateway", "started pid=1", NOTICE),
        Line("gateway", "spawned pid=1", NOTICE),
    ]
    assert story.new_lines() == []
    story.close()
