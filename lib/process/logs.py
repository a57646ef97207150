"""Structured logs that never block the loop that writes them.

A role's standard error and output are pipes to supervisord. If supervisord is stopped, or its disk
is full, a pipe fills up and a blocking write would stop the role with it. `BoundedWriter` never
blocks: what the pipe does not take waits in a bounded queue; past the bound, lines are dropped and
counted, and the count is logged when there is room again.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections import deque
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict

from lib.clock import MILLISECOND_NS, SECOND_NS, utc_stamp
from lib.process.log_events import LinesLost, log_event

MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""The bound of the queue: some ten thousand lines."""
RETRY_NS: Final = 50 * MILLISECOND_NS
FLUSH_AT_END_NS: Final = SECOND_NS // 2
"""How long an ending role waits for its last lines to be written."""


class BoundedWriter:
    """Writes whole lines to a descriptor without ever blocking. Used from one thread.

    Is a `Timed` for the event loop (it tries again while lines wait) and a file for structlog.
    Dropped lines are counted, and the count is logged when the queue is empty again.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to the descriptor under `stream`."""
        self._name = stream.name
        self._fd = _non_blocking(stream.fileno())
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._retry_ns: int | None = None
        self._lost = 0

    def write(self, lines: bytes) -> None:
        """Write whole lines, newlines included, now or later, or drop them at the bound."""
        if self._retry_ns is not None and time.monotonic_ns() >= self._retry_ns:
            self._write_what_waits()  # the event loop may not run yet
        if self._waiting and self._waiting_bytes + len(lines) > MAX_WAITING_BYTES:
            self._lost += lines.count(b"\n")
            return
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        if len(self._waiting) == 1:
            self._write_what_waits()

    def flush(self) -> None:
        """Do nothing: structlog calls this after each line, and nothing is held back."""

    def flush_at_end(self) -> None:
        """Give the reader a bounded time to take what waits."""
        give_up_ns = time.monotonic_ns() + FLUSH_AT_END_NS
        while self._waiting and (now_ns := time.monotonic_ns()) < give_up_ns:
            time.sleep(MILLISECOND_NS / SECOND_NS)
            self.on_time(now_ns)

    def next_deadline_ns(self) -> int | None:
        """When to try again, if anything waits."""
        return self._retry_ns

    def on_time(self, _now_ns: int) -> None:
        """Try again, and log how many lines were lost."""
        self._write_what_waits()
        if self._lost and not self._waiting:
            lost, self._lost = self._lost, 0
            log_event(structlog.get_logger(), LinesLost(stream=self._name, lines=lost))

    def _write_what_waits(self) -> None:
        while self._waiting:
            line = self._waiting[0]
            try:
                written = os.write(self._fd, line)
            except OSError:  # the pipe or the disk is full, or the reader is gone: perhaps later
                break
            self._waiting_bytes -= written
            if written < len(line):  # a line longer than PIPE_BUF may be taken in part
                self._waiting[0] = line[written:]
            else:
                self._waiting.popleft()
        self._retry_ns = time.monotonic_ns() + RETRY_NS if self._waiting else None


def _non_blocking(fd: int) -> int:
    """Return a descriptor of our own for the same pipe, so that only ours is O_NONBLOCK.

    The flag belongs to the open file, which a pipe's other users (a shell, a parent) may share. A
    terminal or a regular file is used as it is: it does not stay full. So is a pipe that cannot be
    opened again: it has no reader any more, or another user made it.
    """
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return fd
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return fd


def configure_logging(role: str) -> BoundedWriter:
    """Let `structlog.get_logger()` write JSON lines to standard error, each naming `role`.

    Returns the writer, for the event loop and for the end of the role.
    """
    writer = BoundedWriter(sys.stderr)

    def put_in_order(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {
            "timestamp": utc_stamp(),
            "level": event.pop("level"),
            "role": role,
            "event": event.pop("event"),
            **event,
        }

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            put_in_order,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=writer),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    return writer


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    try:
        return msgspec.json.encode(event, enc_hook=str)
    except UnicodeEncodeError:  # a path that is no UTF-8, which os.fsdecode made surrogates of
        return json.dumps(event, default=str).encode()
