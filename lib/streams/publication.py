"""What is published of a tape: how far, and its frames, numbered and encoded.

A tape can be read at any position, so *the tape is the buffer*: replay and live are one path, and
all that a gateway must remember is how far it has published. That number lives in a mapped file and
is stored *before* any frame is sent: a gateway that was killed continues the same tape, and no tick
is ever sent under two prices.

- `EncodedTape`: the frames of a tape, encoded once and shared by all clients.
- `Stream`: what is published so far, and where a client that joins begins. Clients read it.
- `Publication`: a stream with its stored position. Only its `publish` moves the stream on.
- `continue_or_begin`: the stored positions of this run's tape, or of a new one.
- `played_tapes`: which prepared tapes this run plays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.process.log_events import TapeContinued, TapeStarted, log_event
from lib.process.state_file import StateFile, continue_state, create_state, open_state
from lib.tapes.tape import Sentiments, Tape
from lib.wire.framing import MESSAGE_DELIMITER
from lib.wire.stream_messages import FROM_NOW_ON, HelloRequest
from lib.wire.tick_codec import TickCodec, encode_sentiment

STATE_NAME: Final = "gateway.state"
"""The file of the state, in the var directory."""
TICK_WORD: Final = 0
"""Index of the state's word with the sequence of the next tick."""
NEWS_WORD: Final = 1
"""Index of the state's word with the sequence of the next sentiment."""
WORDS: Final = 2
"""How many words the state has."""
_PREPARED: Final = "prepared"
CHUNK_FRAMES: Final = 2048
"""Ticks encoded at a time, ahead of a live stream: a pause of some 0.2 ms."""
NEWS_CHUNK_FRAMES: Final = 64
"""Sentiments encoded at a time: there are few a second, and they are encoded one by one."""
REPLAY_TICKS: Final = 262_144
"""How far back a numbered client that reconnects may begin."""
MAX_CACHED_CHUNKS: Final = (REPLAY_TICKS + 65_536) // CHUNK_FRAMES + 2
"""Encoded chunks that are kept: all that can be replayed, and a reserve for clients just behind."""


class Tapes(NamedTuple):
    """What a gateway plays."""

    ticks: Tape
    sentiments: Sentiments
    prepared: tuple[str, ...] = ()
    """The names of those of them that were prepared from files."""


class FrameSource(Protocol):
    """Has the frames of a stream, encoded."""

    @property
    def first(self) -> int:
        """The first frame that it has, 0 if there is none."""

    def pieces(self, first: int, count: int) -> list[bytes]:
        """Return frames `first` to `first + count - 1`, as pieces to send in order."""


class EncodedTape:
    """Frames of a tape by position, encoded in chunks on demand; the oldest is dropped first."""

    def __init__(
        self, encode: Callable[[int, int], bytes], chunk_frames: int = CHUNK_FRAMES
    ) -> None:
        """`encode(first, count)` gives those frames, fewer where the tape ends. Pure."""
        self._encode = encode
        self._chunk_frames = chunk_frames
        self._chunks: OrderedDict[int, tuple[bytes, NDArray[np.uint32]]] = OrderedDict()
        self._last: tuple[int, int, list[bytes]] = (0, 0, [])

    @property
    def first(self) -> int:
        """The first frame of the tape: any can be encoded again."""
        return 1

    def pieces(self, first: int, count: int) -> list[bytes]:
        """Frames `first` to `first + count - 1`, which must exist, as pieces to send in order.

        Clients at the same place get the same objects, so that a batch is in memory once. The
        caller must not change the list.
        """
        if self._last[:2] != (first, count):
            self._last = (first, count, self._cut(first, count))
        return self._last[2]

    def prepare(self, first: int) -> None:
        """Encode the chunk of frame `first` now; it is empty if the tape ends before it."""
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
    """The published part of one tape. A `Publication` moves `next_sequence` on."""

    def __init__(self, tape: str, encoded: FrameSource, next_sequence: int) -> None:
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

    def has(self, sequence: int) -> bool:
        """Whether the frames from `sequence` on can be sent; those before may be gone."""
        return sequence >= self._encoded.first

    def pieces(self, first: int, count: int) -> list[bytes]:
        """Published frames, as pieces to send in order."""
        return self._encoded.pieces(first, count)


class NewsStream(Stream):
    """A stream of news, which is in force until the next one: a client begins with the latest."""

    def first_for(self, _request: HelloRequest) -> int:
        """The latest sentiment, whatever `_request` asks for."""
        return max(1, self.next_sequence - 1)


class Published(Protocol):
    """A stream and what moves it on."""

    stream: Stream

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to publish, ever."""

    def publish(self, count: int) -> int:
        """Publish the next `count` frames. Returns how many, fewer at the end."""


class Publication:
    """A stream and the word of the state that says how far it is published. The only publisher."""

    def __init__(self, stream: Stream, state: StateFile, word: int, length: int | None) -> None:
        self.stream = stream
        self._state = state
        self._word = word
        self._length = length

    @property
    def ended(self) -> bool:
        """Whether all of the tape has been published."""
        return self._length is not None and self.stream.next_sequence > self._length

    def publish(self, count: int) -> int:
        """Publish the next `count` frames, fewer at the tape's end. Returns how many.

        Send them after it returns, never before.
        """
        next_sequence = self.stream.next_sequence
        if self._length is not None:
            count = min(count, self._length + 1 - next_sequence)
        if count <= 0:
            return 0
        # Store before sending: a successor must not know less than any client.
        self._state.words[self._word] = next_sequence + count
        self.stream.next_sequence = next_sequence + count
        return count


def price_publication(state: StateFile, tapes: Tapes, symbols: tuple[str, ...]) -> Publication:
    """Continue the ticks where `state` ends."""
    encoded = EncodedTape(partial(_encode_ticks, tapes.ticks, TickCodec(symbols)))
    encoded.prepare(state.words[TICK_WORD])  # takes 16 ms, by which the first tick would be late
    stream = Stream(state.header["tape"], encoded, state.words[TICK_WORD])
    return Publication(stream, state, TICK_WORD, tapes.ticks.length)


def news_publication(state: StateFile, tapes: Tapes) -> Publication:
    """Continue the sentiments where `state` ends."""
    encoded = EncodedTape(partial(_encode_sentiments, tapes.sentiments), NEWS_CHUNK_FRAMES)
    stream = NewsStream(state.header["tape"], encoded, state.words[NEWS_WORD])
    return Publication(stream, state, NEWS_WORD, tapes.sentiments.length)


def _encode_ticks(tape: Tape, codec: TickCodec, first: int, count: int) -> bytes:
    return codec.encode(*tape.read(first, count))


def _encode_sentiments(tape: Sentiments, first: int, count: int) -> bytes:
    return b"".join(map(encode_sentiment, tape.read(first, count)))


def continue_or_begin(
    path: Path, run: Iterable[int], tapes: Tapes, name_tape: Callable[[], str]
) -> tuple[StateFile, bool]:
    """Return the state of this run's tape, or of a new tape if the run or a content has changed.

    Also whether the tape is new. Raises OSError if the state file of a new tape cannot be written.
    """
    run = list(run)
    contents = [tapes.ticks.identity, tapes.sentiments.identity]
    log = structlog.get_logger()
    state = continue_state(path, word_count=WORDS)
    if state and state.header.get("run") == run and state.header.get("contents") == contents:
        tape, next_sequence = state.header["tape"], state.words[TICK_WORD]
        log_event(log, TapeContinued(tape=tape, next_sequence=next_sequence))
        return state, False
    tape = name_tape()
    header = {"run": run, "contents": contents, "tape": tape, _PREPARED: tapes.prepared}
    # The first sentiment is published from the start: there is news from the first tick on.
    state = create_state(path, header, [1, 2])
    log_event(log, TapeStarted(tape=tape))
    return state, True


def played_tapes(path: Path, run: Iterable[int]) -> list[str]:
    """Return the names of the prepared tapes that this run plays; [] if it plays none yet."""
    state = open_state(path, word_count=WORDS)
    if state is None or state.header.get("run") != list(run):
        return []
    names = state.header.get(_PREPARED, [])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
