"""The log lines of the roles, with the time that a page shows. Pure."""

from __future__ import annotations

from typing import NamedTuple

from lib.process.log_events import LogEvent
from lib.process.log_events import read_line as read_log_line


class TimedEvent(NamedTuple):
    """An event with the time of its line."""

    at: float
    """When it was written, in seconds since 1970."""
    level: str
    event: LogEvent | None
    """None if it is not defined."""


def read_line(raw: bytes) -> TimedEvent | None:
    """Read one line; None for what is no event, or has no time."""
    line = read_log_line(raw)
    at = line.logged_at if line else None
    return TimedEvent(at.timestamp(), line.level, line.event) if line and at else None
