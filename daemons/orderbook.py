"""OrderBook: keeps the price book current.

Takes ticks from the gateway's price stream and writes them, batch by batch, into shared memory. The
work is done in `lib.price_book.ingest`; here the price book is opened and the parts are connected.

A tape from a file may be over within milliseconds. So that no strategy misses its beginning, the
orderbook of a new run joins such a stream only when the strategies wait for its ticks: those of the
settings that supervisord starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

import structlog

from lib.clock import MILLISECOND_NS, SECOND_NS, Clock, coarse_deadline, to_ns
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.reconnect import ReconnectingConnection
from lib.price_book.clean_up import clean_up_when_run_ends
from lib.price_book.ingest import TickIngest, client_for
from lib.price_book.pace import ReaderPacing
from lib.process.log_events import FirstTickNotAwaited, PriceBookLost, log_event
from lib.process.role import RoleEndsError, run_role
from lib.process.run_identity import OrphanedError, current_run, is_alive
from lib.process.supervisor import (
    SERVER_VARIABLE,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from lib.process.throttled_log import ThrottledLog
from lib.settings import Settings
from lib.shared_memory_utils import PriceBookError, SharedPriceBook, remove_segments
from lib.stack.strategies import stack_strategies, strategy_commands
from lib.streams.feed import StreamFeed
from lib.streams.stream_client import Frames, Joined, WentPlain

FILES_LOOK_NS: Final = 200 * MILLISECOND_NS
"""How often to look whether the files of the price book are still there, at most twice as long."""
ATTACHED_LOOK_NS: Final = 10 * MILLISECOND_NS
"""How often to look whether the strategies are attached, before the first tick."""
ATTACHED_LIMIT_NS: Final = 10 * SECOND_NS
"""How long the first tick waits for them, from the start of the orderbook: a strategy whose signal
takes longer to load begins in the middle of the tape."""


class OrderBook:
    """The role: one connection in, one price book out."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._book, is_new = _open_book(settings)
        gateway = settings.gateway
        self._connect = partial(ReconnectingConnection, loop, gateway.host, gateway.price_port)
        self._is_paced = bool(gateway.rate)
        self._hang_after_ns = to_ns(settings.watchdog.hang_after)
        self._pacing: ReaderPacing | None = None
        self._throttled_log = ThrottledLog(
            stream="price", peer=f"{gateway.host}:{gateway.price_port}"
        )
        self._ingest = TickIngest(self._book, self._throttled_log, clock=loop.clock)
        self._files_look_ns = loop.clock()
        for timed in (self._throttled_log, self):
            loop.add_timed(timed)
        if is_new and gateway.source != "random-walk":
            awaited = _awaited_strategies(settings)
            loop.add_timed(FirstTick(self._book, awaited, self._join, loop.clock))
        else:
            self._join()

    def _join(self) -> None:
        """Connect to the price stream."""
        feed = StreamFeed(
            "price",
            client_for(self._book),
            self._connect,
            on_begin=self._begin,
            on_frames=self._ingest_frames,
            clock=self._loop.clock,
        )
        self._loop.add_timed(feed)
        if not self._is_paced:
            self._pacing = ReaderPacing(
                self._book, feed.limit_receiving, self._loop.clock, self._hang_after_ns
            )
            self._loop.add_timed(self._pacing)

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()

    def close(self) -> None:
        """Close the price book. The segment stays until the run ends."""
        self._throttled_log.on_time(self._loop.clock())
        self._book.close()

    def next_deadline_ns(self) -> int:
        """When to look whether the files of the price book are still there."""
        return coarse_deadline(self._loop.clock(), self._files_look_ns, FILES_LOOK_NS)

    def on_time(self, now_ns: int) -> None:
        """End if a file of the price book is lost: a successor makes it anew."""
        self._files_look_ns = now_ns + FILES_LOOK_NS
        if loss := self._book.loss():
            self._book.retire()
        elif self._book.retired:
            loss = f"{self._book.name} is retired: a process was to remove or replace it, and died"
        if loss := loss or self._book.lock_loss():
            self._end(loss)

    def _begin(self, event: Joined | WentPlain) -> None:
        try:
            self._ingest.begin(event)
        except PriceBookError as error:
            self._end(self._book.loss() or str(error))

    def _ingest_frames(self, batches: list[Frames]) -> None:
        try:
            self._ingest.ingest_frames(batches)
            if self._pacing:
                self._pacing.look()
        except PriceBookError as error:  # retired by another process, as it was lost or removed
            self._end(self._book.loss() or str(error))

    def _end(self, loss: str) -> NoReturn:
        raise RoleEndsError(PriceBookLost(price_book=self._book.name, reason=loss))


class FirstTick:
    """Waits until so many strategies are attached to a new price book, then calls `join`, once.

    Is a `Timed` for the event loop.
    """

    def __init__(
        self, book: SharedPriceBook, awaited: int, join: Callable[[], None], clock: Clock
    ) -> None:
        self._book = book
        self._awaited = awaited
        self._join = join
        self._limit_ns = clock() + ATTACHED_LIMIT_NS
        self._look_ns: int | None = clock()

    def next_deadline_ns(self) -> int | None:
        """When to look whether they are attached."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Look whether they are attached, or are no longer waited for."""
        self._book.forget_dead_roles()
        attached = len(self._book.reached())
        if attached < self._awaited and now_ns < self._limit_ns:
            self._look_ns = now_ns + ATTACHED_LOOK_NS
            return
        self._look_ns = None
        if attached < self._awaited:
            waited_s = ATTACHED_LIMIT_NS // SECOND_NS
            reason = (
                f"{attached} of {self._awaited} strategies are attached after {waited_s} s: those "
                "that come later miss the beginning of the tape"
            )
            log_event(structlog.get_logger(), FirstTickNotAwaited(reason=reason))
        self._join()


def _awaited_strategies(settings: Settings) -> int:
    """Return how many strategies will attach: all of the settings, or those supervisord starts."""
    if socket_path := control_socket(os.environ.get(SERVER_VARIABLE, "")):
        with suppress(SupervisorSilentError, SupervisorEndingError):
            commands = Supervisor(socket_path).commands()
            return len(stack_strategies(settings, strategy_commands(commands)).run)
    return len(settings.all_strategies())


def _open_book(settings: Settings) -> tuple[SharedPriceBook, bool]:
    """Open the price book as its writer; return also whether this run has no tape in it yet."""
    name, capacity = settings.price_book.name, settings.price_book.ring_capacity
    run = current_run()
    try:
        clean_up_when_run_ends(name, run)
        book = SharedPriceBook(settings.symbols, name, ring_capacity=capacity, run=run)
        is_new = book.run != run or book.resume_point().tape is None
        book.become_writer()
    except PriceBookError as error:
        raise CannotStartError(str(error)) from None
    if not is_alive(run):  # the clean-up may have come before the segment
        with suppress(OSError):  # a file of another user stays
            remove_segments(name)
        raise OrphanedError
    return book, is_new


if __name__ == "__main__":
    run_role("orderbook", OrderBook)
