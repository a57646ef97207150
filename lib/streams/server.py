"""The server of one stream: publishes frames and sends them to every client, on its connection.

The way of a tick, from top to bottom:

    Pacer.on_time                   how many frames are due (`schedule`)
    StreamServer.publish
      Publication.publish           their numbers, stored before any is sent (`publication`)
      StreamServer._send_batch      for each client that does not lag:
        Subscriber.prepare, take    the frames from its cursor on, encoded once for all clients
        Connection.send

A slow client only falls behind in the tape: at most one batch is queued for it. A client that takes
no bytes for too long, or falls too far behind, is disconnected; but a role of this run that takes
none is not, because the watchdog ends it if it hangs, and an orderbook that waits for a slow
strategy does not. A lagging client may need frames
encoded again, so all lagging clients share a bounded part of each pass, in turns.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.process.client_log import ClientLog
from lib.process.client_table import ClientTable
from lib.process.log_events import ClientsSentNoDelimiter
from lib.process.run_identity import siblings
from lib.streams.publication import Published
from lib.streams.subscriber import MAX_BATCH_FRAMES, Subscriber
from lib.wire.framing import MessageTooLongError
from lib.wire.stream_messages import ProtocolError

MAX_LAG_TICKS: Final = 1 << 22
"""A client that lags by more frames is disconnected: half a second at 8 million ticks/s. Lag takes
no memory, because frames that are no longer kept are encoded again. That takes up to 0.5 µs a tick
where many clients lag in different places; LAGGING_NS bounds it."""
MAX_CLIENTS: Final = 400
"""The most clients of one stream."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Well above the largest batch: only a defect of the server reaches it."""
STALL_LIMIT_NS: Final = 10 * SECOND_NS
"""A client with queued bytes that takes none of them for this long is disconnected."""
UNPACED_STALL_LIMIT_NS: Final = 1 * SECOND_NS
"""The stall limit where the slowest client paces the stream: a stalled one holds up all others."""
LAGGING_NS: Final = 2 * MILLISECOND_NS
"""The time of a pass for all lagging clients of one stream; at most one batch exceeds it."""


class StreamServer:
    """One stream and its clients. For one thread, from its loop only."""

    def __init__(
        self, loop: EventLoop, log: ClientLog, publication: Published, stall_limit_ns: int
    ) -> None:
        self.publication = publication
        self._stream = publication.stream
        self._clock = loop.clock
        self._stall_limit_ns = stall_limit_ns
        self._log = log
        self.clients = ClientTable(
            max_clients=log.max_clients,
            log=log,
            connect=partial(
                Connection, loop, max_queued_bytes=MAX_QUEUED_BYTES, may_half_close=True
            ),
            make=lambda peer: Subscriber(self._stream, self._clock(), peer),
            on_data=self._on_data,
            on_drained=self._on_drained,
            on_closed=lambda subscriber: self._lagging.pop(subscriber, None),
            why_evict=_why_evict,
            why_drop=self._why_drop,
        )
        self._connections = self.clients.connections
        self._lagging: dict[Subscriber, None] = {}
        """Clients that could take a further batch; the first one's turn is next."""
        loop.add_timed(self)

    def publish(self, count: int, sent_ns: int | None = None) -> int:
        """Publish the next `count` frames and send them. Returns how many, fewer at the end.

        `sent_ns` is when they were sent by another gateway, if they were.
        """
        published = self.publication.publish(count)
        if published:
            for subscriber, connection in list(self._connections.items()):
                if subscriber not in self._lagging:  # a lagging client waits for its turn
                    self._send_batch(subscriber, connection, sent_ns)
        return published

    def publish_unpaced(self) -> bool:
        """Publish what the slowest numbered client can take at once. Returns whether it is any."""
        cursors = (s.next_sequence for s in self._connections if s.numbered)
        slowest = min(cursors, default=None)
        if slowest is None:
            return False
        return self.publish(MAX_BATCH_FRAMES - (self._stream.next_sequence - slowest)) > 0

    def has_joined_from_own_run(self) -> bool:
        """Whether a numbered client is a role of this run. Takes some 10 µs a numbered client."""
        clients = self._connections.items()
        return any(one.numbered and _is_ours(one, connection) for one, connection in clients)

    def send_to_lagging(self) -> bool:
        """Send one batch to each lagging client, round robin, for at most LAGGING_NS.

        Returns whether any client still lags.
        """
        if not self._lagging:
            return False
        end_ns = self._clock() + LAGGING_NS
        for subscriber in list(self._lagging):
            self._send_batch(subscriber, self._connections[subscriber])
            if self._clock() >= end_ns:
                break
        return bool(self._lagging)

    def next_deadline_ns(self) -> int:
        """Return when to check the clients again."""
        return self.clients.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Send heartbeats that are due; disconnect clients that stall or lag too far behind."""
        self.clients.on_time(now_ns)
        log_ns = self._log.next_deadline_ns()
        if log_ns is not None and log_ns <= now_ns:
            self._log.on_time(now_ns)
        for subscriber, connection in list(self._connections.items()):
            if subscriber not in self._lagging:
                self._send_batch(subscriber, connection)

    def _why_drop(self, subscriber: Subscriber, connection: Connection, now_ns: int) -> str:
        """Return why a client is disconnected: it stalls or lags too far behind; "" if it stays."""
        if subscriber.lag > MAX_LAG_TICKS:
            return f"too slow: {subscriber.lag} frames behind"
        stalled_ns = now_ns - connection.last_progress_ns if connection.queued_bytes else 0
        if stalled_ns > self._stall_limit_ns and not _is_ours(subscriber, connection):
            return f"took nothing for {self._stall_limit_ns / SECOND_NS:g} s"
        return ""

    def _on_data(self, subscriber: Subscriber, data: bytes) -> None:
        connection = self._connections[subscriber]
        try:
            answer = subscriber.receive(data)
        except (ProtocolError, MessageTooLongError) as error:
            self._log.protocol_error(subscriber.peer, str(error))
            connection.close(f"protocol error: {error}")
            return
        if undelimited := subscriber.undelimited():
            self._log.count(ClientsSentNoDelimiter, peer=subscriber.peer, **undelimited._asdict())
        if answer:
            connection.send(answer)
            self._send_batch(subscriber, connection)

    def _on_drained(self, subscriber: Subscriber) -> None:
        self._send_batch(subscriber, self._connections[subscriber])

    def _send_batch(
        self, subscriber: Subscriber, connection: Connection, sent_ns: int | None = None
    ) -> None:
        """Send the next batch, if the client has taken the one before.

        A client that lags after it goes to the end of the round.
        """
        self._lagging.pop(subscriber, None)
        if connection.open and not self._stream.has(subscriber.next_sequence):
            connection.close(f"too slow: {subscriber.lag} frames behind, which are not kept")
        if connection.open and not connection.queued_bytes:
            subscriber.prepare()
            pieces = subscriber.take(self._clock() if sent_ns is None else sent_ns)
            if pieces:
                connection.send(*pieces)
        if subscriber.lag and connection.open and not connection.queued_bytes:
            self._lagging[subscriber] = None


def _is_ours(subscriber: Subscriber, connection: Connection) -> bool:
    """Whether a client is a role of this run."""
    if not subscriber.is_ours:
        subscriber.is_ours = connection.comes_from(siblings())
    return subscriber.is_ours


def _why_evict(_subscriber: Subscriber, connection: Connection) -> str:
    return "made room: ended its side" if connection.half_closed else ""
