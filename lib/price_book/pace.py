"""The pace at which ticks are taken where nothing else sets one: that of the slowest role.

The writer of a price book never waits for a reader. So it is before the ticks are received that the
orderbook waits: what is not received stays in the kernel, and by the contract of the price stream
its slowest numbered client sets the pace of a gateway without a rate.

`ReaderPace` decides, and is pure; `ReaderPacing` gives it the places of the roles and the time, and
limits what is received.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from lib.clock import MILLISECOND_NS, SECOND_NS, Clock
from lib.price_book.book import SharedPriceBook
from lib.wire.framing import RECEIVE_BYTES

MOST_BEHIND_TICKS: Final = 32_768
"""How far the slowest role may be behind, or half of a smaller ring: two passes of a quick strategy
(`lib.trading.evaluator.TICKS_A_PASS`), so that it always has some to read. A larger number would
not make it quicker, and a slow one would get older ticks."""
ROOM_SHARE: Final = 4
"""Ticks are received again when a quarter of that is free: fewer would cost a receive for a few."""
READER_STALL_LIMIT_NS: Final = 3 * SECOND_NS
"""A role that is behind and has made no progress for so long is no longer waited for, until it
does. Where the watchdog allows a role more time, that applies: see KILLED_NS."""
KILLED_NS: Final = 1 * SECOND_NS
"""How much longer than `[watchdog] hang_after` to wait at least: a strategy that hangs is killed
before, and one that is only slow loses no tick."""
LOOK_NS: Final = 1 * MILLISECOND_NS
"""How often to look for progress while nothing is received."""
LEAST_FRAME_BYTES: Final = 4
"""The shortest tick on the stream is `A,1*`: so many bytes are at most one tick."""


class ReaderPace:
    """Decides how many ticks may be written, so that no role is lapped that still moves."""

    def __init__(self, ring_capacity: int, hang_after_ns: int) -> None:
        """`hang_after_ns`: when the watchdog kills a role without progress; 0: never."""
        self._stall_limit_ns = max(READER_STALL_LIMIT_NS, hang_after_ns + KILLED_NS)
        self._most_behind = min(MOST_BEHIND_TICKS, ring_capacity // 2)
        self._behind: dict[int, tuple[int, int]] = {}
        """By reader, of those that are behind: its position, and since when it is there."""

    def room(self, newest: int, reached: Mapping[int, int], now_ns: int) -> int:
        """Return how many ticks may be written before the next call; 0: ask again later.

        `newest` is the position of the newest tick in the book, `reached` those of the readers.
        """
        behind = {}
        room = self._most_behind
        for reader, position in reached.items():
            if position >= newest:
                continue
            since_ns = now_ns
            if reader in self._behind and self._behind[reader][0] == position:
                since_ns = self._behind[reader][1]
            behind[reader] = position, since_ns
            if now_ns - since_ns < self._stall_limit_ns:
                room = min(room, self._most_behind - (newest - position))
        self._behind = behind
        return room if room > 0 and room >= self._most_behind // ROOM_SHARE else 0


class ReaderPacing:
    """Limits what the orderbook receives to the pace of the slowest role.

    Is a `Timed` for the event loop; used from there only.
    """

    def __init__(
        self,
        book: SharedPriceBook,
        limit_receiving: Callable[[int], None],
        clock: Clock,
        hang_after_ns: int,
    ) -> None:
        """`limit_receiving(most_bytes)` limits the next receives; 0 stops them.

        `hang_after_ns` as for `ReaderPace`.
        """
        self._book = book
        self._pace = ReaderPace(book.ring_capacity, hang_after_ns)
        self._limit_receiving = limit_receiving
        self._clock = clock
        self._look_ns: int | None = None
        self.look()

    def look(self) -> None:
        """Set how much may be received. After each write of ticks."""
        now_ns = self._clock()
        room = self._pace.room(self._book.position, self._book.reached(), now_ns)
        self._limit_receiving(min(room * LEAST_FRAME_BYTES, RECEIVE_BYTES))
        self._look_ns = None if room else now_ns + LOOK_NS

    def next_deadline_ns(self) -> int | None:
        """When to look for progress, while nothing is received."""
        return self._look_ns

    def on_time(self, _now_ns: int) -> None:
        """Look whether the roles have moved on, or are gone."""
        self._book.forget_dead_roles()
        self.look()
