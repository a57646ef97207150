"""Counts of what is wrong with a peer's messages, logged once a second and not a line each."""

from __future__ import annotations

from typing import Any, Final

import structlog

from lib.clock import SECOND_NS

LOG_EVERY_NS: Final = 1 * SECOND_NS
MAX_EXAMPLES: Final = 20


class Tally:
    """Counts by event, for one connection. Is a `Timed` for the event loop.

    `context` is in every line of it (the peer, the stream).
    """

    def __init__(self, **context: Any) -> None:
        self._context = context
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[Any]] = {}
        self._log_ns: int | None = None
        self._not_before_ns = 0

    def add(self, event: str, now_ns: int, examples: list[Any]) -> None:
        """Count as many of `event` as there are `examples`; the first few will be in the log."""
        self._counts[event] = self._counts.get(event, 0) + len(examples)
        kept = self._examples.setdefault(event, [])
        kept.extend(examples[: MAX_EXAMPLES - len(kept)])
        if self._log_ns is None:
            self._log_ns = max(now_ns, self._not_before_ns)

    def next_deadline_ns(self) -> int | None:
        """When the next line is due, None if there is nothing to tell."""
        return self._log_ns

    def on_time(self, now_ns: int) -> None:
        """Write a line for each kind counted since the last one."""
        log = structlog.get_logger()
        for event, count in self._counts.items():
            log.warning(event, count=count, examples=self._examples[event], **self._context)
        self._counts.clear()
        self._examples.clear()
        self._log_ns = None
        self._not_before_ns = now_ns + LOG_EVERY_NS
