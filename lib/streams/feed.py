"""A price or news stream over a connection that is re-established: a `StreamClient` and its I/O.

The owner sees the stream begin, and its frames. A lost connection, silence, protocol errors and
reconnecting are handled and logged here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import structlog

from lib.clock import Clock
from lib.net.reconnect import Connect
from lib.process.log_events import (
    Disconnected,
    ServerBrokeProtocol,
    ServerSentNoDelimiter,
    StreamConnected,
    log_event,
)
from lib.process.log_once import LogOnce
from lib.streams.stream_client import NEXT_CALL_NS, Frames, Joined, StreamClient, WentPlain
from lib.wire.framing import MessageTooLongError
from lib.wire.stream_messages import ProtocolError
from lib.wire.undelimited import Undelimited


class StreamFeed:
    """One stream from one server. Is a `Timed` for the event loop; used from there only.

    `on_begin(event)`: the stream begins, once a connection. `on_frames(batches)`: all frames of one
    read from the socket; a client that is behind gets many batches at once.
    """

    def __init__(
        self,
        stream: Literal["price", "news"],
        client: StreamClient,
        connect: Connect,
        *,
        on_begin: Callable[[Joined | WentPlain], None],
        on_frames: Callable[[list[Frames]], None],
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._client = client
        self._on_begin = on_begin
        self._on_frames = on_frames
        self._clock = clock
        self._undelimited = LogOnce()
        """Until the stream begins: the next connection will bring the same bytes."""
        self._strange_loss = LogOnce()
        """Until the stream begins: the next connection to a strange server ends the same way."""
        self._connection = connect(
            on_open=self._on_open, on_data=self._on_data, on_lost=self._on_lost
        )
        self.peer = self._connection.peer
        self._is_held = False
        self._log = structlog.get_logger()

    @property
    def joined(self) -> bool:
        """Whether there is a connection that delivers frames."""
        return self._client.joined

    def limit_receiving(self, most_bytes: int) -> None:
        """Receive at most so many bytes in a pass of the loop from now on.

        With 0 nothing is received, and no silence counts: what the server sends waits in the
        kernel, heartbeats too, and is there as soon as something is received again.
        """
        self._is_held = not most_bytes
        self._connection.limit_receiving(most_bytes)

    def next_deadline_ns(self) -> int | None:
        """When silence ends the connection, or is to be logged."""
        return None if self._is_held else self._client.next_deadline_ns()

    def on_time(self, now_ns: int) -> None:
        """Log bytes without a delimiter, or drop a connection that is silent."""
        if undelimited := self._client.undelimited_at(now_ns):
            self._log_undelimited(undelimited)
        else:
            self._connection.drop(self._client.silence_reason())

    def leave(self, reason: str) -> None:
        """Close the connection. It comes back with the next pass of the loop, if there is one."""
        self._connection.drop(reason)

    def _log_undelimited(self, undelimited: Undelimited) -> None:
        event = ServerSentNoDelimiter(stream=self._stream, peer=self.peer, **undelimited._asdict())
        self._undelimited.log_first(event)

    def _on_open(self) -> None:
        self._connection.send(self._client.connected(self._clock()))

    def _on_lost(self, reason: str) -> None:
        is_strange = self._client.is_strange
        if undelimited := self._client.disconnected():
            self._log_undelimited(undelimited)
            self._connection.hold_back(NEXT_CALL_NS)
        event = Disconnected(stream=self._stream, peer=self.peer, reason=reason)
        if is_strange:
            self._strange_loss.log_new(event)
        else:
            self._strange_loss.over()
            log_event(self._log, event)

    def _on_data(self, data: bytes) -> None:
        batches: list[Frames] = []
        error: ProtocolError | MessageTooLongError | None = None
        try:
            for event in self._client.receive(data, self._clock()):
                if isinstance(event, Frames):
                    batches.append(event)
                elif isinstance(event, Undelimited):
                    self._log_undelimited(event)
                else:  # once a connection, before its first frames
                    self._begin(event)
        except (ProtocolError, MessageTooLongError) as protocol_error:
            error = protocol_error
        if batches:  # frames before an error stand
            self._on_frames(batches)
        if error:
            broken = ServerBrokeProtocol(stream=self._stream, peer=self.peer, reason=str(error))
            log_event(self._log, broken)
            self._connection.drop(f"protocol error: {error}")

    def _begin(self, event: Joined | WentPlain) -> None:
        self._undelimited.over()
        self._connection.proved()
        missed = event.missed if isinstance(event, Joined) else None
        connected = StreamConnected(
            stream=self._stream,
            peer=self.peer,
            tape=event.tape if isinstance(event, Joined) else None,
            first=event.first,
            missed=missed.last - missed.first + 1 if missed else 0,
        )
        log_event(self._log, connected)
        self._on_begin(event)
