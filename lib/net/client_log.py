"""What a server logs about its clients: a bounded number of lines a second, whatever they do.

A client can connect, leave, be refused, log on and break the protocol as often as it likes.
Refusals and protocol errors are counted and logged once a second. Each connection, logon and
disconnection is a line, up to `BURST_LINES` at once and then one every `LINE_INTERVAL_NS`; the rest
is counted too (`clients_connected`, `clients_logged_on`, `clients_disconnected`).
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from lib.clock import MILLISECOND_NS, Clock
from lib.net.rate_limit import RateLimit
from lib.net.throttled_log import ThrottledLog

BURST_LINES: Final = 512
"""Enough for a line for every client of a full server that reconnects after a restart."""
LINE_INTERVAL_NS: Final = 50 * MILLISECOND_NS


class ClientLog:
    """The log of one server. Is a `Timed` for the event loop; used from there only."""

    def __init__(self, stream: str, max_clients: int, clock: Clock = time.monotonic_ns) -> None:
        self._log = structlog.get_logger().bind(stream=stream)
        self._max_clients = max_clients
        self._clock = clock
        self._counts = ThrottledLog(stream=stream)
        self._limits: dict[str, RateLimit] = {}
        """By event: the limit of the events that are logged one line each."""

    def connected(self, peer: str, clients: int) -> None:
        """Log that a client was accepted, and how many are connected."""
        self._log_or_count("connected", {"peer": peer}, {"clients": clients})

    def logged_on(self, peer: str, client_id: str, **facts: Any) -> None:
        """Log that a logon was acknowledged."""
        self._log_or_count("logged_on", {"peer": peer, "client_id": client_id}, facts)

    def disconnected(self, peer: str, reason: str, clients: int, **facts: Any) -> None:
        """Log why a client was disconnected, and how many are left."""
        self._log_or_count(
            "disconnected", {"peer": peer, "reason": reason}, {**facts, "clients": clients}
        )

    def refused(self, peer: str) -> None:
        """Count a client that was refused because the server is full."""
        self.count("client_refused", peer=peer, reason=f"{self._max_clients} clients already")

    def protocol_error(self, peer: str, reason: str) -> None:
        """Count a client that was disconnected for a protocol error."""
        self.count("protocol_error", peer=peer, reason=reason)

    def accept_failed(self, reason: str) -> None:
        """Count a failed accept(2)."""
        self.count("accept_failed", reason=reason)

    def count(self, event: str, **example: Any) -> None:
        """Count any other event that a client can cause as often as it likes."""
        self._counts.add(event, self._clock(), [example])

    def next_deadline_ns(self) -> int | None:
        """When counts are to be logged, None if there are none."""
        return self._counts.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Log what was counted."""
        self._counts.on_time(now_ns)

    def _log_or_count(self, event: str, facts: dict[str, Any], more: dict[str, Any]) -> None:
        """Log the event with all facts as a line, or count it with `facts` as an example."""
        now_ns = self._clock()
        limit = self._limits.setdefault(event, RateLimit(BURST_LINES, LINE_INTERVAL_NS))
        if now_ns >= limit.ready_ns:
            limit.take(now_ns)
            self._log.info(f"client_{event}", **facts, **more)
        else:
            self.count(f"clients_{event}", **facts)
