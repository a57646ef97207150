"""OrderBook: keeps the price book current.

Takes ticks from the gateway's price stream and writes them, batch by batch, into shared memory.
It has no state of its own: which tick it needs next stands in the price book, so a successor goes
on where it ended, wherever that was.
"""

from __future__ import annotations

import time

import numpy as np
import structlog

from lib.errors import CannotStartError
from lib.event_loop import EventLoop
from lib.framing import MessageTooLongError
from lib.reconnect import ReconnectingConnection
from lib.role import run_role
from lib.run import current_run
from lib.segment_keeper import keep_until_run_ends
from lib.settings import Settings
from lib.shared_memory_utils import PriceBookError, SharedPriceBook
from lib.stream_client import Frames, Joined, StreamClient, WentPlain
from lib.stream_messages import ProtocolError
from lib.tally import Tally
from lib.tick_codec import TickCodec

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
        self._client = StreamClient(
            tape=tape or None,
            next_sequence=next_sequence,
            may_be_plain=tape is None or tape == PLAIN_TAPE,
        )
        gateway = settings.gateway
        self._connection = ReconnectingConnection(
            loop,
            gateway.host,
            gateway.price_port,
            on_open=self._on_open,
            on_data=self._on_data,
            on_lost=self._on_lost,
        )
        self._tally = Tally(stream="price", peer=self._connection.peer)
        loop.add_timed(self._tally)
        loop.add_timed(self)

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()

    def close(self) -> None:
        """Let go of the price book. It stays: the keeper removes it when the run ends."""
        self._book.close()

    def next_deadline_ns(self) -> int | None:
        """When silence on the stream becomes death."""
        return self._client.next_deadline_ns()

    def on_time(self, _now_ns: int) -> None:
        """The stream is dead."""
        self._connection.drop(self._client.silence_reason())

    def _on_open(self) -> None:
        self._connection.send(self._client.connected(time.monotonic_ns()))

    def _on_lost(self, reason: str) -> None:
        self._client.disconnected()
        self._log.warning(
            "disconnected",
            stream="price",
            peer=self._connection.peer,
            reason=reason,
            next_sequence=self._client.next_sequence,
        )

    def _on_data(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        try:
            for event in self._client.receive(data, now_ns):
                if isinstance(event, Frames):
                    self._book_frames(event, now_ns)
                else:
                    self._begin(event)
        except (ProtocolError, MessageTooLongError) as error:
            self._log.error(
                "protocol_error", stream="price", peer=self._connection.peer, reason=str(error)
            )
            self._connection.drop(f"protocol error: {error}")

    def _begin(self, event: Joined | WentPlain) -> None:
        """The stream begins: perhaps of a new tape, perhaps with ticks gone that were needed."""
        self._connection.proved()
        if isinstance(event, Joined):
            tape, new_tape, missed = event.tape, event.new_tape, event.missed
        else:
            tape, missed = PLAIN_TAPE, None
            new_tape = self._book.resume_point()[0] != PLAIN_TAPE
        if new_tape:
            self._book.begin_epoch(tape)
        self._log.info(
            "connected",
            stream="price",
            peer=self._connection.peer,
            tape=tape,
            first=event.first,
            missed=missed[1] - missed[0] + 1 if missed else 0,
        )
        if missed:
            self._log.warning(
                "ticks_missed", first=missed[0], last=missed[1], where="gateway", tape=tape
            )

    def _book_frames(self, event: Frames, now_ns: int) -> None:
        ticks = self._codec.decode(event.frames)
        if len(ticks.offsets):
            self._book.update_batch(
                ticks.symbols,
                ticks.prices,
                ticks.offsets + event.first,
                np.full(len(ticks.offsets), event.sent_ns, np.int64),
            )
        if ticks.malformed:
            self._tally.add(
                "malformed_frames", now_ns, [event.first + offset for offset in ticks.malformed]
            )
        if ticks.unknown:
            self._tally.add(
                "unknown_symbols", now_ns, [event.first + offset for offset in ticks.unknown]
            )


def _open_book(settings: Settings) -> SharedPriceBook:
    name, capacity = settings.price_book.name, settings.price_book.ring_capacity
    try:
        keep_until_run_ends(name, current_run())
        book = SharedPriceBook(settings.symbols, name, ring_capacity=capacity)
        book.become_writer()
    except PriceBookError as error:
        raise CannotStartError(f"price_book.name: {error}") from None
    return book


if __name__ == "__main__":
    run_role("orderbook", OrderBook)
