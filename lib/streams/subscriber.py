"""The server's side of a price or news stream, without a socket.

The idea: a tape can be read at any position, so *the tape is the buffer* and a client is a cursor
into it. Nothing is queued for anybody beyond one batch; a client that is slow falls behind in the
tape, and one that comes back asks for the position where it was. Replay and live are one path.

- `EncodedTape`: the frames of a tape, encoded once and shared by all clients.
- `Stream`: what is published so far, and where a client that joins begins.
- `Subscriber`: one client: its cursor, whether it is plain or numbered, what to send it next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.clock import MILLISECOND_NS
from lib.wire.framing import MESSAGE_DELIMITER, FrameBuffer, split
from lib.wire.stream_messages import (
    FROM_NOW_ON,
    HelloRequest,
    ProtocolError,
    encode_batch_header,
    encode_hello_answer,
    parse_hello_request,
)
from lib.wire.undelimited import Undelimited, cannot_become_hello, undelimited

CHUNK_FRAMES: Final = 2048
"""Frames encoded at a time, ahead of a live stream: a pause of some 0.2 ms."""
NEWS_CHUNK_FRAMES: Final = 64
"""Of sentiments, of which there are few a second, and which are encoded one by one."""
REPLAY_TICKS: Final = 262_144
"""How far back a numbered client that reconnects may begin."""
MAX_LAG_TICKS: Final = 1 << 22
"""A client that has fallen further behind than this is disconnected: half a second at 8 million
ticks/s. It costs no memory, as what is no longer encoded is encoded again; that takes up to 0.5 µs
a tick where many lag in different places, so the gateway bounds the time that it gives to them."""
MAX_CACHED_CHUNKS: Final = (REPLAY_TICKS + 65_536) // CHUNK_FRAMES + 2
"""What can be asked for again, and some more for those that are about to come to it."""
MAX_BATCH_FRAMES: Final = 4096
"""The most that is queued for one client."""
HEARTBEAT_NS: Final = 500 * MILLISECOND_NS
"""The protocol promises one a second; half of that leaves room for a late loop."""


class EncodedTape:
    """Frames of a tape by position, encoded in chunks on demand and kept, the newest longest."""

    def __init__(
        self, encode: Callable[[int, int], bytes], chunk_frames: int = CHUNK_FRAMES
    ) -> None:
        """`encode(first, count)` gives those frames, fewer where the tape ends. Pure."""
        self._encode = encode
        self._chunk_frames = chunk_frames
        self._chunks: OrderedDict[int, tuple[bytes, NDArray[np.uint32]]] = OrderedDict()
        self._last: tuple[int, int, list[bytes]] = (0, 0, [])

    def pieces(self, first: int, count: int) -> list[bytes]:
        """Frames `first` to `first + count - 1`, which must exist, as pieces to send in order.

        Clients at the same place get the same objects, so that a batch is in memory once. The list
        is not the caller's to change.
        """
        if self._last[:2] != (first, count):
            self._last = (first, count, self._cut(first, count))
        return self._last[2]

    def prepare(self, first: int) -> None:
        """Have the chunk of frame `first` at hand; of a tape that ends before it, nothing."""
        self._chunk((first - 1) // self._chunk_frames)

    def _cut(self, first: int, count: int) -> list[bytes]:
        pieces = []
        while count > 0:
            number, offset = divmod(first - 1, self._chunk_frames)
            taken = min(count, self._chunk_frames - offset)
            frames, bounds = self._chunk(number)
            pieces.append(frames[bounds[offset] : bounds[offset + taken]])
            first += taken
            count -= taken
        return pieces

    def _chunk(self, number: int) -> tuple[bytes, NDArray[np.uint32]]:
        chunk = self._chunks.get(number)
        if chunk is None:
            frames = self._encode(number * self._chunk_frames + 1, self._chunk_frames)
            chunk = self._chunks[number] = (frames, _bounds(frames))
            if len(self._chunks) > MAX_CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        return chunk


def _bounds(frames: bytes) -> NDArray[np.uint32]:
    """Return where each frame begins, and where the last one ends."""
    delimiters = np.flatnonzero(np.frombuffer(frames, np.uint8) == ord(MESSAGE_DELIMITER))
    return np.concatenate(([0], delimiters + 1)).astype(np.uint32)


class Stream:
    """What is published of one tape. `next_sequence` grows as its owner publishes."""

    def __init__(self, tape: str, encoded: EncodedTape, next_sequence: int) -> None:
        self.tape = tape
        self.next_sequence = next_sequence
        self._encoded = encoded

    def first_for(self, request: HelloRequest) -> int:
        """Where a numbered client that asks for `request` begins."""
        wanted = request.next_sequence
        if request.tape is not None and request.tape != self.tape:
            wanted = 1
        elif wanted == FROM_NOW_ON:
            wanted = self.next_sequence
        return min(max(wanted, 1, self.next_sequence - REPLAY_TICKS), self.next_sequence)

    def pieces(self, first: int, count: int) -> list[bytes]:
        """Published frames, as pieces to send in order."""
        return self._encoded.pieces(first, count)


class NewsStream(Stream):
    """News is in force until the next one: whoever joins begins with the latest."""

    def first_for(self, _request: HelloRequest) -> int:
        """The latest sentiment, whatever was asked for."""
        return max(1, self.next_sequence - 1)


class Subscriber:
    """One client of a stream: plain until it says HELLO, numbered from then on."""

    def __init__(self, stream: Stream, now_ns: int) -> None:
        self._stream = stream
        self._buffer = FrameBuffer()
        self._last_sent_ns = now_ns
        self._undelimited_logged = False
        self.numbered = False
        self.next_sequence = stream.next_sequence
        """The cursor: the next frame this client gets."""

    @property
    def lag(self) -> int:
        """Published frames that this client has not been sent."""
        return self._stream.next_sequence - self.next_sequence

    def receive(self, data: bytes) -> bytes:
        """The client said something. Returns the answer, b"" while HELLO is incomplete.

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
        """What to log of a client that sends something else than messages: once, else None."""
        unfinished = self._buffer.unfinished
        if self._undelimited_logged or not cannot_become_hello(unfinished):
            return None
        self._undelimited_logged = True
        return undelimited(unfinished, "client")

    def prepare(self) -> None:
        """Have at hand what `take` will give, so that the time it is given is when it is sent."""
        self._stream.pieces(self.next_sequence, min(self.lag, MAX_BATCH_FRAMES))

    def take(self, now_ns: int) -> list[bytes]:
        """What to send next, [] if nothing is due. Call again only when it has been sent."""
        count = min(self.lag, MAX_BATCH_FRAMES)
        if count == 0 and not (self.numbered and now_ns >= self.heartbeat_due_ns()):
            return []
        first = self.next_sequence
        self.next_sequence += count
        self._last_sent_ns = now_ns
        header = [encode_batch_header(first, count, now_ns)] if self.numbered else []
        return header + self._stream.pieces(first, count)

    def heartbeat_due_ns(self) -> int:
        """When a numbered client must hear something, if only a heartbeat."""
        return self._last_sent_ns + HEARTBEAT_NS
