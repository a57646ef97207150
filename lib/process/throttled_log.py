"""Counts what is wrong with a peer's messages and logs the counts at most once a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import structlog

from lib.clock import SECOND_NS
from lib.process.log_events import CountedEvent, Level, log_event

LOG_EVERY_NS: Final = 1 * SECOND_NS
MAX_EXAMPLES: Final = 20
MAX_KNOWN_KINDS: Final = 1024
"""How many kinds are remembered: the first line with a new kind is a warning. Kinds beyond these
are logged, but never as a warning."""

_Kind = TypeVar("_Kind")


class ThrottledLog:
    """Counts by event, for one connection. Is a `Timed` for the event loop.

    `context` (the peer, the stream) is in every line.
    """

    def __init__(self, **context: Any) -> None:
        self._context = context
        self._counts: dict[type[CountedEvent], int] = {}
        self._examples: dict[type[CountedEvent], list[Any]] = {}
        self._kinds: dict[type[CountedEvent], dict[Any, dict[str, Any]]] = {}
        self._known_kinds: set[tuple[type[CountedEvent], Any]] = set()
        self._known_only: dict[type[CountedEvent], bool] = {}
        """By event: whether all kinds of it since the last line have been in an earlier one."""
        self._log_ns: int | None = None
        self._not_before_ns = 0

    def add(self, event: type[CountedEvent], now_ns: int, examples: list[Any]) -> None:
        """Count as many of `event` as there are `examples`; the first few will be in the log."""
        self.add_many(event, now_ns, len(examples), examples)

    def add_many(
        self, event: type[CountedEvent], now_ns: int, count: int, examples: Iterable[Any]
    ) -> None:
        """Count `count` times `event`.

        `examples` is read only as far as there is room: it may be a slow iterator.
        """
        self._counts[event] = self._counts.get(event, 0) + count
        kept = self._examples.setdefault(event, [])
        if room := MAX_EXAMPLES - len(kept):
            kept.extend(islice(examples, room))
        if self._log_ns is None:
            self._log_ns = max(now_ns, self._not_before_ns)

    def add_by_kind(
        self,
        event: type[CountedEvent],
        now_ns: int,
        counts: Mapping[_Kind, int],
        describe: Callable[[_Kind], dict[str, Any]],
    ) -> None:
        """Count `event` by kind: an example is a kind with its count.

        `describe` is called once a line for each kind that is shown. A line is a warning if it
        shows a kind for the first time.
        """
        examples = self._kinds.setdefault(event, {})
        self._known_only.setdefault(event, True)
        new = []
        total = 0
        for kind, count in counts.items():
            total += count
            if kind in examples:
                examples[kind]["count"] += count
            elif len(examples) < MAX_EXAMPLES:
                examples[kind] = {**describe(kind), "count": count}
                new.append(examples[kind])
                self._look_whether_known(event, kind)
        self.add_many(event, now_ns, total, new)

    def _look_whether_known(self, event: type[CountedEvent], kind: object) -> None:
        if (event, kind) not in self._known_kinds and len(self._known_kinds) < MAX_KNOWN_KINDS:
            self._known_kinds.add((event, kind))
            self._known_only[event] = False

    def next_deadline_ns(self) -> int | None:
        """When the next line is due, None if nothing was counted."""
        return self._log_ns

    def on_time(self, now_ns: int) -> None:
        """Write a line for each kind counted since the last one."""
        log = structlog.get_logger()
        for event, count in self._counts.items():
            level: Level | None = "info" if self._known_only.get(event) else None
            counted = event(count=count, examples=self._examples[event], **self._context)
            log_event(log, counted, level)
        self._counts.clear()
        self._examples.clear()
        self._kinds.clear()
        self._known_only.clear()
        self._log_ns = None
        self._not_before_ns = now_ns + LOG_EVERY_NS
