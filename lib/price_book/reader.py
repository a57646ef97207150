"""Reading every tick of the price book, in order, without a lock.

A reader copies first and verifies its private copy afterwards: it knows which position it expects
in a slot, and `records` checks whether the words of a record belong together. Missing ticks are
reported by position. How a reader sleeps: `wake_up`.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.price_book.records import (
    BLOCK_TICKS,
    MAX_WORD,
    SMALL_BATCH,
    are_overwritten,
    copy_of_ring,
    record_check,
    which_are_whole,
)
from lib.price_book.segment import MAX_POSITION, PUBLISHED, RECORD_WORDS, Segment
from lib.price_book.segment_files import fifo_prefix
from lib.price_book.wake_up import FOR_ROLES, MAX_SLEEP_S, POLL_S, Poller, Sleeper, planted
from lib.process.log_events import ReaderPolls, log_event
from lib.wire.span import Span
from lib.wire.ticks import TICK, PlainTick

READ_TICKS: Final = 32_768
"""The most ticks that one `read` returns, unless asked otherwise."""
_READ_ATTEMPTS: Final = 8
"""How often a reader looks again at a published record that fails its check."""


class Batch(NamedTuple):
    """What one read returns: the ticks that were lost, then the ticks that follow them."""

    ticks: NDArray[np.void]
    """Structured array of `TICK` (position, sequence, price, sent_ns, symbol, epoch); a private
    copy. `symbol` is the index in `symbols`, prices are in units of 10⁻⁸."""
    missed: Span | None
    """The positions of the ticks lost between the last batch and this one."""


class PriceBookReader:
    """A place in the stream of ticks. For one thread of one process; any number may read.

    To wait for ticks together with sockets:

        selector.register(reader, EVENT_READ)
        while True:
            selector.select(MAX_SLEEP_S if reader.arm() else 0)
            batch = reader.read()

    A reader that sleeps takes one of `wake_up.SLOTS` wake-up slots; some of them are reserved for
    the roles of the stack. A reader that finds none free is used in the same way: it wakes every
    `wake_up.POLL_S` to look for ticks, until it gets a slot, and logs `reader_polls` once. A reader
    that only calls `read` uses no slot.

    At each `arm`, a role with a slot says how far it has come: its position then is that of the
    last tick that it is done with (`SharedPriceBook.reached`).
    """

    def __init__(self, segment: Segment, position: int | None, slots: range, book: object) -> None:
        """Read the ticks after `position`; see `SharedPriceBook.reader`.

        `slots` are the wake-up slots that it may take.
        """
        self._segment = segment
        self._book = book  # kept alive: a book that is collected closes its segment
        self._slots = slots
        self._capacity = segment.layout.ring_capacity
        self._ring_word = segment.ring_word
        self._symbol_count = len(segment.layout.symbols)
        self._fence = threading.Lock()
        self._sleeper: Sleeper | Poller | None = None
        self._poller: Poller | None = None  # the sleeper, while it has no slot
        self._flags: memoryview | bytearray = segment.waiting
        self._slot = 0
        self._reached: memoryview | list[int] = [0]  # one that the writer does not read
        self._reached_word = 0
        self._armed = False
        published = segment.words[PUBLISHED]
        if position is None:
            position = published
        elif position == 0:
            position = max(0, published - self._capacity)
        elif not 0 < position <= published:
            raise ValueError(
                f"price book {segment.name} has ticks up to position {published}; "
                f"position {position} must be that of another segment"
            )
        self._position = position

    @property
    def position(self) -> int:
        """The position of the last tick that was read or missed."""
        return self._position

    def return_to(self, position: int) -> None:
        """Continue after `position`: read ticks again, if the ring still has them, or skip some.

        `position` is at most that of the newest tick of the book.
        """
        self._position = position

    @property
    def retired(self) -> bool:
        """Whether the segment has been replaced or removed: read the rest, attach again."""
        return self._segment.retired

    def tape(self, epoch: int) -> str:
        """Return the tape of an epoch, as `SharedPriceBook.tape` does."""
        return self._segment.tape(epoch)

    def read(self, max_ticks: int = READ_TICKS) -> Batch:
        """Return the next ticks, in order; none if there are none. Never waits.

        Says exactly which ticks were lost: overwritten before this read (the ring lapped the
        reader), or destroyed by a writer that was killed while it stored. Ends a wait that `arm`
        began.
        """
        if self._armed:
            self.disarm()
        segment = self._segment
        for _ in range(_READ_ATTEMPTS):
            published = segment.words[PUBLISHED]
            first = max(self._position + 1, published - self._capacity + 1)
            count = min(published + 1 - first, max_ticks)
            if count <= 0 or published > MAX_POSITION:
                return Batch(np.empty(0, TICK), None)
            records = copy_of_ring(segment.ring, first, count)
            whole = b"".join(
                which_are_whole(records[i : i + BLOCK_TICKS], first + i, self._symbol_count)
                for i in range(0, count, BLOCK_TICKS)
            )
            begin = whole.find(1)
            if begin < 0:
                begin = count
            if are_overwritten(records[:begin], first):
                break  # lost for good
            # A published record fails its check and is not overwritten: its stores are not visible
            # yet, or it is being overwritten, or the writer was killed or stopped doing that.
        end = whole.find(0, begin)
        if end < 0:
            end = count
        lost_from = self._position + 1
        self._position = first - 1 + end
        return Batch(
            records[begin:end].view(TICK)[:, 0],
            Span(lost_from, first - 1 + begin) if first + begin > lost_from else None,
        )

    def read_few(self) -> list[PlainTick]:
        """Return the next ticks, without an array, if they are few and all of them are complete.

        For one it takes a third of the time of `read`. After an empty list call `read`: there may
        be no ticks, or many, or some may be lost. Ends a wait as `read` does.
        """
        if self._armed:
            self.disarm()
        segment = self._segment
        words, capacity, ring_word = segment.words, self._capacity, self._ring_word
        first, published = self._position + 1, words[PUBLISHED]
        if published - self._position > min(SMALL_BATCH, capacity):
            return []
        ticks = []
        for position in range(first, published + 1):
            at = ring_word + position % capacity * RECORD_WORDS
            # A copy, as in `read`: the checks below see values that no longer change.
            found, sequence, price, sent_ns, symbol_epoch, check = words[
                at : at + RECORD_WORDS
            ].tolist()
            symbol = symbol_epoch & 0xFFFFFFFF
            if (
                found != position
                or check != record_check(found, sequence, price, sent_ns, symbol_epoch)
                or symbol >= self._symbol_count
                or (sequence | price | sent_ns | symbol_epoch) > MAX_WORD
            ):
                return []
            ticks.append((position, sequence, price, sent_ns, symbol, symbol_epoch >> 32))
        self._position += len(ticks)
        return ticks

    def arm(self) -> bool:
        """Announce a sleep on `fileno`.

        False: do not sleep, there are ticks to read already, or the segment is retired.
        """
        if self._sleeper is None:
            self._find_slot()
        elif self._poller is not None:
            self._look_for_slot_again(self._poller)
        self._flags[self._slot] = 1
        self._reached[self._reached_word] = self._position + 1
        self._armed = True
        with self._fence:
            pass
        if self._position < self._segment.words[PUBLISHED] <= MAX_POSITION or self.retired:
            self.disarm()
            return False
        return True

    def disarm(self) -> None:
        """Undo `arm`, and drain the wake-up if it has come. `read` calls it."""
        if self._sleeper is None:
            return
        self._armed = False
        self._flags[self._slot] = 0
        self._sleeper.drain()

    def fileno(self) -> int:
        """Return the descriptor that a wake-up makes readable, for a selector.

        It changes only with `close`.
        """
        return (self._sleeper or self._find_slot()).fileno()

    def has_lost_its_fifo(self) -> bool:
        """Whether the FIFO that wakes it was removed: `close` it, and it takes a slot again."""
        return self._sleeper is not None and self._sleeper.is_lost()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there are ticks to read, or the segment is retired, or the time is up.

        Returns False only if the time is up.
        """
        deadline = time.monotonic() + timeout_s
        poll = _poll_of(self.fileno())
        while self.arm():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self.disarm()
                return False
            is_woken = poll.poll(1000 * min(left_s, MAX_SLEEP_S))
            self.disarm()
            if not is_woken and self.has_lost_its_fifo():
                self.close()
                poll = _poll_of(self.fileno())
        return True

    def close(self) -> None:
        """Give the wake-up slot back. May be called again; the book stays open."""
        if self._sleeper is not None:
            with suppress(ValueError):  # the book is closed already
                self._flags[self._slot] = 0
                self._reached[self._reached_word] = 0
            self._sleeper.close()
            self._sleeper = self._poller = None
            self._armed = False

    def _find_slot(self) -> Sleeper | Poller:
        """Take a wake-up slot if one is free; poll if none is."""
        segment = self._segment
        sleeper = Sleeper.claim(fifo_prefix(segment.name), self._slots)
        if sleeper is not None:
            self._take_slot(sleeper.slot)
            self._sleeper = sleeper
            _sleeping_readers.add(self)
            return sleeper
        self._flags, self._slot = bytearray(1), 0  # a flag that no writer reads
        self._reached, self._reached_word = [0], 0
        self._sleeper = self._poller = Poller()
        _sleeping_readers.add(self)
        reason = (
            f"none of the {len(self._slots)} wake-up slots it may take is free; until one "
            f"is, it looks for ticks every {1000 * POLL_S:g} ms"
        )
        if foreign := planted(fifo_prefix(segment.name), self._slots):
            reason += f"; {len(foreign)} of them are files that are not ours, such as {foreign[0]}"
        log_event(structlog.get_logger(), ReaderPolls(price_book=segment.name, reason=reason))
        return self._poller

    def _take_slot(self, slot: int) -> None:
        self._flags, self._slot = self._segment.waiting, slot
        if self._slots == FOR_ROLES:
            self._reached, self._reached_word = self._segment.reached, slot
            self._reached[slot] = self._position + 1

    def _look_for_slot_again(self, poller: Poller) -> None:
        poller.claim_again(fifo_prefix(self._segment.name), self._slots)
        if poller.slot is not None:
            self._take_slot(poller.slot)
            self._poller = None

    def _forget_parent(self) -> None:
        """Drop, in a forked child, the slot, flag and descriptors, which are the parent's."""
        self._fence = threading.Lock()
        if self._sleeper is not None:
            self._sleeper.close()  # a duplicate: the parent's lock on the slot stands
            self._sleeper = self._poller = None
            self._armed = False

    def __enter__(self) -> PriceBookReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _poll_of(fd: int) -> select.poll:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll


_sleeping_readers: weakref.WeakSet[PriceBookReader] = weakref.WeakSet()
"""The readers that can be woken: they have a slot, or poll until they get one."""


def _forget_parent() -> None:
    for reader in list(_sleeping_readers):
        reader._forget_parent()


os.register_at_fork(after_in_child=_forget_parent)
