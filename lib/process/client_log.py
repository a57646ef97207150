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
from msgspec import UNSET, UnsetType

from lib.clock import MILLISECOND_NS, Clock
from lib.net.rate_limit import RateLimit
from lib.process.log_events import (
    AcceptFailed,
    ClientConnected,
    ClientDisconnected,
    ClientLoggedOn,
    ClientRefused,
    ClientsBrokeProtocol,
    ClientsConnected,
    ClientsDisconnected,
    ClientsLoggedOn,
    CountedEvent,
    LogEvent,
    log_event,
)
from lib.process.throttled_log import ThrottledLog

BURST_LINES: Final = 512
"""Enough for a line for every client of a full server that reconnects after a restart."""
LINE_INTERVAL_NS: Final = 50 * MILLISECOND_NS


class ClientLog:
    """The log of one server. Is a `Timed` for the event loop; used from there only.

    Attributes:
        max_clients: how many clients the server takes.

    """

    def __init__(self, stream: str, max_clients: int, clock: Clock = time.monotonic_ns) -> None:
        self._log = structlog.get_logger()
        self._stream = stream
        self.max_clients = max_clients
        self._clock = clock
        self._counts = ThrottledLog(stream=stream)
        self._limits: dict[type[CountedEvent], RateLimit] = {}
        """Limits of events with a line each, by the event that counts the rest."""

    def connected(self, peer: str, clients: int) -> None:
        """Log that a client was accepted; `clients` are connected now."""
        event = ClientConnected(stream=self._stream, peer=peer, clients=clients)
        self._log_or_count(event, ClientsConnected, peer=peer)

    def logged_on(self, event: ClientLoggedOn) -> None:
        """Log that a client was acknowledged."""
        self._log_or_count(event, ClientsLoggedOn, peer=event.peer, client_id=event.client_id)

    def disconnected(
        self, peer: str, reason: str, clients: int, client_id: str | UnsetType | None = UNSET
    ) -> None:
        """Log why a client is gone, and how many are left."""
        event = ClientDisconnected(
            stream=self._stream, peer=peer, reason=reason, clients=clients, client_id=client_id
        )
        self._log_or_count(event, ClientsDisconnected, peer=peer, reason=reason)

    def refused(self, peer: str) -> None:
        """Count a client that was refused, because the server is full."""
        self.count(ClientRefused, peer=peer, reason=f"{self.max_clients} clients already")

    def protocol_error(self, peer: str, reason: str) -> None:
        """Count a client that is disconnected for what it sent."""
        self.count(ClientsBrokeProtocol, peer=peer, reason=reason)

    def accept_failed(self, reason: str) -> None:
        """Count a connection that the system does not hand over."""
        self.count(AcceptFailed, reason=reason)

    def count(self, event: type[CountedEvent], **example: Any) -> None:
        """Count whatever else a client can cause as often as it likes."""
        self._counts.add(event, self._clock(), [example])

    def next_deadline_ns(self) -> int | None:
        """When counts are to be logged, None if there are none."""
        return self._counts.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Log what was counted."""
        self._counts.on_time(now_ns)

    def _log_or_count(self, event: LogEvent, counted: type[CountedEvent], **example: str) -> None:
        """Log the event as a line, or count it with this example."""
        now_ns = self._clock()
        limit = self._limits.setdefault(counted, RateLimit(BURST_LINES, LINE_INTERVAL_NS))
        if now_ns >= limit.ready_ns:
            limit.take(now_ns)
            log_event(self._log, event)
        else:
            self.count(counted, **example)
