"""The log lines of the roles, with the time that a page shows. Pure."""

from __future__ import annotations

from typing import NamedTuple

from lib.process.log_events import LogEvent


class TimedEvent(NamedTuple):
    """An event with the time of its line."""

    at: float
    """When it was written, in seconds since 1970."""
    level: str
    event: LogEvent | None
    """None if it is not defined."""
