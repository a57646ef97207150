"""OrderBook: keeps the price book current.

Takes ticks from the gateway's price stream and writes them, batch by batch, into shared memory. How
it does that is `lib.price_book.ingest`'s; here the price book is opened and the connection is made.
"""

from __future__ import annotations

import time
from functools import partial

from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.reconnect import ReconnectingConnection
from lib.net.throttled_log import ThrottledLog
from lib.price_book.clean_up import keep_until_run_ends
from lib.price_book.ingest import Booking, client_for
from lib.process.role import run_role
from lib.process.run_identity import OrphanedError, current_run, is_alive
from lib.settings import Settings
from lib.shared_memory_utils import PriceBookError, SharedPriceBook, remove_segments
from lib.streams.client import Frames
from lib.streams.feed import StreamFeed


class OrderBook:
    """The role: one connection in, one price book out."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._book = _open_book(settings)
        gateway = settings.gateway
        connect = partial(ReconnectingConnection, loop, gateway.host, gateway.price_port)
        self._throttled_log = ThrottledLog(
            stream="price", peer=f"{gateway.host}:{gateway.price_port}"
        )
        self._booking = Booking(self._book, self._throttled_log)
        feed = StreamFeed(
            "price",
            client_for(self._book),
            connect,
            on_begin=self._booking.begin,
            on_frames=self._book_frames,
        )
        for timed in (feed, self._throttled_log):
            loop.add_timed(timed)

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()

    def close(self) -> None:
        """Let go of the price book. It stays: the keeper removes it when the run ends."""
        self._throttled_log.on_time(time.monotonic_ns())
        self._book.close()

    def _book_frames(self, batches: list[Frames]) -> None:
        try:
            self._booking.book_frames(batches)
        except PriceBookError as error:  # somebody removed the segment: a successor makes it anew
            raise CannotStartError(str(error)) from None


def _open_book(settings: Settings) -> SharedPriceBook:
    name, capacity = settings.price_book.name, settings.price_book.ring_capacity
    run = current_run()
    try:
        keep_until_run_ends(name, run)
        book = SharedPriceBook(settings.symbols, name, ring_capacity=capacity, run=run)
        book.become_writer()
    except PriceBookError as error:
        raise CannotStartError(f"price_book.name: {error}") from None
    if not is_alive(run):  # its keeper may have been here before the segment was
        remove_segments(name)
        raise OrphanedError
    return book


if __name__ == "__main__":
    run_role("orderbook", OrderBook)
