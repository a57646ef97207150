"""The booking of ticks: from the price stream into the price book.

It has no state of its own: which tick is needed next stands in the price book, so a successor goes
on where its predecessor ended, wherever that was.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.clock import Clock
from lib.framing import split
from lib.shared_memory_utils import SharedPriceBook
from lib.stream_client import Frames, Joined, StreamClient, WentPlain
from lib.tally import Tally
from lib.tick_codec import MALFORMED, UNKNOWN, TickCodec

MIN_ARRAY_BYTES: Final = 640
"""So many bytes of frames are booked as arrays, which has a fixed cost of 50 µs; fewer, some 50
ticks, are booked one by one, which takes 1 µs for each."""

PLAIN_TAPE: Final = ""
"""The epoch of a stream whose server does not number its ticks."""

_ODDITIES: Final = {MALFORMED: "malformed_frames", UNKNOWN: "unknown_symbols"}
"""Events in the log."""


def client_for(book: SharedPriceBook) -> StreamClient:
    """Make the client of a price stream that goes on where the book ends."""
    tape, next_sequence = book.resume_point()
    return StreamClient(
        tape=tape or None,
        next_sequence=next_sequence,
        may_be_plain=tape is None or tape == PLAIN_TAPE,
    )


class Booking:
    """Takes the events of a `StreamClient` made by `client_for`, and writes them into its book.

    `tally` counts what is no tick. Both methods raise what `SharedPriceBook.update_batch` does.
    """

    def __init__(
        self, book: SharedPriceBook, tally: Tally, *, clock: Clock = time.monotonic_ns
    ) -> None:
        self._book = book
        self._codec = TickCodec(book.symbols)
        self._tally = tally
        self._clock = clock
        self._log = structlog.get_logger()

    def begin(self, event: Joined | WentPlain) -> None:
        """The stream begins: perhaps of a new tape, perhaps with ticks gone that were needed."""
        if isinstance(event, WentPlain):
            if self._book.resume_point().tape != PLAIN_TAPE:
                self._book.begin_epoch(PLAIN_TAPE)
            return
        if event.new_tape:
            self._book.begin_epoch(event.tape)
        if event.missed:
            first, last = event.missed
            self._log.warning(
                "ticks_missed", first=first, last=last, where="gateway", tape=event.tape
            )

    def book_frames(self, batches: list[Frames]) -> None:
        """Ticks came: batches whose numbers follow each other, booked as one."""
        frames = b"".join([batch.frames for batch in batches])
        if len(frames) < MIN_ARRAY_BYTES:
            self._book_few(batches)
        else:
            self._book_many(batches, frames)

    def _book_few(self, batches: list[Frames]) -> None:
        ticks = []
        for batch in batches:
            for sequence, message in enumerate(split(batch.frames), batch.first):
                symbol, price = self._codec.read(message)
                if symbol >= 0:
                    ticks.append((symbol, price, sequence, batch.sent_ns))
                else:
                    self._tally.add(_ODDITIES[symbol], self._clock(), [sequence])
        self._book.update_few(ticks)

    def _book_many(self, batches: list[Frames], frames: bytes) -> None:
        first = batches[0].first
        ticks = self._codec.decode(frames)
        if len(ticks.offsets):
            self._book.update_batch(
                ticks.symbols, ticks.prices, ticks.offsets + first, _sent_ns(batches, ticks.offsets)
            )
        for what, offsets in ((MALFORMED, ticks.malformed), (UNKNOWN, ticks.unknown)):
            if offsets:
                numbers = [first + offset for offset in offsets]
                self._tally.add(_ODDITIES[what], self._clock(), numbers)


def _sent_ns(batches: list[Frames], offsets: NDArray[np.int64]) -> NDArray[np.int64] | int:
    """When each of the ticks was sent, or all of them."""
    if len(batches) == 1:
        return batches[0].sent_ns
    of_all = np.repeat([batch.sent_ns for batch in batches], [batch.count for batch in batches])
    return of_all[offsets]
