"""The shared price book: the latest price of every symbol, and every tick in order.

One process writes, any number of processes read; neither side ever waits for the other.
`SharedPriceBook` is what a user holds. Behind it are the bytes (`segment`), the writer (`writer`),
and the two ways to read: the latest price of a symbol (`latest`), and every tick in order
(`reader`).

A reader without ticks arms its wake-up: it sets its flag, *then* checks for ticks once more; the
writer publishes, *then* checks the flags. That needs a fence between store and load on either side.
Taking and releasing an uncontended lock executes a locked instruction, which is a fence on x86 and
in practice elsewhere. Python does not guarantee it, so no sleep is longer than `MAX_SLEEP_S` and a
lost wake-up is a bounded delay.

A tick at a time goes through plain integers, because a NumPy call costs a microsecond even for one
element; many ticks go through arrays. Measured on two noisy cores: `read` 0.8 µs, `update` 1.6 µs,
`update_few` 2.3 µs and `PriceBookReader.read_few` 1.6 µs for one tick, `update_batch` 15 ns and
`PriceBookReader.read` 10 ns a tick for thousands.

Any process of the same user can attach, and can write garbage. Every value read from the segment is
checked before it is used as an index or an offset, so garbage costs ticks and never a crash.
"""

from __future__ import annotations

import atexit
import math
import os
import secrets
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from multiprocessing.synchronize import Lock as MultiprocessingLock
from types import TracebackType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.price_book.latest import LatestRecords
from lib.price_book.reader import Batch, PriceBookReader
from lib.price_book.segment import PRICE, PUBLISHED, Segment, SegmentLayout
from lib.price_book.segment_files import (
    PriceBookError,
    PriceBookInUse,
    PriceBookMismatch,
    check_name,
    create_segment,
    fifo_prefix,
    lock_writer,
    remove_segments,
)
from lib.price_book.wake_up import FOR_ALL, FOR_ROLES, MAX_SLEEP_S, has_owner
from lib.price_book.writer import PriceBookWriter
from lib.prices import to_fixed, to_float
from lib.process.run_identity import Run

__all__ = [
    "MAX_SLEEP_S",
    "Batch",
    "PriceBookError",
    "PriceBookInUse",
    "PriceBookMismatch",
    "PriceBookReader",
    "ResumePoint",
    "SharedPriceBook",
    "Tick",
    "remove_segments",
]

DEFAULT_RING_CAPACITY: Final = 262_144
"""The size of the ring, in ticks."""
_OPEN_ATTEMPTS: Final = 100
"""How often the segment may be replaced or removed while it is being opened."""
_IN_USE_ATTEMPTS: Final = 40
"""How often to try for the writer's lock before its holder counts as a writer at work."""
_IN_USE_PAUSE_S: Final = 0.005
"""The pause between two attempts at the writer's lock."""


class Tick(NamedTuple):
    """One tick, as the book holds it."""

    price: int
    """In units of 10⁻⁸."""
    sequence: int
    """The tick's number on its tape."""
    sent_ns: int
    """When the gateway sent it, monotonic clock."""
    epoch: int
    """The epoch of the book that the tick belongs to; see `SharedPriceBook.tape`."""
    position: int
    """The tick's number in this segment, from 1."""


class ResumePoint(NamedTuple):
    """Where a writer that takes over continues."""

    tape: str | None
    """The tape of the newest epoch; None if there has never been an epoch."""
    next_sequence: int
    """The number after the newest tick of the newest epoch; 1 if it has none yet."""


class SharedPriceBook:
    """The latest price of every symbol and a ring of the latest ticks, in shared memory.

    Reading (`read`, `latest`, `reader`) takes no lock and any process may do it. Writing (`update`,
    `update_batch`, `begin_epoch`) is for one process at a time: the first write takes the writer's
    lock, which the kernel releases when the process ends. One object is for one thread.
    """

    _closed = True

    def __init__(
        self,
        symbols: Sequence[str],
        name: str | None = None,
        *,
        ring_capacity: int = DEFAULT_RING_CAPACITY,
        lock: MultiprocessingLock | None = None,
        run: Run | None = None,
    ) -> None:
        """Create a price book, or attach to it if it is there.

        Args:
            symbols: what it holds; at most 16 bytes each.
            name: of the segment, letters, digits, `-` and `_`. None makes a private segment, which
                is removed at `close` and at the end of this process. A named segment stays.
                One that does not match (other symbols, other ring, other version, damaged) is
                retired and replaced.
            ring_capacity: in ticks.
            lock: a `multiprocessing.Lock` held for each write, so that several related processes
                may write. A relative killed while it holds the lock stops the others for good.
            run: the run it belongs to once it is created here, or written to through this object.
                Roles of other runs leave it alone; see lib/price_book/own_price_book.py.

        Raises:
            ValueError: the arguments do not describe a valid price book.
            PriceBookInUse: the segment does not match, and a live process is writing to it.
            PriceBookError: there is no room for the segment.

        """
        layout = SegmentLayout.of(symbols, ring_capacity)
        self._creator_pid = os.getpid() if name is None else None
        self._lock = lock
        self._slots = FOR_ALL
        if name is None:
            name = f"price-book-{os.getpid()}-{secrets.token_hex(8)}"
        check_name(name)
        segment, writer_lock = _open_or_create(name, layout, run)
        if writer_lock is not None and lock is not None:
            os.close(writer_lock)  # exclusive, and the other holders of `lock` must write too
            writer_lock = None
        self._adopt(segment, writer_lock, run)

    @classmethod
    def attach(cls, name: str, *, as_role: bool = False) -> SharedPriceBook:
        """Attach to an existing price book, whatever its symbols; never create or replace it.

        With `as_role` its readers may take the wake-up slots that are reserved for the roles of the
        stack: daemons only.

        Raises FileNotFoundError if there is none, and PriceBookMismatch if the segment is no
        price book of this version, is damaged, or is being replaced: try again later.
        """
        return cls._attached(name, None, FOR_ROLES if as_role else FOR_ALL)

    @classmethod
    def _attached(
        cls, name: str, lock: MultiprocessingLock | None, slots: range = FOR_ALL
    ) -> SharedPriceBook:
        check_name(name)
        segment = Segment(name)
        if segment.retired:
            segment.close()
            raise PriceBookMismatch(f"segment {name} is retired: its writer is replacing it")
        book = cls.__new__(cls)
        book._creator_pid = None
        book._lock = lock
        book._slots = slots
        book._adopt(segment, None)
        return book

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it for a process that is started with `multiprocessing`: it attaches there."""
        return SharedPriceBook._attached, (self.name, self._lock)

    def _adopt(self, segment: Segment, writer_lock: int | None, run: Run | None = None) -> None:
        self._segment = segment
        self._index = {symbol: i for i, symbol in enumerate(segment.layout.symbols)}
        self._latest = LatestRecords(segment)
        self._writer = PriceBookWriter(
            segment, self._latest, writer_lock=writer_lock, lock=self._lock, run=run
        )
        self._closed = False
        _open_books.add(self)

    @property
    def name(self) -> str:
        """The name of the segment."""
        return self._segment.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols, in the order of their indices."""
        return self._segment.layout.symbols

    @property
    def ring_capacity(self) -> int:
        """How many ticks the ring holds."""
        return self._segment.layout.ring_capacity

    @property
    def position(self) -> int:
        """The position of the newest tick, 0 before the first."""
        return self._segment.words[PUBLISHED]

    @property
    def run(self) -> Run | None:
        """The run that the segment belongs to; None if it belongs to none.

        It changes when a writer of another run takes over.
        """
        return self._segment.run()

    @property
    def identity(self) -> int:
        """A number of 63 bits that no other segment has, nor the one that replaces this one."""
        return self._segment.identity

    @property
    def retired(self) -> bool:
        """Whether the segment has been replaced or removed: close the book and open it again."""
        return self._segment.retired

    # Reading: any process, at any time.

    def read(self, symbol: str) -> float:
        """Return the latest price of a symbol; NaN before its first tick.

        Raises KeyError for a symbol that the book does not have.
        """
        record = self._latest.record(self._index[symbol])
        return math.nan if record is None else to_float(record[PRICE])

    def latest(self, symbol: str) -> Tick | None:
        """Return the latest tick of a symbol; None before the first.

        Raises KeyError for a symbol that the book does not have.
        """
        record = self._latest.record(self._index[symbol])
        if record is None:
            return None
        position, sequence, price, sent_ns, symbol_epoch, _ = record
        return Tick(price, sequence, sent_ns, symbol_epoch >> 32, position)

    def tape(self, epoch: int) -> str:
        """Return the tape of an epoch.

        It is "" for a plain stream, which has no tape, and for an epoch that is too old: the book
        remembers the newest `segment.EPOCHS`.
        """
        return self._segment.tape(epoch)

    def resume_point(self) -> ResumePoint:
        """Return where a writer that takes over continues. For the writer, before it writes."""
        epochs = self._segment.epochs()
        epoch = max(epochs, default=0)
        return ResumePoint(epochs.get(epoch), self._latest.newest_sequence(epoch) + 1)

    def reader(self, position: int | None = None) -> PriceBookReader:
        """Return a reader of all ticks after `position`.

        None means from now on, and 0 from the oldest tick that the ring still holds. Raises
        ValueError if the position is not published yet: it belongs to another segment.
        """
        return PriceBookReader(self._segment, position, self._slots, self)

    def reached(self) -> dict[int, int]:
        """Return the positions that the waiting roles have reached, by wake-up slot.

        A role that was killed keeps its place until `forget_dead_roles` or the slot's next owner.
        The positions are what those processes say, and checked by nothing. Takes 2 µs.
        """
        words = self._segment.reached.tolist()
        return {slot: word - 1 for slot, word in enumerate(words) if word}

    def forget_dead_roles(self) -> None:
        """Remove the places of roles that have died. For the writer; some 5 µs a role."""
        prefix = fifo_prefix(self.name)
        for slot in self.reached():
            if not has_owner(prefix, slot):
                # If a new owner has just come, it says its place again at its next `arm`.
                self._segment.reached[slot] = 0

    # Writing: one process at a time, one thread.

    def update(self, symbol: str, price: float | Decimal) -> None:
        """Publish one tick. Its sequence is the next of the epoch, its time is now.

        Raises KeyError for a symbol the book does not have, ValueError if the price is not above 0
        or too large, and what `update_batch` raises.
        """
        self._writer.update(self._index[symbol], to_fixed(price))

    def update_batch(
        self,
        symbol_indices: NDArray[np.int32],
        prices: NDArray[np.int64],
        sequences: NDArray[np.int64],
        sent_ns: NDArray[np.int64] | int,
    ) -> None:
        """Publish many ticks at once: readers see all of them or none.

        Args:
            symbol_indices: shape (n,), indices in `symbols`.
            prices: shape (n,), in units of 10⁻⁸.
            sequences: shape (n,), the numbers the ticks have on their tape.
            sent_ns: shape (n,) or one for all, monotonic clock.

        Of a batch larger than the ring the last ticks remain; positions count them all.

        Raises:
            ValueError: shapes that differ, or a value out of range; nothing is published then.
            PriceBookInUse: another live process is the writer.
            PriceBookError: the segment has been replaced or removed: open it again.
            TimeoutError: a relative has not released the lock for `LOCK_TIMEOUT_S`.

        """
        self._writer.update_batch(symbol_indices, prices, sequences, sent_ns)

    def update_few(self, ticks: Sequence[tuple[int, int, int, int]]) -> None:
        """Publish a few ticks at once, as `update_batch` does, without an array.

        A tick is its symbol's index, its price in units of 10⁻⁸, its sequence and when it was sent.
        For one it takes a tenth of the time; beyond `records.SMALL_BATCH` ticks arrays are quicker.
        Raises what `update_batch` does.
        """
        self._writer.update_few(ticks)

    def begin_epoch(self, tape: str) -> None:
        """Begin a new epoch: the ticks that follow belong to `tape`, numbered from 1 again.

        `tape` is at most 63 ASCII characters, "" for a plain stream that has none. Raises
        ValueError if it is not, and what `update_batch` raises.
        """
        self._writer.begin_epoch(tape)

    def become_writer(self) -> None:
        """Take the writer's lock now, not at the first write. Raises what `update_batch` does."""
        self._writer.become_writer()

    # Files that vanish.

    def loss(self) -> str:
        """Return what has become of the segment's file; "" if the book's name still names it.

        Takes a few µs. No new reader finds the ticks of a segment that is lost: `retire` it.
        """
        return self._segment.loss()

    def lock_loss(self) -> str:
        """Return what has become of the lock's file; "" while it keeps a second writer out."""
        return self._writer.lock_loss()

    def retire(self) -> None:
        """Mark the segment retired and wake its readers, which then attach anew.

        For one that was lost: `unlink` retires the segment that has the name.
        """
        self._segment.retire()
        self._writer.wake_readers()

    # The end.

    def close(self) -> None:
        """Unmap the segment and release the writer's lock. May be called again.

        A private segment is removed as well, by the process that created it.
        """
        if self._closed:
            return
        self._segment.close()
        self._closed = True
        _open_books.discard(self)
        self._writer.close()
        if self._creator_pid == os.getpid():
            remove_segments(self.name)
        self._writer.release()

    def unlink(self) -> None:
        """Remove the segment and its files; readers find it retired and wake up.

        Close the book as well. Any process may call this. A new book of this name is a new segment.
        """
        remove_segments(self.name)

    def __enter__(self) -> SharedPriceBook:
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


def _open_or_create(
    name: str, layout: SegmentLayout, run: Run | None
) -> tuple[Segment, int | None]:
    """Open the segment; create it if it is absent, replace it if its layout is not `layout`.

    Returns also the writer's lock if a replacement took it.
    """
    beginning, total_bytes = layout.beginning(run), layout.total_bytes
    writer_lock: int | None = None
    try:
        for attempt in range(_OPEN_ATTEMPTS):
            try:
                segment = Segment(name)
            except FileNotFoundError:
                # Another process may create or remove it at the same time: try again.
                with suppress(FileExistsError, FileNotFoundError):
                    create_segment(name, beginning, total_bytes, replace=False)
                continue
            except PriceBookMismatch:
                pass
            else:
                if segment.layout == layout and not segment.retired:
                    return segment, writer_lock
                segment.close()
            if writer_lock is None:
                try:
                    writer_lock = lock_writer(name)  # now no other process replaces it: try again
                except PriceBookInUse:
                    # The holder may only be replacing the segment, which is short.
                    if attempt >= _IN_USE_ATTEMPTS:
                        raise
                    time.sleep(_IN_USE_PAUSE_S)
                continue
            with suppress(FileNotFoundError):
                create_segment(name, beginning, total_bytes, replace=True)
        raise PriceBookError(
            f"price book {name} was replaced or removed {_OPEN_ATTEMPTS} times in a row"
        )
    except BaseException:
        if writer_lock is not None:
            os.close(writer_lock)
        raise


_open_books: weakref.WeakSet[SharedPriceBook] = weakref.WeakSet()


def _close_open_books() -> None:
    """Close the books that are still open at the end of the process."""
    for book in list(_open_books):
        book.close()


def _forget_parent() -> None:
    for book in list(_open_books):
        book._writer.forget_parent()


atexit.register(_close_open_books)
os.register_at_fork(after_in_child=_forget_parent)
