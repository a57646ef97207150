"""Logs: whole JSON lines, and a writer that nothing on the other side can hold up."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import select
import sys
import time
from datetime import datetime

import pytest
import structlog
from structlog.testing import capture_logs

from lib.process import logs
from lib.process.logs import MAX_WAITING_BYTES, BoundedWriter, configure_logging

pytestmark = pytest.mark.timeout(30)  # what blocks here would block for ever

LINE = b"x" * 999 + b"\n"


class Pipe:
    """A pipe as supervisord gives it to a role: we hold the reading end."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")

    def read_what_is_there(self) -> bytes:
        parts = []
        while select.select([self.reader], [], [], 0)[0]:
            part = os.read(self.reader, 65536)
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def read_all(self, writer: BoundedWriter) -> bytes:
        """Read until nothing waits any more, retrying as the event loop would."""
        parts = [self.read_what_is_there()]
        while (now_ns := writer.next_deadline_ns()) is not None:
            writer.on_time(now_ns)
            parts.append(self.read_what_is_there())
        return b"".join(parts)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    pipe.stream.close()


@pytest.fixture
def log(pipe, monkeypatch):
    """The log of a role named gateway, whose standard error is the pipe."""
    monkeypatch.setattr(sys, "stderr", pipe.stream)
    configure_logging("gateway")
    yield structlog.get_logger()
    structlog.reset_defaults()


@pytest.fixture
def writer(pipe):
    return BoundedWriter(pipe.stream)


def fill(writer: BoundedWriter, line: bytes = LINE) -> int:
    """Write until lines have to wait. Returns how many went."""
    count = 0
    while writer.next_deadline_ns() is None:
        writer.write(line)
        count += 1
    return count


def test_a_pipe_without_a_reader_never_blocks_and_what_waits_is_bounded(pipe, writer):
    in_the_pipe = fill(writer) - 1
    written = 2 * MAX_WAITING_BYTES // len(LINE)
    for _ in range(written):
        writer.write(LINE)
    with capture_logs() as logged:
        received = pipe.read_all(writer)
    assert len(received) - in_the_pipe * len(LINE) <= MAX_WAITING_BYTES
    assert received == LINE * (len(received) // len(LINE))
    lost = in_the_pipe + 1 + written - len(received) // len(LINE)
    assert lost > written // 3
    assert [(line["event"], line["lines"]) for line in logged] == [("lines_lost", lost)]
    assert os.get_blocking(pipe.stream.fileno())  # for those who share it


def test_a_reader_that_falls_behind_and_catches_up_again_and_again_loses_nothing(pipe, writer):
    line = b"x" * 65535 + b"\n"
    count = MAX_WAITING_BYTES // len(line)
    with capture_logs() as logged:
        for _ in range(3):
            for _ in range(count):
                writer.write(line)
            assert pipe.read_all(writer) == line * count
    assert logged == []


def test_what_was_lost_is_logged_once_and_only_when_there_is_room(pipe, writer):
    fill(writer)
    big = b"y" * (MAX_WAITING_BYTES - len(LINE)) + b"\n"
    writer.write(big)
    writer.write(b"lost\n" * 1000)
    with capture_logs() as logged:
        writer.on_time(0)
        assert logged == []
        pipe.read_all(writer)
        assert [line["lines"] for line in logged] == [1]
        fill(writer)
        pipe.read_all(writer)
    assert len(logged) == 1


def test_a_line_longer_than_the_bound_is_written_if_nothing_else_waits(pipe, writer):
    huge = b"z" * (2 * MAX_WAITING_BYTES) + b"\n"
    writer.write(huge)
    assert pipe.read_all(writer) == huge


def test_where_no_loop_tries_again_a_further_line_does(pipe, writer, monkeypatch):
    monkeypatch.setattr(logs, "RETRY_NS", 0)
    fill(writer)
    pipe.read_what_is_there()
    writer.write(b"last\n")
    assert writer.next_deadline_ns() is None
    assert pipe.read_what_is_there() == LINE + b"last\n"


def test_a_reader_that_is_gone_or_a_full_disk_does_no_harm(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with open(tmp_path / "fifo", "w") as named, open("/dev/full", "w") as full:
        os.close(reader)  # it cannot even be opened again
        for stream in (named, full):
            writer = BoundedWriter(stream)
            for _ in range(3 * MAX_WAITING_BYTES // len(LINE)):
                writer.write(LINE)
            writer.on_time(0)
            writer.flush_at_end()
            assert writer._waiting_bytes <= MAX_WAITING_BYTES


def test_what_waited_for_a_full_disk_is_written_when_there_is_room(tmp_path, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open(tmp_path / "log", "w") as file:
        writer = BoundedWriter(file)
        with monkeypatch.context() as patch:
            patch.setattr(logs.os, "write", refuse)
            writer.write(b"first\n")
            writer.write(b"second\n")
        writer.on_time(0)
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"


def test_at_the_end_the_reader_has_a_bounded_time(writer):
    fill(writer)
    writer.flush_at_end()  # there is no reader: returning at all is the proof
    assert writer.next_deadline_ns() is not None


def test_every_line_is_json_with_the_four_keys_first_and_the_time_in_utc(log, pipe, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "FAR-9")
        time.tzset()
        log.info("client_connected", peer="127.0.0.1:4711", stream="price")
    time.tzset()
    log.bind(stream="news").warning("disconnected", reason='two\nlines and "quotes"')
    first, second = map(json.loads, pipe.read_what_is_there().splitlines())
    assert list(first) == ["timestamp", "level", "role", "event", "peer", "stream"]
    assert (first["level"], first["role"]) == ("info", "gateway")
    assert list(second)[:4] == ["timestamp", "level", "role", "event"]
    assert (second["level"], second["stream"]) == ("warning", "news")
    assert second["reason"] == 'two\nlines and "quotes"'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["timestamp"])
    age = datetime.now().astimezone() - datetime.fromisoformat(first["timestamp"])
    assert abs(age.total_seconds()) < 60


def test_whatever_a_key_holds_the_line_is_written(log, pipe):
    log.info("odd", number=10**30, thing=io.BytesIO, by_number={1: {"a"}}, nan=float("nan"))
    log.info("odd", path=os.fsdecode(b"/tmp/\xff"), thing=io.BytesIO)
    event, no_utf_8 = map(json.loads, pipe.read_what_is_there().splitlines())
    assert event["number"] == 10**30
    assert no_utf_8["path"] == "/tmp/\udcff"
    assert "BytesIO" in event["thing"]
    assert "BytesIO" in no_utf_8["thing"]
