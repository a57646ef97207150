"""Logs a problem that is met again and again once, until it is over."""

from __future__ import annotations

import structlog

from lib.process.log_events import LogEvent, log_event


class LogOnce:
    """Remembers which problem was logged last. For one thread."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._logged: LogEvent | None = None

    def log_new(self, problem: LogEvent) -> None:
        """Log a problem, unless it is the one that was logged last: a new reason is logged."""
        if problem != self._logged:
            self._logged = problem
            log_event(self._log, problem)

    def log_first(self, problem: LogEvent) -> None:
        """Log a problem, unless any was logged that is not over: a new reason is not logged."""
        if self._logged is None:
            self.log_new(problem)

    def over(self) -> bool:
        """Note that there is no problem any more. Returns whether one was logged."""
        was_logged = self._logged is not None
        self._logged = None
        return was_logged
