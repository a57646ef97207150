"""What a strategy has evaluated, and when it had decided: a ring that anybody can look at.

A strategy writes one record a batch of ticks into a mapped file in the var directory, which costs
it a look at the clock and some stores, and whoever looks at it costs the strategy nothing: the
bench measures with it, a dashboard can show it. Its log says something only when there is an order.

    offset            words   what
    0                 1       magic
    8                 1       capacity C of the ring, in records
    16                1       count: how many records there have been; the last store of a record
    64                5 C     the ring: record n (from 1) lies in slot n mod C

A record is five words: tape (`tape_mark`), first and last sequence of the batch, the monotonic ns
at which it was decided, check. All words are in the byte order of the machine.

There is one writer, and nobody waits. A reader copies first and looks afterwards whether the writer
has come round meanwhile: a slot is overwritten from the moment on at which the record C before it
may be missing. The check value holds the words together, on machines where stores become visible
in another order, too. What a successor of a killed writer finds half written does not count yet.
"""

from __future__ import annotations

import mmap
import os
import struct
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

CAPACITY: Final = 65_536
"""In records. A strategy that is woken 20,000 times a second takes 3 s to go round."""

DECISION: Final = np.dtype(
    [("tape", "u8"), ("first", "i8"), ("last", "i8"), ("decided_ns", "i8"), ("check", "u8")]
)
"""A record: `tape` is the mark of its tape, the sequences are both inclusive."""

_MAGIC: Final = int.from_bytes(b"TWDECIDE", "little")
_HEADER: Final = struct.Struct("=3Q")
_COUNT: Final = 2
_RING: Final = 8
_RECORD_WORDS: Final = 5
"""Indices and numbers of words."""
_WORD: Final = (1 << 64) - 1
_MAX_COUNT: Final = 1 << 62
"""A larger one is damage."""


@lru_cache(maxsize=64)
def tape_mark(tape: str) -> int:
    """Return what stands for a tape in a record: a digest of its name."""
    return int.from_bytes(blake2b(tape.encode(), digest_size=8).digest(), "little")


def decision_log_path(var_dir: Path, client_id: str) -> Path:
    """Return where the strategy of that name writes."""
    return var_dir / f"strategy-{client_id}.decisions"


class DecisionLog:
    """The writer's side. One process, one thread."""

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        """See `open_decision_log`; a `bytearray` (`new_log`) is a log that nobody reads."""
        self._words = memoryview(memory).cast("B").cast("Q")
        self._capacity = self._words[1]
        self._count = self._words[_COUNT]

    def add(self, tape: str, first: int, last: int, decided_ns: int) -> None:
        """Say that the ticks `first` to `last` have been evaluated."""
        words = self._words
        self._count = number = self._count + 1
        mark = tape_mark(tape)
        at = _RING + number % self._capacity * _RECORD_WORDS
        words[at] = mark
        words[at + 1] = first
        words[at + 2] = last
        words[at + 3] = decided_ns
        words[at + 4] = _check(number, mark, first, last, decided_ns) & _WORD
        words[_COUNT] = number


def new_log(capacity: int = CAPACITY) -> bytearray:
    """Return the bytes of a log without records."""
    memory = bytearray(_log_bytes(capacity))
    _HEADER.pack_into(memory, 0, _MAGIC, capacity, 0)
    return memory


def _log_bytes(capacity: int) -> int:
    return 8 * (_RING + _RECORD_WORDS * capacity)


def open_decision_log(path: Path) -> DecisionLog:
    """Continue the file, or make it anew where it is no decision log.

    Where that cannot be done the log says so, trading goes on, and nobody can read the decisions.
    """
    try:
        try:
            return DecisionLog(_map(path, mmap.ACCESS_WRITE))
        except (FileNotFoundError, ValueError):
            _create(path)
            return DecisionLog(_map(path, mmap.ACCESS_WRITE))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        structlog.get_logger().error("decision_log_not_written", path=str(path), reason=reason)
        return DecisionLog(new_log())


class Decisions(NamedTuple):
    """What a reader has got."""

    records: NDArray[np.void]
    """Of `DECISION`, in order; a private copy."""
    missed: int
    """How many records before and among these were overwritten, or are damaged."""


class DecisionReader:
    """A place in the decisions of one strategy, from now on. Any number may read."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if there is no such file, ValueError if it is no decision log."""
        memory = _map(path, mmap.ACCESS_READ)
        self._words = memoryview(memory).cast("B").cast("Q")
        capacity = self._words[1]
        words = np.frombuffer(memory, np.uint64)[_RING:]
        self._ring = words.reshape(capacity, _RECORD_WORDS)
        self.count = self._words[_COUNT]
        """How many records have been read or missed."""

    @property
    def newest(self) -> int:
        """How many records there have been in all."""
        return self._words[_COUNT]

    def read(self) -> Decisions:
        """Return what has been added since the last call. Never waits."""
        capacity = len(self._ring)
        published = self._words[_COUNT]
        first = max(self.count + 1, published - capacity + 1)
        if published < first:
            return Decisions(np.empty(0, DECISION), 0)
        numbers = np.arange(first, published + 1)
        records = self._ring[numbers % capacity]
        # The writer may be at work on the record after those that count now.
        oldest_whole = self._words[_COUNT] + 2 - capacity
        columns = np.ascontiguousarray(records[:, :4].T)
        whole = (numbers >= oldest_whole) & (
            records[:, 4] == _check(numbers.view(np.uint64), *columns)
        )
        due, self.count = published - self.count, published
        kept = records[whole]
        return Decisions(kept.view(DECISION)[:, 0], due - len(kept))


def _check(number: Any, tape: Any, first: Any, last: Any, decided_ns: Any) -> Any:
    """Return the check value of one record (ints, to be cut to 64 bits) or of many (uint64).

    The words of two records that follow each other in a slot differ by a few: bare sums of them
    would let a mixture pass.
    """
    return (
        number * 0x9E3779B97F4A7C15
        + first * 0xC2B2AE3D27D4EB4F
        + last * 0xD6E8FEB86659FD93
        + decided_ns * 0xA0761D6478BD642F
    ) ^ tape


def _map(path: Path, access: int) -> mmap.mmap:
    """Raises OSError, and ValueError if the file is no decision log."""
    with path.open("r+b" if access == mmap.ACCESS_WRITE else "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=access)
    if len(memory) >= _HEADER.size:
        magic, capacity, count = _HEADER.unpack_from(memory)
        is_whole = capacity and len(memory) == _log_bytes(capacity)
        if magic == _MAGIC and is_whole and count <= _MAX_COUNT:
            return memory
    raise ValueError(f"{path}: not a decision log")


def _create(path: Path) -> None:
    """Put an empty log in the place of whatever is there. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(new_log())  # all of it: a store into a hole would end us where the disk is full
        file.flush()
        os.fchmod(file.fileno(), 0o600)
    temporary.replace(path)
