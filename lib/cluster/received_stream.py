"""A stream of another host's gateway, to be served here as that gateway serves it."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple

from lib.cluster.broker import Message
from lib.cluster.streams import position_of, split_batch
from lib.streams.publication import REPLAY_TICKS, NewsStream, Stream
from lib.wire.framing import MESSAGE_DELIMITER
from lib.wire.stream_messages import HelloRequest, ProtocolError

MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
"""The most memory that the kept frames take, however few ticks they are."""
RESERVE_BYTES: Final = 16 * 1024 * 1024
"""How much is kept though it is more than REPLAY_TICKS, for clients that lag or have just begun
there: at 500,000 ticks/s some two seconds."""
CHUNK_BYTES: Final = 200
"""What a chunk takes beside its frames."""


class _Chunk(NamedTuple):
    """Frames `first` to `last`."""

    first: int
    last: int
    frames: bytes

    @property
    def size(self) -> int:
        """How many frames it has."""
        return self.last - self.first + 1


class ReceivedFrames:
    """The latest frames of a stream, at least REPLAY_TICKS of them once there were so many."""

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()
        self._count = 0
        self._bytes = 0

    @property
    def first(self) -> int:
        """The first frame that is kept, 0 if there is none."""
        return self._chunks[0].first if self._chunks else 0

    def add(self, first: int, count: int, frames: bytes) -> None:
        """Keep frames that follow the last ones."""
        self._chunks.append(_Chunk(first, first + count - 1, frames))
        self._count += count
        self._bytes += len(frames) + CHUNK_BYTES
        while len(self._chunks) > 1 and self._bytes > self._most_bytes():
            oldest = self._chunks.popleft()
            self._count -= oldest.size
            self._bytes -= len(oldest.frames) + CHUNK_BYTES

    def _most_bytes(self) -> int:
        """Return how many bytes to keep: more where they are all that can be replayed."""
        is_replay = self._count - self._chunks[0].size < REPLAY_TICKS
        return MAX_KEPT_BYTES if is_replay else RESERVE_BYTES

    def clear(self) -> None:
        """Keep none of them."""
        self._chunks.clear()
        self._count = self._bytes = 0

    def pieces(self, first: int, count: int) -> list[bytes]:
        """Return frames `first` to `first + count - 1`, which are kept, as pieces in order."""
        pieces = []
        number = bisect_right(self._chunks, first, key=lambda chunk: chunk.first) - 1
        while count > 0:
            chunk = self._chunks[number]
            skipped = first - chunk.first
            taken = min(count, chunk.size - skipped)
            pieces.append(chunk.frames if taken == chunk.size else _cut(chunk, skipped, taken))
            first, count, number = first + taken, count - taken, number + 1
        return pieces


def _cut(chunk: _Chunk, skipped: int, taken: int) -> bytes:
    frames = chunk.frames.split(MESSAGE_DELIMITER, skipped + taken)[skipped : skipped + taken]
    return b"".join(frame + MESSAGE_DELIMITER for frame in frames)


class _ReceivedStream(Stream):
    """What has come. A client that needs earlier frames is told where they begin."""

    def __init__(self, tape: str, frames: ReceivedFrames, next_sequence: int) -> None:
        super().__init__(tape, frames, next_sequence)
        self._frames = frames

    def first_for(self, request: HelloRequest) -> int:
        """Where a numbered client that asks for `request` begins."""
        return max(super().first_for(request), self._frames.first or self.next_sequence)


class ReceivedTicks(_ReceivedStream):
    """The ticks that have come."""


class ReceivedNews(_ReceivedStream, NewsStream):
    """The sentiments that have come. There may be none yet: a claim has only their number."""


class NewTapeError(Exception):
    """The messages are of another tape, or behind a gap: all clients have to join anew."""


class GapError(NewTapeError):
    """They are of the same tape, behind a gap."""


class ReceivedPublication:
    """A stream of another host and what has come of it. `stream` moves on with `publish`."""

    def __init__(self, message: Message, kind: type[ReceivedTicks | ReceivedNews]) -> None:
        """Begin with a message of the stream, which must say how far the tape is with it.

        Raises ProtocolError if it does not.
        """
        position = position_of(message.headers)
        if position is None:
            raise ProtocolError("a message that does not say of which tape it is")
        first = position.next_sequence
        if message.data:
            first = split_batch(message.data)[0].first
        self._frames = ReceivedFrames()
        self.stream: Stream = kind(position.tape, self._frames, first)
        self._received = first
        """The sequence behind the last frame that was received."""

    @property
    def ended(self) -> bool:
        """Another host may always publish more."""
        return False

    def receive(self, message: Message) -> int:
        """Take the next message. Returns how many frames it has that can be published.

        Raises NewTapeError or GapError, or ProtocolError for what is none of ours.
        """
        position = position_of(message.headers)
        if position is None:
            raise ProtocolError("a message that does not say of which tape it is")
        if position.tape != self.stream.tape:
            raise NewTapeError(f"tape {position.tape} begins")
        if not message.data:  # a claim
            return 0
        batch, frames = split_batch(message.data)
        known = self._received - batch.first
        if known < 0:
            gap = f"{self._received} to {batch.first - 1} of tape {position.tape}"
            raise GapError(f"{gap} are not in the stream")
        if known >= batch.count:
            return 0
        if known:
            frames = frames.split(MESSAGE_DELIMITER, known)[-1]
        self._frames.add(self._received, batch.count - known, frames)
        self._received = batch.first + batch.count
        return batch.count - known

    def skip_gap(self, message: Message) -> None:
        """Go on with a message behind a gap. Whoever follows the stream has to join anew."""
        first = split_batch(message.data)[0].first
        self._frames.clear()
        self._received = self.stream.next_sequence = first

    def publish(self, count: int) -> int:
        """Publish frames that were received."""
        self.stream.next_sequence += count
        return count
