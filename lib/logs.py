"""Structured logs that can never hold up the loop that writes them.

A role's standard error and output are pipes to supervisord. If supervisord is stopped, or its
disk is full, a pipe fills up and a blocking write would stop the role with it. `BoundedWriter`
never blocks: what the pipe does not take waits in a bounded queue, and past the bound lines are
dropped and counted; the count is logged when there is room again.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict

from lib.clock import MILLISECOND_NS, SECOND_NS

MAX_WAITING_LINES: Final = 10_000
RETRY_NS: Final = 50 * MILLISECOND_NS
FLUSH_AT_END_NS: Final = SECOND_NS // 2
"""How long a role that ends waits for its last lines to be taken."""


class BoundedWriter:
    """Writes whole lines to a descriptor without ever blocking. Used from one thread.

    Is a `Timed` for the event loop (it tries again while lines wait) and a file for structlog.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to the descriptor under `stream`."""
        self._fd = _non_blocking(stream.fileno())
        self._waiting: deque[bytes] = deque()
        self._retry_ns: int | None = None
        self._dropped = 0
        self.on_dropped: Callable[[int], None] | None = None
        """Told how many lines were lost, once there is room again."""

    def write(self, line: bytes) -> None:
        """Write one line, its newline included, now or later, or drop it at the bound."""
        if len(self._waiting) >= MAX_WAITING_LINES:
            self._dropped += 1
            return
        self._waiting.append(line)
        if len(self._waiting) == 1:
            self._write_what_waits()

    def flush(self) -> None:
        """Do nothing: structlog calls this after each line, and nothing is held back."""

    def flush_at_end(self) -> None:
        """Give the reader a bounded time to take what waits."""
        give_up_ns = time.monotonic_ns() + FLUSH_AT_END_NS
        while self._waiting and time.monotonic_ns() < give_up_ns:
            time.sleep(RETRY_NS / SECOND_NS)
            self._write_what_waits()

    def next_deadline_ns(self) -> int | None:
        """When to try again, if anything waits."""
        return self._retry_ns

    def on_time(self, _now_ns: int) -> None:
        """Try again, and tell of what was lost."""
        self._write_what_waits()
        if not self._waiting and self._dropped and self.on_dropped:
            dropped, self._dropped = self._dropped, 0
            self.on_dropped(dropped)

    def _write_what_waits(self) -> None:
        while self._waiting:
            line = self._waiting[0]
            try:
                written = os.write(self._fd, line)
            except BlockingIOError:
                break
            except OSError:  # the reader is gone, or the disk is full: nothing to wait for
                self._dropped += 1
                written = len(line)
            if written < len(line):  # a line longer than PIPE_BUF may be taken in part
                self._waiting[0] = line[written:]
            else:
                self._waiting.popleft()
        self._retry_ns = time.monotonic_ns() + RETRY_NS if self._waiting or self._dropped else None


def _non_blocking(fd: int) -> int:
    """A descriptor of our own for the same pipe, so that O_NONBLOCK stays with us.

    The flag belongs to the open file, which a pipe's other users (a shell, a parent) may share.
    A terminal or a regular file is used as it is: it does not fill up for good.
    """
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return fd
    return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)


def configure_logging(role: str) -> BoundedWriter:
    """Let `structlog.get_logger()` write JSON lines to standard error, each naming `role`.

    Returns the writer, for the event loop and for the end of the role.
    """
    writer = BoundedWriter(sys.stderr)

    def add_role(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {"timestamp": event.pop("timestamp"), "level": event.pop("level"), "role": role,
                "event": event.pop("event"), **event}  # fmt: skip

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            add_role,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=writer),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    writer.on_dropped = lambda lines: structlog.get_logger().warning("log_lines_lost", lines=lines)
    return writer


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
