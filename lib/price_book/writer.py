"""Writing the price book: one process at a time, which never waits for a reader.

The writer stores the records of its ticks (in the ring, and as the latest of their symbols), then
the *published position*. That one store makes all of them count at once. Readers ignore records
beyond the published position; a writer that takes over clears them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Lock as MultiprocessingLock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lib.price_book.latest import LatestRecords
from lib.price_book.records import BLOCK_TICKS, MAX_WORD, Record, make_record, make_records
from lib.price_book.segment import (
    MAX_POSITION,
    MAX_TAPE_BYTES,
    POSITION,
    PUBLISHED,
    RECORD_WORDS,
    RETIRED,
    Segment,
)
from lib.price_book.segment_files import PriceBookError, fifo_prefix, lock_path, lock_writer
from lib.price_book.wake_up import SLOTS, Waker
from lib.prices import MAX_PRICE
from lib.process.file_lock import is_still_at
from lib.process.run_identity import Run

LOCK_TIMEOUT_S: Final = 5.0
"""How long an update waits for a lock shared with relatives."""
_NO_FLAGS: Final = bytes(SLOTS)
"""The flags of the wake-up slots while no reader waits."""


class PriceBookWriter:
    """The writer's side of a segment. For one thread; `SharedPriceBook` says what may be raised."""

    def __init__(
        self,
        segment: Segment,
        latest: LatestRecords,
        *,
        writer_lock: int | None = None,
        lock: MultiprocessingLock | None = None,
        run: Run | None = None,
    ) -> None:
        """`writer_lock` is the descriptor of the writer's lock if it is held already."""
        self._segment = segment
        self._latest = latest
        self._lock = lock
        self._run = run
        self._words = segment.words
        self._waiting = segment.waiting
        self._capacity = segment.layout.ring_capacity
        self._symbol_count = len(segment.layout.symbols)
        self._ring_word = segment.ring_word
        self._latest_word = segment.latest_word
        self._writer_lock = writer_lock
        self._waker = Waker(fifo_prefix(segment.name))
        self._fence = threading.Lock()
        # False: the fields below must be read from the segment before a write.
        self._in_step = False
        self._has_wiped_ring = False
        self._position = 0
        self._epoch = 0
        self._sequence = 0
        # For each symbol, which of its two latest records is the older one: 0 or 1.
        self._next_latest = bytearray(self._symbol_count)

    def update(self, index: int, price: int) -> None:
        """Publish one tick: its sequence is the next of the epoch, its time is now."""
        self._begin_write()
        try:
            self._append(index, price)
        finally:
            self._end_write()

    def update_batch(
        self,
        symbol_indices: NDArray[np.int32],
        prices: NDArray[np.int64],
        sequences: NDArray[np.int64],
        sent_ns: NDArray[np.int64] | int,
    ) -> None:
        """Publish many ticks at once."""
        count = len(symbol_indices)
        if isinstance(sent_ns, int):
            sent_ns = np.full(count, sent_ns, np.int64)
        columns = (
            ("symbol_indices", symbol_indices, 0, self._symbol_count - 1),
            ("prices", prices, 1, MAX_PRICE),
            ("sequences", sequences, 1, MAX_WORD),
            ("sent_ns", sent_ns, 0, MAX_WORD),
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
        """Publish a few ticks at once, without an array."""
        symbol_count = self._symbol_count
        for tick in ticks:
            index, price, sequence, sent_ns = tick
            if not (
                0 <= index < symbol_count
                and 0 < price <= MAX_PRICE
                and 0 < sequence <= MAX_WORD
                and 0 <= sent_ns <= MAX_WORD
            ):
                raise ValueError(f"symbol index, price, sequence, sent_ns out of range: {tick}")
        if not ticks:
            return
        self._begin_write()
        try:
            self._append_few(ticks)
        finally:
            self._end_write()

    def begin_epoch(self, tape: str) -> None:
        """Begin a new epoch."""
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
        """Take the writer's lock now, not at the first write."""
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
                f"price book {self._segment.name}: the lock passed as lock= was not released for "
                f"{LOCK_TIMEOUT_S:g} s; if a process was killed while it held it, it never will be"
            )
        try:
            self._take_over()
        except BaseException:
            self._lock.release()
            raise

    def _end_write(self) -> None:
        if self._lock is not None:
            self._in_step = False  # another holder of `lock` may write next
            self._lock.release()

    def _take_over(self) -> None:
        """Take the writer's lock unless it is held, and continue where the last writer stopped."""
        segment = self._segment
        if self._writer_lock is None:
            self._writer_lock = lock_writer(segment.name, shared=self._lock is not None)
        # A writer retires a segment before it releases the lock, so check this second.
        if segment.retired:
            os.close(self._writer_lock)
            self._writer_lock = None
            self._in_step = False
            raise PriceBookError(
                f"price book {segment.name} has been replaced or removed; "
                "close it and open it again"
            )
        self._position = self._words[PUBLISHED]
        if self._position > MAX_POSITION:
            raise PriceBookError(f"price book {segment.name} has been damaged; open it again")
        if self._run is not None:
            segment.write_run(self._run)
        # Records that the last writer stored and did not publish must not count later. With `lock`
        # each update takes over, so the ring is wiped only the first time.
        if self._lock is None or not self._has_wiped_ring:
            segment.ring[segment.ring[:, POSITION] > self._position] = 0
            self._has_wiped_ring = True
        segment.latest[segment.latest[:, POSITION] > self._position] = 0
        newest = self._latest.counting_positions(segment.latest).reshape(-1, 2).argmax(axis=1)
        self._next_latest[:] = (1 - newest).astype(np.uint8).tobytes()
        self._epoch = max(segment.epochs(), default=0)
        self._sequence = self._latest.newest_sequence(self._epoch)
        self._in_step = True

    def _append(self, index: int, price: int) -> None:
        # Out of step until all stores are done: after an exception in between (from a signal
        # handler, say) the next write begins as a writer that takes over does.
        self._in_step = False
        position = self._position + 1
        sequence = self._sequence + 1
        sent_ns = time.monotonic_ns()
        record = make_record(position, sequence, price, sent_ns, index | self._epoch << 32)
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
            latest[index] = make_record(position, sequence, price, sent, index | self._epoch << 32)
            self._store_in_ring(latest[index])
        # Only the last tick of each symbol: a second store would overwrite the record that counts.
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
        block_ticks = min(BLOCK_TICKS, self._capacity)
        for begin in range(0, len(indices), block_ticks):
            block = slice(begin, begin + block_ticks)
            records = make_records(
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
            # Every block may use the same record: none counts before it is published.
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

    def _store_in_ring(self, record: Record) -> None:
        self._store(self._ring_word + record[POSITION] % self._capacity * RECORD_WORDS, record)

    def _store_as_latest(self, index: int, record: Record) -> None:
        which = self._next_latest[index]
        self._store(self._latest_word + (2 * index + which) * RECORD_WORDS, record)
        self._next_latest[index] = 1 - which

    def _store(self, at: int, record: Record) -> None:
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
        """Make all ticks up to `position` count, and wake the readers that wait for them."""
        self._words[PUBLISHED] = position
        self._position = position
        self._in_step = True
        with self._fence:
            pass
        if self._waiting.tobytes() != _NO_FLAGS:
            for slot, waits in enumerate(self._waiting.tobytes()):
                if waits:
                    # Cleared before the write: a reader that arms again in between gets one wake-up
                    # too many, never one too few.
                    self._waiting[slot] = 0
                    self._waker.wake(slot)

    def lock_loss(self) -> str:
        """Return what has become of the lock's file; "" if it excludes a second writer."""
        path = lock_path(self._segment.name)
        if self._writer_lock is None or is_still_at(self._writer_lock, path):
            return ""
        return f"{path} was removed or replaced, so it no longer keeps a second writer out"

    def wake_readers(self) -> None:
        """Wake all readers that sleep, also those whose FIFO was removed, if it is open here."""
        for slot in range(SLOTS):
            self._waker.wake(slot)

    def close(self) -> None:
        """Close the descriptors of the wake-ups. `release` the lock last."""
        self._waker.close()

    def release(self) -> None:
        """Release the writer's lock."""
        if self._writer_lock is not None:
            os.close(self._writer_lock)
            self._writer_lock = None

    def forget_parent(self) -> None:
        """Drop, in a forked child, the lock and the descriptors, which are the parent's."""
        self._waker.close()
        self._fence = threading.Lock()
        self._in_step = False
        self.release()  # a duplicate: the parent's lock stands


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
