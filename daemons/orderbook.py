"""OrderBook: keeps the price book current.

Takes ticks from the gateway's price stream and writes them, batch by batch, into shared memory.
It has no state of its own: which tick it needs next stands in the price book, so a successor goes
on where it ended, wherever that was.
"""

from __future__ import annotations

import time

import structlog

from lib.errors import CannotStartError
from lib.event_loop import EventLoop
from lib.role import run_role
from lib.run import OrphanedError, current_run, is_alive
from lib.segment_keeper import keep_until_run_ends
from lib.settings import Settings
from lib.shared_memory_utils import PriceBookError, SharedPriceBook, remove_segments
from lib.stream_client import Frames, Joined, StreamClient, WentPlain
from lib.stream_feed import StreamFeed
from lib.tally import Tally
from lib.tick_codec import DecodedTicks, TickCodec

PLAIN_TAPE = ""
"""The epoch of a stream whose server does not number its ticks."""


class OrderBook:
    """The role: one connection in, one price book out."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._codec = TickCodec(settings.symbols)
        self._book = _open_book(settings)
        tape, next_sequence = self._book.resume_point()
        client = StreamClient(
            tape=tape or None,
            next_sequence=next_sequence,
            may_be_plain=tape is None or tape == PLAIN_TAPE,
        )
        address = (settings.gateway.host, settings.gateway.price_port)
        feed = StreamFeed(
            loop, "price", address, client, on_begin=self._begin, on_frames=self._book_frames
        )
        self._tally = Tally(stream="price", peer=feed.peer)
        loop.add_timed(self._tally)

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()

    def close(self) -> None:
        """Let go of the price book. It stays: the keeper removes it when the run ends."""
        self._tally.on_time(time.monotonic_ns())
        self._book.close()

    def _begin(self, event: Joined | WentPlain) -> None:
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

    def _book_frames(self, event: Frames) -> None:
        ticks = self._codec.decode(event.frames)
        if len(ticks.offsets):
            self._write(event, ticks)
        for what, offsets in (
            ("malformed_frames", ticks.malformed),
            ("unknown_symbols", ticks.unknown),
        ):
            if offsets:
                numbers = [event.first + offset for offset in offsets]
                self._tally.add(what, time.monotonic_ns(), numbers)

    def _write(self, event: Frames, ticks: DecodedTicks) -> None:
        try:
            self._book.update_batch(
                ticks.symbols, ticks.prices, ticks.offsets + event.first, event.sent_ns
            )
        except PriceBookError as error:  # somebody removed the segment: a successor makes it anew
            raise CannotStartError(str(error)) from None


def _open_book(settings: Settings) -> SharedPriceBook:
    name, capacity = settings.price_book.name, settings.price_book.ring_capacity
    run = current_run()
    try:
        keep_until_run_ends(name, run)
        book = SharedPriceBook(settings.symbols, name, ring_capacity=capacity)
        book.become_writer()
    except PriceBookError as error:
        raise CannotStartError(f"price_book.name: {error}") from None
    if not is_alive(run):  # its keeper may have been here before the segment was
        remove_segments(name)
        raise OrphanedError
    return book


if __name__ == "__main__":
    run_role("orderbook", OrderBook)
