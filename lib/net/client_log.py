"""What a server logs of its clients: a few lines a second, whatever they do.

A client can connect, leave, be refused, log on and break the protocol as often as it likes.
Refusals and protocol errors are counted and logged once a second. Connecting, logging on and
leaving is a line each, up to `BURST_LINES` at once and then one each `LINE_INTERVAL_NS`; beyond
that it is counted too (`clients_connected`, `clients_logged_on`, `clients_disconnected`).
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from lib.clock import MILLISECOND_NS, Clock
from lib.net.rate_limit import RateLimit
from lib.net.throttled_log import ThrottledLog

BURST_LINES: Final = 512
"""So that a full house that comes back after a restart has a line for each."""
LINE_INTERVAL_NS: Final = 50 * MILLISECOND_NS


class ClientLog:
    """The log of one server. Is a `Timed` for the event loop; used from there only."""

    def __init__(self, stream: str, max_clients: int, clock: Clock = time.monotonic_ns) -> None:
        self._log = structlog.get_logger().bind(stream=stream)
        self._max_clients = max_clients
        self._clock = clock
        self._counts = ThrottledLog(stream=stream)
        self._limits: dict[str, RateLimit] = {}
        """By event, of those that are a line each."""

    def connected(self, peer: str, clients: int) -> None:
        """Log that a client was let in, and is one of so many."""
        self._log_or_count("connected", {"peer": peer}, {"clients": clients})

    def logged_on(self, peer: str, client_id: str, **facts: Any) -> None:
        """Log that a client was acknowledged under this name."""
        self._log_or_count("logged_on", {"peer": peer, "client_id": client_id}, facts)

    def disconnected(self, peer: str, reason: str, clients: int, **facts: Any) -> None:
        """Log why a client is gone, and how many are left."""
        self._log_or_count(
            "disconnected", {"peer": peer, "reason": reason}, {**facts, "clients": clients}
        )

    def refused(self, peer: str) -> None:
        """Count a client that was not let in, because the server is full."""
        self.count("client_refused", peer=peer, reason=f"{self._max_clients} clients already")

    def protocol_error(self, peer: str, reason: str) -> None:
        """Count a client that is disconnected for what it sent."""
        self.count("protocol_error", peer=peer, reason=reason)

    def accept_failed(self, reason: str) -> None:
        """Count a connection that the system does not hand over."""
        self.count("accept_failed", reason=reason)

    def count(self, event: str, **example: Any) -> None:
        """Count whatever else a client can cause as often as it likes."""
        self._counts.add(event, self._clock(), [example])

    def next_deadline_ns(self) -> int | None:
        """When counts are to be logged, None if there are none."""
        return self._counts.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Log what was counted."""
        self._counts.on_time(now_ns)

    def _log_or_count(self, event: str, facts: dict[str, Any], more: dict[str, Any]) -> None:
        """Log all facts as a line, or count the event with the first of them as an example."""
        now_ns = self._clock()
        limit = self._limits.setdefault(event, RateLimit(BURST_LINES, LINE_INTERVAL_NS))
        if now_ns >= limit.ready_ns:
            limit.take(now_ns)
            self._log.info(f"client_{event}", **facts, **more)
        else:
            self.count(f"clients_{event}", **facts)
