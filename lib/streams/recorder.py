"""Records what is played on a stream, as its numbered client: frames in, parts of a file out.

Frames are kept as they come, and decoded and written many at a time. No frame is lost while a part
is written: the connection waits. A price stream whose pace is that of its slowest client waits with
it; any other can be asked for 262,144 ticks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.clock import MICROSECOND_NS, SECOND_NS, Clock
from lib.net.reconnect import Connect
from lib.process.log_events import TicksMissed, log_event
from lib.streams.feed import StreamFeed
from lib.streams.stream_client import Frames, Joined, StreamClient, WentPlain, sent_times_ns
from lib.tape_files.parts import PartsWriter
from lib.wire.framing import split
from lib.wire.tick_codec import TickCodec, parse_sentiment

PART_FRAMES: Final = 131_072
"""So many frames are written at the latest: a few MB, in some 50 ms."""
PART_NS: Final = 5 * SECOND_NS
"""So long after it came, a frame is written at the latest."""

_TIME: Final = "make_timestamptz(sent_us)"
_TICKS: Final = f"""
    SELECT sequence, {_TIME} AS time, list_extract($symbols, symbol + 1) AS symbol,
        CAST(CAST(price AS DECIMAL(18, 0)) * CAST(0.00000001 AS DECIMAL(9, 8)) AS DECIMAL(18, 8))
        AS price, $tape AS tape
    FROM rows"""
_NEWS: Final = f"SELECT sequence, {_TIME} AS time, sentiment, $tape AS tape FROM rows"


class Rows(Protocol):
    """Decodes the frames of one stream, and writes them as a part of its file."""

    def write(self, tape: str, batches: list[Frames]) -> int:
        """Write the frames of batches whose numbers follow each other; return how many rows.

        Raises TapeError if they cannot be written.
        """


class StreamRecorder:
    """Records one stream. Is a `Timed` for the event loop; used from there only.

    Attributes:
        recorded: how many ticks or sentiments are written.
        missed: how many the server no longer had.
        client: what is received.

    """

    def __init__(
        self, stream: Literal["price", "news"], connect: Connect, rows: Rows, clock: Clock
    ) -> None:
        self.client: Final = StreamClient(may_be_plain=False)
        self.recorded = 0
        self.missed = 0
        self._stream = stream
        self._rows = rows
        self._clock = clock
        self._tape = ""
        self._kept: list[Frames] = []
        self._kept_frames = 0
        self._due_ns: int | None = None
        self.feed: Final = StreamFeed(
            stream,
            self.client,
            connect,
            on_begin=self._begin,
            on_frames=self._keep,
            clock=clock,
        )

    def next_deadline_ns(self) -> int | None:
        """When to write what is kept."""
        return self._due_ns

    def on_time(self, _now_ns: int) -> None:
        """Write what is kept."""
        self.flush()

    def flush(self) -> None:
        """Write what is kept. Raises TapeError."""
        if self._kept:
            self.recorded += self._rows.write(self._tape, self._kept)
        self._kept = []
        self._kept_frames = 0
        self._due_ns = None

    def _begin(self, event: Joined | WentPlain) -> None:
        assert isinstance(event, Joined)  # the client takes no other stream
        self.client.keep_all()
        self.flush()  # of another tape, or before a gap
        self._tape = event.tape
        if event.missed:
            first, last = event.missed
            self.missed += last - first + 1
            if self._stream == "price":
                missed = TicksMissed(first=first, last=last, where="gateway", tape=event.tape)
                log_event(structlog.get_logger(), missed)

    def _keep(self, batches: list[Frames]) -> None:
        self._kept += batches
        self._kept_frames += sum(batch.count for batch in batches)
        if self._due_ns is None:
            self._due_ns = self._clock() + PART_NS
        if self._kept_frames >= PART_FRAMES:
            self.flush()


class _PartRows:
    """What the rows of both streams have in common."""

    def __init__(self, parts: PartsWriter, wall_offset_ns: int) -> None:
        """`wall_offset_ns` is what to add to a monotonic time for the wall clock's."""
        self.skipped = 0
        """How many frames are not recorded, as they are not what belongs on the stream."""
        self.first_skipped = b""
        """The first of them."""
        self._parts = parts
        self._wall_offset_ns = wall_offset_ns

    def _skip(self, frames: Sequence[bytes]) -> None:
        if frames and not self.skipped:
            self.first_skipped = frames[0]
        self.skipped += len(frames)

    def _numbers_and_times(
        self, batches: list[Frames], offsets: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        sent_ns = np.broadcast_to(sent_times_ns(batches, offsets), offsets.shape)
        return {
            "sequence": offsets + batches[0].first,
            "sent_us": (sent_ns + self._wall_offset_ns) // MICROSECOND_NS,
        }


class TickRows(_PartRows):
    """The `Rows` of a price stream. Ticks of symbols that are not configured are skipped."""

    def __init__(self, parts: PartsWriter, wall_offset_ns: int, symbols: tuple[str, ...]) -> None:
        super().__init__(parts, wall_offset_ns)
        self._codec = TickCodec(symbols)
        self._symbols = list(symbols)

    def write(self, tape: str, batches: list[Frames]) -> int:
        """See `Rows.write`."""
        ticks = self._codec.decode(b"".join([batch.frames for batch in batches]))
        self._skip([*ticks.malformed.values(), *ticks.unknown.values()])
        if len(ticks.offsets):
            rows = self._numbers_and_times(batches, ticks.offsets)
            rows |= {"symbol": ticks.symbols.astype(np.int64), "price": ticks.prices}
            self._parts.write(_TICKS, rows, symbols=self._symbols, tape=tape)
        return len(ticks.offsets)


class SentimentRows(_PartRows):
    """The `Rows` of a news stream."""

    def write(self, tape: str, batches: list[Frames]) -> int:
        """See `Rows.write`."""
        offsets, sentiments = [], []
        for offset, frame in enumerate(split(b"".join([batch.frames for batch in batches]))):
            try:
                sentiments.append(parse_sentiment(frame))
                offsets.append(offset)
            except ValueError:
                self._skip([frame])
        if offsets:
            rows = self._numbers_and_times(batches, np.array(offsets, np.int64))
            rows["sentiment"] = np.array(sentiments, np.int64)
            self._parts.write(_NEWS, rows, tape=tape)
        return len(offsets)
