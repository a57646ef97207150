"""What the strategy's logs say of fills, whatever else is in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.ledger.check import ReportedFill
from lib.ledger.reported_fills import MAX_LINE_BYTES, read_reported_fills

FILL = ReportedFill("strategy", 12, "AAPL", "BUY", 40, 10)
AT = "2025-11-03T14:30:00.000001Z"


def line(event: str = "order_filled", **changes: object) -> bytes:
    envelope = {"timestamp": AT, "level": "info", "role": "strategy", "event": event}
    keys = {**FILL._asdict(), "stream": "orders", **changes}
    return json.dumps({**envelope, **keys}).encode() + b"\n"


def read(tmp_path, log: bytes):
    (tmp_path / "strategy.jsonl").write_bytes(log)
    return read_reported_fills(tmp_path)


def test_fills_are_read_with_the_time_they_were_logged_and_other_events_passed_over(tmp_path):
    log = line("order_rejected") + line("order_sent") + line() + line("stopped")
    reported = read(tmp_path, log)
    assert reported.fills == {FILL: datetime(2025, 11, 3, 14, 30, 0, 1, tzinfo=UTC)}
    assert reported.unreadable_lines == 0


def test_of_a_fill_logged_twice_the_last_time_counts(tmp_path):
    earlier, later = (line(timestamp=f"2025-11-03T{hour}:00:00Z") for hour in (15, 16))
    for log in (earlier + later, later + earlier):
        reported = read(tmp_path, log)
        assert reported.fills == {FILL: datetime(2025, 11, 3, 16, tzinfo=UTC)}


def test_the_logs_of_all_strategies_are_read_with_their_older_parts(tmp_path):
    for name, changes in {
        "strategy.jsonl.1": {"order_id": 1},
        "strategy.jsonl.10": {"order_id": 10},
        "mine-2.jsonl": {"order_id": 7, "role": "strategy:second", "client_id": "second"},
        "moved.jsonl.1": {"order_id": 8, "role": "strategy:third"},
        "strategy.jsonl.gz": {"order_id": 77},
        "order_manager.jsonl": {"order_id": 78, "role": "order_manager"},
    }.items():
        (tmp_path / name).write_bytes(b"half a line\n" + line(**changes))
    (tmp_path / "empty.jsonl").touch()
    reported = read(tmp_path, line())
    assert {fill.order_id for fill in reported.fills} == {1, 10, 7, 8, 12}


def test_a_log_that_is_rotated_while_it_is_read_is_not_missed(tmp_path, monkeypatch):
    log = tmp_path / "strategy.jsonl"
    log.write_bytes(line(order_id=2))
    log.with_name("strategy.jsonl.1").write_bytes(line(order_id=1))
    real_open = Path.open

    def open_and_rotate(path, mode):
        file = real_open(path, mode)
        if log.exists():
            log.with_name("strategy.jsonl.1").rename(tmp_path / "strategy.jsonl.2")
            log.rename(tmp_path / "strategy.jsonl.1")
        return file

    monkeypatch.setattr(Path, "open", open_and_rotate)
    assert 2 in {fill.order_id for fill in read_reported_fills(tmp_path).fills}


@pytest.mark.parametrize(
    "rubbish",
    [
        b"Traceback (most recent call last):\n",
        b"\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"event": 7}\n',
        b'{"x":' + b"[" * 50_000 + b"\n",
        b'{"event":"\xff"}\n',
        b"x" * (2 * MAX_LINE_BYTES) + b"\n",
        b"x" * MAX_LINE_BYTES + line(order_id=99),
        line(order_id="twelve"),
        line(timestamp="yesterday"),
        line(timestamp="2025-11-03T14:30:00"),
        line(client_id=None),
    ],
)
def test_what_cannot_be_read_is_counted_and_harms_nothing_around_it(tmp_path, rubbish):
    reported = read(tmp_path, line(order_id=1) + rubbish + line(order_id=2))
    assert [fill.order_id for fill in reported.fills] == [1, 2]
    assert reported.unreadable_lines == 1


def test_a_line_that_is_being_written_is_no_line_yet(tmp_path):
    for end in range(1, len(line())):
        reported = read(tmp_path, line(order_id=1) + line()[:end])
        assert [fill.order_id for fill in reported.fills] == [1]
        assert reported.unreadable_lines == 1
