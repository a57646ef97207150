"""Ingest of ticks: from the price stream into the price book.

It has no state of its own: the price book says which tick is needed next, so a successor continues
where its predecessor ended.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from lib.clock import Clock
from lib.price_book.book import SharedPriceBook
from lib.process.log_events import MalformedFrames, TicksMissed, UnknownSymbols, log_event
from lib.process.throttled_log import ThrottledLog
from lib.streams.stream_client import Frames, Joined, StreamClient, WentPlain, sent_times_ns
from lib.text import shown
from lib.wire.framing import split
from lib.wire.malformed_frames import malformed_tick
from lib.wire.symbol_hints import MAX_COMPARED_CHARACTERS, SymbolHints
from lib.wire.tick_codec import MALFORMED, TickCodec
from lib.wire.ticks import PLAIN_TAPE

MIN_ARRAY_BYTES: Final = 640
"""From this many bytes of frames on, ticks are written as arrays, which has a fixed cost of 50 µs;
fewer are written one by one, which takes 1 µs each."""

_MOST_OF_A_SYMBOL: Final = MAX_COMPARED_CHARACTERS + 1
"""Bytes of an unknown symbol that are compared; one more than a hint needs shows that it is too
long."""


def client_for(book: SharedPriceBook) -> StreamClient:
    """Make the client of a price stream that continues where the book ends."""
    tape, next_sequence = book.resume_point()
    return StreamClient(
        tape=tape or None,
        next_sequence=next_sequence,
        may_be_plain=tape is None or tape == PLAIN_TAPE,
    )


class TickIngest:
    """Takes the events of a `StreamClient` made by `client_for`, and writes them into its book.

    `throttled_log` counts malformed frames and unknown symbols. Both methods raise what
    `SharedPriceBook.update_batch` does.
    """

    def __init__(
        self,
        book: SharedPriceBook,
        throttled_log: ThrottledLog,
        *,
        clock: Clock,
    ) -> None:
        self._book = book
        self._codec = TickCodec(book.symbols)
        self._hints = SymbolHints(book.symbols)  # takes long for many symbols: not while ticks wait
        self._throttled_log = throttled_log
        self._clock = clock
        self._log = structlog.get_logger()
        self._malformed: dict[int, bytes] = {}
        """Frames that cannot be parsed of a small batch, by sequence, until it is written."""
        self._unknown: dict[int, bytes] = {}
        """Frames with an unknown symbol of a small batch, by sequence, until it is written."""

    def begin(self, event: Joined | WentPlain) -> None:
        """Begin the stream, perhaps with a new tape; log the ticks that are lost before it."""
        if isinstance(event, WentPlain):
            if self._book.resume_point().tape != PLAIN_TAPE:
                self._book.begin_epoch(PLAIN_TAPE)
            return
        if event.new_tape:
            self._book.begin_epoch(event.tape)
        if event.missed:
            first, last = event.missed
            log_event(
                self._log,
                TicksMissed(first=first, last=last, where="gateway", tape=event.tape),
            )

    def ingest_frames(self, batches: list[Frames]) -> None:
        """Write batches whose numbers follow each other, as one batch."""
        frames = b"".join([batch.frames for batch in batches])
        if len(frames) < MIN_ARRAY_BYTES:
            self._ingest_few(batches)
        else:
            self._ingest_many(batches, frames)

    def _ingest_few(self, batches: list[Frames]) -> None:
        ticks = []
        for batch in batches:
            for sequence, message in enumerate(split(batch.frames), batch.first):
                symbol, price = self._codec.read(message)
                if symbol >= 0:
                    ticks.append((symbol, price, sequence, batch.sent_ns))
                elif symbol == MALFORMED:
                    self._malformed[sequence] = message
                else:
                    self._unknown[sequence] = message
        self._book.update_few(ticks)
        if self._malformed or self._unknown:
            self._count(0, self._malformed, self._unknown)
            self._malformed.clear()
            self._unknown.clear()

    def _ingest_many(self, batches: list[Frames], frames: bytes) -> None:
        first = batches[0].first
        ticks = self._codec.decode(frames)
        if len(ticks.offsets):
            self._book.update_batch(
                ticks.symbols,
                ticks.prices,
                ticks.offsets + first,
                sent_times_ns(batches, ticks.offsets),
            )
        if ticks.malformed or ticks.unknown:
            self._count(first, ticks.malformed, ticks.unknown)

    def _count(self, first: int, malformed: dict[int, bytes], unknown: dict[int, bytes]) -> None:
        """Count frames that are no ticks of the book. Their keys count from sequence `first`."""
        now_ns = self._clock()
        if malformed:
            examples = (malformed_tick(first + n, frame) for n, frame in malformed.items())
            self._throttled_log.add_many(MalformedFrames, now_ns, len(malformed), examples)
        if unknown:
            # Cut, because the log keeps them for a while: a frame may be one symbol of 64 KiB.
            symbols = [frame[:_MOST_OF_A_SYMBOL].partition(b",")[0] for frame in unknown.values()]
            counts: dict[bytes, int] = {}
            for symbol in symbols:
                counts[symbol] = counts.get(symbol, 0) + 1

            def describe(symbol: bytes) -> dict[str, Any]:
                return {
                    "symbol": shown(symbol),
                    "sequence": first + list(unknown)[symbols.index(symbol)],
                    "reason": self._hints.hint(symbol.decode(errors="replace")),
                }

            self._throttled_log.add_by_kind(UnknownSymbols, now_ns, counts, describe)
