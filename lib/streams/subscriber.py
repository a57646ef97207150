"""One client of a price or news stream, as the server sees it, without a socket.

A client is a cursor into the tape. No more than one batch is queued for it: a slow client falls
behind in the tape, and a client that comes back asks for its position.
"""

from __future__ import annotations

from typing import Final

from lib.clock import MILLISECOND_NS
from lib.streams.publication import Stream
from lib.wire.framing import FrameBuffer, split
from lib.wire.stream_messages import (
    ProtocolError,
    encode_batch_header,
    encode_hello_answer,
    parse_hello_request,
)
from lib.wire.undelimited import Undelimited, cannot_become_hello, undelimited

MAX_BATCH_FRAMES: Final = 4096
"""The most frames of one batch, and so the most that is queued for one client."""
HEARTBEAT_NS: Final = 500 * MILLISECOND_NS
"""Silence after which a heartbeat is due. The protocol promises one a second; half of that leaves
room for a late loop."""


class Subscriber:
    """One client of a stream: plain until it says HELLO, numbered from then on."""

    def __init__(self, stream: Stream, now_ns: int, peer: str = "") -> None:
        """`peer` is its address, for the log."""
        self.peer = peer
        self._stream = stream
        self._buffer = FrameBuffer()
        self._last_sent_ns = now_ns
        self._undelimited_logged = False
        self.numbered = False
        self.is_ours = False
        """Whether it is known to be a role of this run."""
        self.next_sequence = stream.next_sequence
        """The cursor: the next frame this client gets."""

    @property
    def lag(self) -> int:
        """Published frames that this client has not been sent."""
        return self._stream.next_sequence - self.next_sequence

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the client. Returns the answer, b"" while HELLO is incomplete.

        Raises ProtocolError or MessageTooLongError: close the connection.
        """
        answer = b""
        for frame in split(self._buffer.feed(data)):
            request = parse_hello_request(frame)
            if self.numbered:
                raise ProtocolError("a second HELLO")
            self.numbered = True
            self.next_sequence = self._stream.first_for(request)
            answer = encode_hello_answer(self._stream.tape, self.next_sequence)
        return answer

    def undelimited(self) -> Undelimited | None:
        """Return what to log of a client whose bytes are no HELLO: once, else None."""
        unfinished = self._buffer.unfinished
        if self._undelimited_logged or not cannot_become_hello(unfinished):
            return None
        self._undelimited_logged = True
        return undelimited(unfinished, "client")

    def prepare(self) -> None:
        """Encode what `take` will return, so that the time in its header is when it is sent."""
        self._stream.pieces(self.next_sequence, min(self.lag, MAX_BATCH_FRAMES))

    def take(self, now_ns: int) -> list[bytes]:
        """Return the next batch, [] if none is due. Call again only when it has been sent."""
        count = min(self.lag, MAX_BATCH_FRAMES)
        if count == 0 and not (self.numbered and now_ns >= self.heartbeat_due_ns()):
            return []
        first = self.next_sequence
        self.next_sequence += count
        self._last_sent_ns = now_ns
        header = [encode_batch_header(first, count, now_ns)] if self.numbered else []
        return header + self._stream.pieces(first, count)

    def heartbeat_due_ns(self) -> int:
        """Return when a numbered client must get a heartbeat, unless it gets frames first."""
        return self._last_sent_ns + HEARTBEAT_NS
