"""The shared price book: the latest price of every symbol, and every tick on its way to readers.

One process writes, any number read, in other processes, and nobody waits for anybody:

- The writer stores the records of its ticks (in the ring, and as the latest of their symbols),
  then the *published position*. That one store makes them count, all together. What lies beyond
  the published position is not there for readers; a writer that takes over wipes it out.
- A reader copies first and verifies its private copy afterwards. It knows which position it
  expects in a slot, and a check value over all words of the record tells it whether the words
  belong together. That holds in whatever order stores become visible (Python has no memory
  fence), wherever the writer was killed, and while it overwrites what is being copied.
- Each symbol has two latest records. The writer overwrites the older one, so there is always a
  whole one to read.
- A reader that has nothing to do arms its wake-up: it sets its flag, *then* looks whether there
  is something after all; the writer publishes, *then* looks at the flags. That needs a fence
  between store and load on either side. Taking and releasing an uncontended lock executes a
  locked instruction, which is one on x86 and in practice elsewhere; nothing guarantees it, so no
  sleep is longer than `MAX_SLEEP_S` and a lost wake-up is a bounded delay.

A tick at a time goes through plain integers, because a NumPy call costs a microsecond even for one
element; many ticks go through arrays. Measured on two noisy cores: `read` 0.8 µs, `update` 1.6 µs,
`update_few` 2.3 µs and `PriceBookReader.read_few` 1.6 µs for one tick, `update_batch` 15 ns and
`PriceBookReader.read` 10 ns a tick for thousands.

What lies where: lib/price_book_segment.py. The files: lib/segment_files.py. Any process of the
same user can attach, and also write nonsense: nothing read from the segment is used to find
something in it without being checked, so nonsense is lost ticks and never a crash.
"""

from __future__ import annotations

import atexit
import math
import os
import secrets
import select
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from multiprocessing.synchronize import Lock as MultiprocessingLock
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.price_book_segment import (
    MAX_POSITION,
    MAX_TAPE_BYTES,
    PUBLISHED,
    RECORD_WORDS,
    RETIRED,
    Layout,
    Segment,
    record_check,
)
from lib.prices import MAX_PRICE, to_fixed, to_float
from lib.run import Run
from lib.segment_files import (
    PriceBookError,
    PriceBookInUse,
    PriceBookMismatch,
    check_name,
    create_segment,
    fifo_prefix,
    lock_writer,
    remove_segments,
)
from lib.ticks import TICK, PlainTick
from lib.wakeup import FOR_ALL, FOR_ROLES, MAX_SLEEP_S, POLL_S, SLOTS, Poller, Sleeper, Waker

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
"""In ticks."""
READ_TICKS: Final = 32_768
"""What one read of a reader returns at most, unless asked otherwise: 1.5 MB."""
LOCK_TIMEOUT_S: Final = 5.0
"""How long an update waits for a lock shared with relatives."""

_SMALL_BATCH: Final = 24
"""In ticks: up to here one at a time is quicker than arrays."""
_BLOCK_TICKS: Final = 4_096
"""Large batches go in blocks that stay in the processor's cache: three times as fast."""
_OPEN_ATTEMPTS: Final = 100
"""How often the segment may be replaced or removed while we open it."""
_IN_USE_ATTEMPTS: Final = 40
_IN_USE_PAUSE_S: Final = 0.005
"""How often we look again, and after how long, before we believe that a writer is at work."""
_LATEST_ATTEMPTS: Final = 100
"""How often both records of a symbol may change while we read them. Once is rare."""
_READ_ATTEMPTS: Final = 8
"""How often a reader looks again at a record that counts and is not whole."""
_NOBODY_WAITS: Final = bytes(SLOTS)
_MAX_WORD: Final = 2**63 - 1


_Record: TypeAlias = tuple[int, int, int, int, int, int]
"""The six words of a record: position, sequence, price, sent_ns, symbol and epoch, check."""


class Tick(NamedTuple):
    """One tick, as the book holds it."""

    price: int
    """In units of 10⁻⁸."""
    sequence: int
    """Its number on its tape."""
    sent_ns: int
    """When the gateway sent it, monotonic clock."""
    epoch: int
    """Which epoch of the book it belongs to; see `SharedPriceBook.tape`."""
    position: int
    """Its number in this segment, from 1."""


class Batch(NamedTuple):
    """What a reader has got: first what it missed, then the ticks that follow it."""

    ticks: NDArray[np.void]
    """Structured array of `TICK` (position, sequence, price, sent_ns, symbol, epoch); a private
    copy. `symbol` is the index in `symbols`, prices are in units of 10⁻⁸."""
    missed: tuple[int, int] | None
    """First and last position of the ticks lost between the last batch and this one."""


class ResumePoint(NamedTuple):
    """Where a writer that takes over goes on."""

    tape: str | None
    """The tape of the newest epoch; None if there has never been an epoch."""
    next_sequence: int
    """The number after the newest tick of that epoch; 1 if it has none yet."""


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
            name: of the segment, letters, digits, `-` and `_`. None makes a segment of our own,
                which is removed at `close` and at the end of this process. A named segment stays.
                One that does not match (other symbols, other ring, other version, damaged) is
                retired and replaced.
            ring_capacity: in ticks.
            lock: a `multiprocessing.Lock` held for each write, so that several related processes
                may write. A relative killed while it holds the lock stops the others for good.
            run: the run it belongs to once it is created here, or written to through this object.
                Roles of other runs leave it alone; see lib/own_price_book.py.

        Raises:
            ValueError: the arguments can be no price book.
            PriceBookInUse: the segment does not match, and a live process is writing to it.
            PriceBookError: there is no room for the segment.

        """
        layout = Layout.of(symbols, ring_capacity)
        self._creator_pid = os.getpid() if name is None else None
        self._lock = lock
        self._new_run = run
        self._slots = FOR_ALL
        if name is None:
            name = f"price-book-{os.getpid()}-{secrets.token_hex(8)}"
        check_name(name)
        segment, writer_lock = _open_or_create(name, layout, run)
        if writer_lock is not None and lock is not None:
            os.close(writer_lock)  # it is ours alone, and relatives are to write as well
            writer_lock = None
        self._adopt(segment, writer_lock)

    @classmethod
    def attach(cls, name: str, *, as_role: bool = False) -> SharedPriceBook:
        """Attach to a price book that is there, whatever its symbols; never create or replace it.

        With `as_role` its readers may take the wake-up slots that are reserved for the roles of the
        stack: daemons only.

        Raises FileNotFoundError if there is none, and PriceBookMismatch if the segment is no
        price book of this version, is damaged, or is being replaced just now: try again later.
        """
        return cls._attached(name, None, FOR_ROLES if as_role else FOR_ALL)

    @classmethod
    def _attached(
        cls, name: str, lock: MultiprocessingLock | None, slots: range = FOR_ALL
    ) -> SharedPriceBook:
        check_name(name)
        segment = Segment(name)
        if segment.words[RETIRED]:
            segment.close()
            raise PriceBookMismatch(f"segment {name} is retired: its writer is replacing it")
        book = cls.__new__(cls)
        book._creator_pid = None
        book._lock = lock
        book._new_run = None
        book._slots = slots
        book._adopt(segment, None)
        return book

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it for a process that is started with `multiprocessing`: it attaches there."""
        return SharedPriceBook._attached, (self.name, self._lock)

    def _adopt(self, segment: Segment, writer_lock: int | None) -> None:
        self._segment = segment
        self._words = segment.words
        self._waiting = segment.waiting
        self._capacity = segment.layout.ring_capacity
        self._ring_word = segment.ring_word
        self._latest_word = segment.latest_word
        self._index = {symbol: i for i, symbol in enumerate(segment.layout.symbols)}
        self._writer_lock = writer_lock
        self._waker = Waker(fifo_prefix(segment.name))
        self._fence = threading.Lock()
        self._tapes: dict[int, str] = {}
        # The writer's state. False: what follows must be read from the segment before a write.
        self._in_step = False
        self._has_wiped_ring = False
        self._position = 0
        self._epoch = 0
        self._sequence = 0
        self._next_latest = bytearray(len(self._index))  # which of a symbol's two is the older
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
    def run(self) -> Run | None:
        """The run that the segment belongs to; None if it belongs to none.

        It is another one when a writer of another run has taken over.
        """
        return self._segment.run()

    @property
    def identity(self) -> int:
        """A number of 63 bits that no other segment has, nor the one that replaces this one."""
        return self._segment.identity

    @property
    def retired(self) -> bool:
        """Whether the segment has been replaced or removed: close the book and open it again."""
        return self._words[RETIRED] != 0

    # Reading: any process, at any time.

    def read(self, symbol: str) -> float:
        """Return the latest price of a symbol; NaN before its first tick.

        Raises KeyError for a symbol that the book does not have.
        """
        record = self._latest_record(self._index[symbol])
        return math.nan if record is None else to_float(record[2])

    def latest(self, symbol: str) -> Tick | None:
        """Return the latest tick of a symbol; None before the first.

        Raises KeyError for a symbol that the book does not have.
        """
        record = self._latest_record(self._index[symbol])
        if record is None:
            return None
        position, sequence, price, sent_ns, symbol_epoch, _ = record
        return Tick(price, sequence, sent_ns, symbol_epoch >> 32, position)

    def _latest_record(self, index: int) -> list[int] | None:
        """Return the words of the newest record of a symbol; None if it has none."""
        words = self._words
        first = self._latest_word + 2 * RECORD_WORDS * index
        second = first + RECORD_WORDS
        for _ in range(_LATEST_ATTEMPTS):
            is_damaged = False
            # The order matters. The newer one does not count only while the writer is at it; then
            # the other is the latest, as it is after that moment and not as it was before.
            for at in (first, second) if words[first] > words[second] else (second, first):
                record = words[at : at + RECORD_WORDS].tolist()
                position, sequence, price, sent_ns, symbol_epoch, check = record
                if 0 < position <= words[PUBLISHED]:
                    if check == record_check(position, sequence, price, sent_ns, symbol_epoch):
                        return record
                    is_damaged = True
            # Two that are both too new are a writer that went on between our looks.
            if position == 0 and not is_damaged:
                return None
        raise PriceBookError(
            f"price book {self.name}: both latest records of {self.symbols[index]} are damaged"
        )

    def tape(self, epoch: int) -> str:
        """Return the tape of an epoch.

        It is "" for a plain stream, which has no tape, and for an epoch so long ago (64 epochs)
        that the book has forgotten it.
        """
        tape = self._tapes.get(epoch)
        if tape is None:  # looking it up takes some 50 µs, and a reader asks with each batch
            self._tapes = self._segment.epochs()
            tape = self._tapes.get(epoch, "")
        return tape

    def resume_point(self) -> ResumePoint:
        """Return where a writer that takes over goes on. For the writer, before it writes."""
        epochs = self._segment.epochs()
        epoch = max(epochs, default=0)
        return ResumePoint(epochs.get(epoch), self._newest_sequence(epoch) + 1)

    def _newest_sequence(self, epoch: int) -> int:
        """Return the number of the newest tick of the newest epoch, 0 if it has none yet."""
        # The newest tick of all is the latest of its symbol.
        latest = self._segment.latest.copy()
        counting = self._counting_positions(latest)
        newest = int(np.argmax(counting))
        _, sequence, _, _, symbol_epoch, _ = latest[newest].tolist()
        return sequence if counting[newest] and symbol_epoch >> 32 == epoch else 0

    def _counting_positions(self, records: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the positions of the records, 0 for those that are torn or not published."""
        position, check = records[:, 0], records[:, 5]
        counts = (check == record_check(*records[:, :5].T)) & (position <= self._words[PUBLISHED])
        return np.where(counts, position, np.uint64(0))

    def reader(self, position: int | None = None) -> PriceBookReader:
        """Return a reader of all ticks after `position`.

        None means from now on, and 0 from the oldest tick that the ring still holds. Raises
        ValueError if the position lies in the future: then it belongs to another segment.
        """
        return PriceBookReader(self, position)

    # Writing: one process at a time, one thread.

    def update(self, symbol: str, price: float | Decimal) -> None:
        """Publish one tick. Its sequence is the next of the epoch, its time is now.

        Raises KeyError for a symbol the book does not have, ValueError if the price is not above 0
        or too large, and what `update_batch` raises.
        """
        index = self._index[symbol]
        fixed = to_fixed(price)
        self._begin_write()
        try:
            self._append(index, fixed)
        finally:
            self._end_write()

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
        count = len(symbol_indices)
        if isinstance(sent_ns, int):
            sent_ns = np.full(count, sent_ns, np.int64)
        columns = (
            ("symbol_indices", symbol_indices, 0, len(self._index) - 1),
            ("prices", prices, 1, MAX_PRICE),
            ("sequences", sequences, 1, _MAX_WORD),
            ("sent_ns", sent_ns, 0, _MAX_WORD),
        )
        arrays = [_checked_array(count, *column) for column in columns]
        if not count:
            return
        self._begin_write()
        try:
            self._append_many(*arrays)
        finally:
            self._end_write()

    def update_few(self, ticks: Sequence[tuple[int, int, int, int]]) -> None:
        """Publish a few ticks at once, as `update_batch` does, without an array.

        A tick is its symbol's index, its price in units of 10⁻⁸, its sequence and when it was sent.
        For one it takes a tenth of the time; from some 24 on arrays are quicker. Raises what
        `update_batch` does.
        """
        symbol_count = len(self._index)
        for tick in ticks:
            index, price, sequence, sent_ns = tick
            if not (
                0 <= index < symbol_count
                and 0 < price <= MAX_PRICE
                and 0 < sequence <= _MAX_WORD
                and 0 <= sent_ns <= _MAX_WORD
            ):
                raise ValueError(f"symbol index, price, sequence, sent_ns out of range: {tick}")
        self._publish_few(ticks)

    def _publish_few(self, ticks: Sequence[tuple[int, int, int, int]]) -> None:
        if not ticks:
            return
        self._begin_write()
        try:
            self._append_few(ticks)
        finally:
            self._end_write()

    def begin_epoch(self, tape: str) -> None:
        """Begin a new epoch: the ticks that follow belong to `tape`, numbered anew.

        `tape` is at most 63 ASCII characters, "" for a plain stream that has none. Raises
        ValueError if it is not, and what `update_batch` raises.
        """
        if not tape.isascii() or len(tape) > MAX_TAPE_BYTES or "\0" in tape:
            raise ValueError(
                f"a tape's name is at most {MAX_TAPE_BYTES} ASCII characters, not {tape[:80]!r}"
            )
        self._begin_write()
        try:
            self._enter_epoch(tape)
        finally:
            self._end_write()

    def become_writer(self) -> None:
        """Take the writer's lock now, not at the first write. Raises what `update_batch` does."""
        self._begin_write()
        self._end_write()

    def _begin_write(self) -> None:
        if self._in_step and not self._words[RETIRED]:
            return
        if self._lock is None:
            self._take_over()
            return
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise TimeoutError(
                f"price book {self.name}: the lock passed as lock= was not released for "
                f"{LOCK_TIMEOUT_S:g} s; if a process was killed while it held it, it never will be"
            )
        try:
            self._take_over()
        except BaseException:
            self._lock.release()
            raise

    def _end_write(self) -> None:
        if self._lock is not None:
            self._in_step = False  # another relative may write before we do again
            self._lock.release()

    def _take_over(self) -> None:
        """Take the writer's lock if we do not hold it, and go on where the last writer stopped."""
        if self._writer_lock is None:
            self._writer_lock = lock_writer(self.name, shared=self._lock is not None)
        # Whoever retires a segment may then let others have the lock, so this comes second.
        if self.retired:
            os.close(self._writer_lock)
            self._writer_lock = None
            self._in_step = False
            raise PriceBookError(
                f"price book {self.name} has been replaced or removed; close it and open it again"
            )
        segment = self._segment
        self._position = self._words[PUBLISHED]
        if self._position > MAX_POSITION:
            raise PriceBookError(f"price book {self.name} has been damaged; open it again")
        if self._new_run is not None:
            segment.write_run(self._new_run)
        # What the last writer stored and did not publish must not count when we publish.
        if self._lock is None or not self._has_wiped_ring:  # among relatives it is each update
            segment.ring[segment.ring[:, 0] > self._position] = 0
            self._has_wiped_ring = True
        segment.latest[segment.latest[:, 0] > self._position] = 0
        newest = self._counting_positions(segment.latest).reshape(-1, 2).argmax(axis=1)
        self._next_latest[:] = (1 - newest).astype(np.uint8).tobytes()
        self._epoch = max(segment.epochs(), default=0)
        self._sequence = self._newest_sequence(self._epoch)
        self._in_step = True

    def _append(self, index: int, price: int) -> None:
        # Until all is done we are out of step: an exception in between (a signal handler's, say)
        # makes the next write begin like that of a writer that takes over.
        self._in_step = False
        position = self._position + 1
        sequence = self._sequence + 1
        sent_ns = time.monotonic_ns()
        record = _record(position, sequence, price, sent_ns, index | self._epoch << 32)
        self._store_in_ring(record)
        self._store_as_latest(index, record)
        self._sequence = sequence
        self._publish(position)

    def _append_few(self, ticks: Sequence[tuple[int, int, int, int]]) -> None:
        self._in_step = False
        position = self._position
        latest = {}
        for index, price, sequence, sent in ticks:
            position += 1
            latest[index] = _record(position, sequence, price, sent, index | self._epoch << 32)
            self._store_in_ring(latest[index])
        # Only the last tick of each symbol: the second would overwrite the one that counts now.
        for index, record in latest.items():
            self._store_as_latest(index, record)
        self._sequence = sequence
        self._publish(position)

    def _append_many(
        self,
        indices: NDArray[np.int64],
        prices: NDArray[np.int64],
        sequences: NDArray[np.int64],
        sent_ns: NDArray[np.int64],
    ) -> None:
        self._in_step = False
        ring, latest = self._segment.ring, self._segment.latest
        next_latest = np.frombuffer(self._next_latest, np.uint8)
        has_ticks = np.zeros(len(next_latest), np.bool_)
        position = self._position
        block_ticks = min(_BLOCK_TICKS, self._capacity)
        for begin in range(0, len(indices), block_ticks):
            block = slice(begin, begin + block_ticks)
            records = _records(
                position + 1,
                sequences[block],
                prices[block],
                sent_ns[block],
                indices[block],
                self._epoch,
            )
            slot = (position + 1) % self._capacity
            until_end = self._capacity - slot
            ring[slot : slot + len(records)] = records[:until_end]
            ring[: len(records[until_end:])] = records[until_end:]
            last = np.full(len(has_ticks), -1)
            last[indices[block]] = np.arange(len(records))  # where an index repeats, the last stays
            (touched,) = np.nonzero(last >= 0)
            # The same record for every block: none of them counts until we publish.
            latest[2 * touched + next_latest[touched]] = records[last[touched]]
            has_ticks[touched] = True
            position += len(records)
        next_latest[has_ticks] ^= 1
        self._sequence = int(sequences[-1])
        self._publish(position)

    def _enter_epoch(self, tape: str) -> None:
        self._in_step = False
        self._segment.write_epoch(self._epoch + 1, tape.encode())
        self._epoch += 1
        self._sequence = 0
        self._in_step = True

    def _store_in_ring(self, record: _Record) -> None:
        self._store(self._ring_word + record[0] % self._capacity * RECORD_WORDS, record)

    def _store_as_latest(self, index: int, record: _Record) -> None:
        which = self._next_latest[index]
        self._store(self._latest_word + (2 * index + which) * RECORD_WORDS, record)
        self._next_latest[index] = 1 - which

    def _store(self, at: int, record: _Record) -> None:
        words = self._words
        (
            words[at],
            words[at + 1],
            words[at + 2],
            words[at + 3],
            words[at + 4],
            words[at + 5],
        ) = record

    def _publish(self, position: int) -> None:
        """Let everything up to `position` count, and wake who waits for it."""
        self._words[PUBLISHED] = position
        self._position = position
        self._in_step = True
        with self._fence:
            pass
        if self._waiting.tobytes() != _NOBODY_WAITS:
            for slot, waits in enumerate(self._waiting.tobytes()):
                if waits:
                    # Cleared before the write: a reader that arms again in between is woken once
                    # too often, never once too seldom.
                    self._waiting[slot] = 0
                    self._waker.wake(slot)

    # The end.

    def close(self) -> None:
        """Let go of the segment and of the writer's lock. May be called again.

        A segment without a name of its own is removed, by the process that created it.
        """
        if self._closed:
            return
        self._segment.close()
        self._closed = True
        _open_books.discard(self)
        self._waker.close()
        if self._creator_pid == os.getpid():
            remove_segments(self.name)
        if self._writer_lock is not None:
            os.close(self._writer_lock)

    def unlink(self) -> None:
        """Remove the segment and its files, for everyone; readers find it retired and wake up.

        Close the book as well. Any process may call this; a new book of the name is another one.
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

    def _forget_parent(self) -> None:
        """In a child just forked: the lock is the parent's, and so are its descriptors."""
        self._waker.close()
        self._fence = threading.Lock()
        self._in_step = False
        if self._writer_lock is not None:
            os.close(self._writer_lock)  # a duplicate: the parent's lock stands
            self._writer_lock = None


class PriceBookReader:
    """A place in the stream of ticks. For one thread of one process; any number may read.

    To wait for ticks together with sockets:

        selector.register(reader, EVENT_READ)
        while True:
            selector.select(MAX_SLEEP_S if reader.arm() else 0)
            batch = reader.read()

    To be woken takes one of 64 wake-up slots, 16 of which are reserved for the roles of the stack.
    A reader that finds none free is no different to use: it wakes every 10 ms (`wakeup.POLL_S`) to
    look for ticks, until it gets a slot, and logs `reader_polls` once. A reader that only calls
    `read` uses no slot.
    """

    def __init__(self, book: SharedPriceBook, position: int | None) -> None:
        self._book = book
        self._sleeper: Sleeper | Poller | None = None
        self._poller: Poller | None = None  # the sleeper, as long as it has no slot
        self._flags: memoryview | bytearray = book._waiting
        self._slot = 0
        self._armed = False
        published = book._words[PUBLISHED]
        if position is None:
            position = published
        elif position == 0:
            position = max(0, published - book._capacity)
        elif not 0 < position <= published:
            raise ValueError(
                f"price book {book.name} has ticks up to position {published}; position {position} "
                "must be that of another segment"
            )
        self._position = position

    @property
    def position(self) -> int:
        """The position of the last tick that was read or missed."""
        return self._position

    def return_to(self, position: int) -> None:
        """Go on behind `position`: read ticks again, if they are still there, or leave some out.

        `position` is at most that of the newest tick of the book.
        """
        self._position = position

    @property
    def retired(self) -> bool:
        """Whether the segment has been replaced or removed: read what is left, attach anew."""
        return self._book.retired

    def tape(self, epoch: int) -> str:
        """Return the tape of an epoch, as `SharedPriceBook.tape` does."""
        return self._book.tape(epoch)

    def read(self, max_ticks: int = READ_TICKS) -> Batch:
        """Return the next ticks, in order; none if there are none. Never waits.

        Says exactly which ticks were lost: overwritten before we came (the ring lapped us), or
        destroyed by a writer that was killed while it stored. Ends a wait that `arm` began.
        """
        if self._armed:
            self.disarm()
        book = self._book
        for _ in range(_READ_ATTEMPTS):
            published = book._words[PUBLISHED]
            first = max(self._position + 1, published - book._capacity + 1)
            count = min(published + 1 - first, max_ticks)
            if count <= 0 or published > MAX_POSITION:
                return Batch(np.empty(0, TICK), None)
            records = _copy_of_ring(book._segment.ring, first, count)
            whole = b"".join(
                _which_are_whole(records[i : i + _BLOCK_TICKS], first + i, len(book._index))
                for i in range(0, count, _BLOCK_TICKS)
            )
            begin = whole.find(1)
            if begin < 0:
                begin = count
            if _are_overwritten(records[:begin], first):
                break  # they will not come back
            # What counts is not whole and not overwritten either: it becomes visible in a moment,
            # or is just being overwritten, or was when the writer was killed or stopped.
        end = whole.find(0, begin)
        if end < 0:
            end = count
        lost_from = self._position + 1
        self._position = first - 1 + end
        return Batch(
            records[begin:end].view(TICK)[:, 0],
            (lost_from, first - 1 + begin) if first + begin > lost_from else None,
        )

    def read_few(self) -> list[PlainTick]:
        """Return the next ticks if they are few, all there and whole; without an array.

        For one it takes a third of the time of `read`. An empty list says nothing: call `read`,
        which says whether there are none, or many, or some were lost. Ends a wait as `read` does.
        """
        if self._armed:
            self.disarm()
        book = self._book
        words, capacity = book._words, book._capacity
        first, published = self._position + 1, words[PUBLISHED]
        if published - self._position > min(_SMALL_BATCH, capacity):
            return []
        ticks = []
        for position in range(first, published + 1):
            at = book._ring_word + position % capacity * RECORD_WORDS
            # A copy, as in `read`: what is looked at afterwards does not change any more.
            found, sequence, price, sent_ns, symbol_epoch, check = words[
                at : at + RECORD_WORDS
            ].tolist()
            symbol = symbol_epoch & 0xFFFFFFFF
            if (
                found != position
                or check != record_check(found, sequence, price, sent_ns, symbol_epoch)
                or symbol >= len(book._index)
                or (sequence | price | sent_ns | symbol_epoch) > _MAX_WORD
            ):
                return []
            ticks.append((position, sequence, price, sent_ns, symbol, symbol_epoch >> 32))
        self._position += len(ticks)
        return ticks

    def arm(self) -> bool:
        """Announce that we are about to sleep, on `fileno`.

        False: do not sleep, there is something to read already, or the segment is retired.
        """
        if self._sleeper is None:
            self._find_slot()
        elif self._poller is not None:
            self._look_for_slot_again(self._poller)
        self._flags[self._slot] = 1
        self._armed = True
        with self._book._fence:
            pass
        if self._position < self._book._words[PUBLISHED] <= MAX_POSITION or self.retired:
            self.disarm()
            return False
        return True

    def disarm(self) -> None:
        """Take back what `arm` said, and the wake-up if it has come. `read` does it by itself."""
        if self._sleeper is None:
            return
        self._armed = False
        self._flags[self._slot] = 0
        self._sleeper.drain()

    def fileno(self) -> int:
        """Return what becomes readable to wake us: for a selector. It stays the same."""
        return (self._sleeper or self._find_slot()).fileno()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there is something to read, or the segment is retired, or the time is up.

        Returns False only if the time is up.
        """
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        while self.arm():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self.disarm()
                return False
            poll.poll(1000 * min(left_s, MAX_SLEEP_S))
            self.disarm()
        return True

    def close(self) -> None:
        """Give the wake-up slot back. May be called again; the book stays open."""
        if self._sleeper is not None:
            with suppress(ValueError):  # the book has been closed before
                self._flags[self._slot] = 0
            self._sleeper.close()
            self._sleeper = self._poller = None
            self._armed = False

    def _find_slot(self) -> Sleeper | Poller:
        """Take a wake-up slot if one is free, and poll if not."""
        book = self._book
        sleeper = Sleeper.claim(fifo_prefix(book.name), book._slots)
        if sleeper is not None:
            self._flags, self._slot = book._waiting, sleeper.slot
            self._sleeper = sleeper
            _sleeping_readers.add(self)
            return sleeper
        self._flags, self._slot = bytearray(1), 0  # which no writer looks at
        self._sleeper = self._poller = Poller()
        _sleeping_readers.add(self)
        structlog.get_logger().warning(
            "reader_polls",
            price_book=book.name,
            reason=f"none of the {len(book._slots)} wake-up slots it may take is free; until one "
            f"is, it looks for ticks every {1000 * POLL_S:g} ms",
        )
        return self._poller

    def _look_for_slot_again(self, poller: Poller) -> None:
        poller.claim_again(fifo_prefix(self._book.name), self._book._slots)
        if poller.slot is not None:
            self._flags, self._slot = self._book._waiting, poller.slot
            self._poller = None

    def _forget_parent(self) -> None:
        """In a child just forked: slot and flag are the parent's, and so are its descriptors."""
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


def _open_or_create(name: str, layout: Layout, run: Run | None) -> tuple[Segment, int | None]:
    """Open the segment; make it first if it is not there, and anew if it is not `layout`.

    Returns also the writer's lock if it had to be taken, which is to replace a segment.
    """
    beginning, total_bytes = layout.beginning(run), layout.total_bytes
    writer_lock: int | None = None
    try:
        for attempt in range(_OPEN_ATTEMPTS):
            try:
                segment = Segment(name)
            except FileNotFoundError:
                # Others may create or remove it at the same time: then look again.
                with suppress(FileExistsError, FileNotFoundError):
                    create_segment(name, beginning, total_bytes, replace=False)
                continue
            except PriceBookMismatch:
                pass
            else:
                if segment.layout == layout and not segment.words[RETIRED]:
                    return segment, writer_lock
                segment.close()
            if writer_lock is None:
                try:
                    writer_lock = lock_writer(name)  # and look again: nobody else replaces it now
                except PriceBookInUse:
                    # Perhaps by one who holds it for a moment only, to replace the segment.
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


def _record(position: int, sequence: int, price: int, sent_ns: int, symbol_epoch: int) -> _Record:
    check = record_check(position, sequence, price, sent_ns, symbol_epoch)
    return position, sequence, price, sent_ns, symbol_epoch, check


def _records(
    first: int,
    sequences: NDArray[np.int64],
    prices: NDArray[np.int64],
    sent_ns: NDArray[np.int64],
    indices: NDArray[np.int64],
    epoch: int,
) -> NDArray[np.uint64]:
    """Return the records of ticks at the positions from `first` on: shape (n, RECORD_WORDS)."""
    columns = [
        column.view(np.uint64)
        for column in (
            np.arange(first, first + len(indices)),
            sequences,
            prices,
            sent_ns,
            indices | epoch << 32,
        )
    ]
    records = np.empty((len(indices), RECORD_WORDS), np.uint64)
    for word, column in enumerate((*columns, record_check(*columns))):
        records[:, word] = column
    return records


def _checked_array(
    count: int, name: str, values: NDArray[np.integer[Any]], least: int, most: int
) -> NDArray[np.int64]:
    """Return one column of a batch as int64. Raises ValueError if it cannot be one."""
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: {count} integers are needed, not {values.dtype} of shape {values.shape}"
        )
    if count and (values.min() < least or values.max() > most):
        raise ValueError(
            f"{name}: {values.min()} to {values.max()} is not within {least} to {most}"
        )
    return np.ascontiguousarray(values, np.int64)


def _copy_of_ring(ring: NDArray[np.uint64], first: int, count: int) -> NDArray[np.uint64]:
    """Copy the slots of `count` positions from `first` on: at most two pieces."""
    begin = first % len(ring)
    piece = ring[begin : begin + count]
    if len(piece) == count:
        return piece.copy()
    return np.concatenate((piece, ring[: count - len(piece)]))


def _which_are_whole(records: NDArray[np.uint64], first: int, symbol_count: int) -> bytes:
    """Return for each record 1 if it is the one expected, all of it, and 0 if not.

    The records are a private copy of the slots of the positions from `first` on.
    """
    if len(records) <= _SMALL_BATCH:
        return bytes(
            record[0] == position
            and record[5] == record_check(*record[:5])
            and record[4] & 0xFFFFFFFF < symbol_count
            for position, record in enumerate(records.tolist(), first)
        )
    position, sequence, price, sent_ns, symbol_epoch, check = np.ascontiguousarray(records.T)
    expected = np.arange(first, first + len(records)).view(np.uint64)
    whole: NDArray[np.bool_] = (
        (position == expected)
        & (check == record_check(position, sequence, price, sent_ns, symbol_epoch))
        & ((symbol_epoch & np.uint64(0xFFFFFFFF)) < symbol_count)
    )
    return whole.tobytes()


def _are_overwritten(records: NDArray[np.uint64], first: int) -> bool:
    """Tell whether all these slots, of the positions from `first` on, hold later positions."""
    if not len(records):
        return True
    return bool((records[:, 0] > np.arange(first, first + len(records)).view(np.uint64)).all())


_open_books: weakref.WeakSet[SharedPriceBook] = weakref.WeakSet()
_sleeping_readers: weakref.WeakSet[PriceBookReader] = weakref.WeakSet()
"""Those that can be woken: they have a slot, or poll until they get one."""


def _close_open_books() -> None:
    """At the end of the process: quietly, whatever the user forgot."""
    for book in list(_open_books):
        book.close()


def _forget_parent() -> None:
    for reader in list(_sleeping_readers):
        reader._forget_parent()
    for book in list(_open_books):
        book._forget_parent()


atexit.register(_close_open_books)
os.register_at_fork(after_in_child=_forget_parent)
