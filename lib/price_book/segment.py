"""The bytes of a price book: where each thing lies, how it is checked, how it is mapped.

    offset            bytes         what
    0                 8             magic b"TWPRICES"
    8                 8             version of this layout
    16                8             retired: not 0 once the segment has been replaced or removed
    24                8             size of the segment
    32                8             S, the number of symbols
    40                8             C, the capacity of the ring in ticks
    48                8             process number of the creator, for debugging
    56                8             digest of all the above but `retired`, and of the symbols
    64                8             published: the position of the newest tick that counts
    72                16            run: process number and start of the run it belongs to, or 0, 0
    88                8             identity: a random number that no other segment has
    128               64            one byte a wake-up slot: its reader is about to sleep
    256               64 x 8        one word a wake-up slot: 1 + the position that its reader, a
                                    role, has reached; 0 without one
    768               16 S          symbols, UTF-8, padded with NUL
    768 + 16 S        64 x 80       epochs: number, tape (64 bytes, ASCII), digest
    5888 + 16 S       2 S x 48      two records a symbol, one of them its latest tick
    5888 + 112 S      48 C          the ring: the tick at position p lies in slot p mod C

So the size is 5888 + 112 S + 48 C bytes; 12.6 MB for 4 symbols and 262,144 ticks. All words are
in the byte order of the machine. A record is six words, the same in the ring and in the latest:

    position, sequence, price (10⁻⁸), sent_ns (monotonic), symbol (int32) and epoch (int32), check

Position counts the ticks of the segment from 1. Sequence is the number the tick has on its tape;
it restarts with each epoch. Epochs count from 1; 0 is what comes before the first.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import sys
import threading
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, shared_memory
from typing import Final, NamedTuple

import numpy as np

from lib.price_book.segment_files import (
    MAGIC,
    RETIRED_OFFSET,
    PriceBookMismatch,
    cannot_use,
    check_trusted,
    segment_path,
)
from lib.price_book.wake_up import SLOTS
from lib.process.own_files import check_own
from lib.process.run_identity import Run
from lib.wire.stream_messages import MAX_SYMBOL_BYTES

VERSION: Final = 2

MAX_SYMBOLS: Final = 65_536
MAX_RING_CAPACITY: Final = 1 << 26
"""The largest ring, in ticks."""
MAX_POSITION: Final = 1 << 62
"""No ring reaches it within a thousand years at full speed: a larger position is damage."""
MAX_TAPE_BYTES: Final = 63
EPOCHS: Final = 64
"""How many epochs back the name of the tape is still known."""

RETIRED: Final = RETIRED_OFFSET // 8
"""Index of the header word that is not 0 once the segment is retired."""
PUBLISHED: Final = 8
"""Index of the header word with the position of the newest tick that counts."""
_RUN: Final = 9
"""Index of the first of the two words that name the run."""
_IDENTITY: Final = 11
"""Index of the word that names the segment."""
RECORD_WORDS: Final = 6
POSITION, SEQUENCE, PRICE, SENT_NS, SYMBOL_EPOCH, CHECK = range(RECORD_WORDS)
"""Where each word is in a record."""

_HEADER: Final = struct.Struct("=8s7Q")
_WAITING_OFFSET: Final = 128
_REACHED_OFFSET: Final = 256
_SYMBOLS_OFFSET: Final = _REACHED_OFFSET + 8 * SLOTS
_EPOCH: Final = struct.Struct("=Q64sQ")
_RECORD_BYTES: Final = 8 * RECORD_WORDS

_WORD: Final = (1 << 64) - 1
_MAX_SIGNED_WORD: Final = (1 << 63) - 1
_NO_RUN: Final = (0, 0)


def check_symbols(symbols: Sequence[str]) -> None:
    """Raise ValueError unless these can be the symbols of a price book."""
    if not 1 <= len(symbols) <= MAX_SYMBOLS:
        raise ValueError(f"a price book has 1 to {MAX_SYMBOLS} symbols, not {len(symbols)}")
    for symbol in symbols:
        if not 1 <= len(symbol.encode()) <= MAX_SYMBOL_BYTES or set(symbol) & set(",*\0"):
            raise ValueError(
                f"a symbol is 1 to {MAX_SYMBOL_BYTES} bytes without ',' and '*', not {symbol!r}"
            )
    if len(set(symbols)) != len(symbols):
        twice = next(symbol for i, symbol in enumerate(symbols) if symbol in symbols[:i])
        raise ValueError(f"a price book has each symbol once, not {twice!r} twice")


class SegmentLayout(NamedTuple):
    """Where each part of a segment begins, as its symbols and its ring's capacity determine it."""

    symbols: tuple[str, ...]
    ring_capacity: int

    @classmethod
    def of(cls, symbols: Sequence[str], ring_capacity: int) -> SegmentLayout:
        """Check the arguments. Raises ValueError if no price book can have them."""
        if isinstance(symbols, str):
            raise ValueError(f"symbols are a list of names, not the text {symbols!r}")
        check_symbols(symbols)
        if not 1 <= ring_capacity <= MAX_RING_CAPACITY:
            raise ValueError(
                f"ring_capacity is 1 to {MAX_RING_CAPACITY} ticks, not {ring_capacity}"
            )
        return cls(tuple(symbols), ring_capacity)

    @classmethod
    def read(cls, segment: memoryview) -> SegmentLayout:
        """Read it from a segment of unknown origin.

        Raises PriceBookMismatch unless the segment is a complete price book of this version, as
        large as its header says.
        """
        if len(segment) < _SYMBOLS_OFFSET:
            raise PriceBookMismatch(f"of {len(segment)} bytes is no price book: it has no header")
        header = bytes(segment[: _HEADER.size])
        magic, version, _, total_bytes, symbol_count, ring_capacity, pid, digest = _HEADER.unpack(
            header
        )
        if magic != MAGIC:
            raise PriceBookMismatch("is no price book: it does not begin with TWPRICES")
        if version != VERSION:
            raise PriceBookMismatch(f"is of version {version}; this program reads {VERSION}")
        # From here on each number is checked before it is used as an offset or a count.
        if not (1 <= symbol_count <= MAX_SYMBOLS and 1 <= ring_capacity <= MAX_RING_CAPACITY):
            raise PriceBookMismatch(
                f"is damaged: it says {symbol_count} symbols and a ring of {ring_capacity} ticks"
            )
        published = int.from_bytes(segment[8 * PUBLISHED : 8 * PUBLISHED + 8], sys.byteorder)
        if published > MAX_POSITION:
            raise PriceBookMismatch(f"is damaged: it says that {published} ticks are published")
        if not _total_bytes(symbol_count, ring_capacity) == total_bytes <= len(segment):
            raise PriceBookMismatch(
                f"is damaged: it has {len(segment):,} bytes, says {total_bytes:,}, and should have "
                f"{_total_bytes(symbol_count, ring_capacity):,}"
            )
        table = bytes(segment[_SYMBOLS_OFFSET : _SYMBOLS_OFFSET + MAX_SYMBOL_BYTES * symbol_count])
        if digest != _header_digest(total_bytes, symbol_count, ring_capacity, pid, table):
            raise PriceBookMismatch("is damaged: its header does not have the digest it says")
        try:
            symbols = [
                table[at : at + MAX_SYMBOL_BYTES].rstrip(b"\0").decode()
                for at in range(0, len(table), MAX_SYMBOL_BYTES)
            ]
            return cls.of(symbols, ring_capacity)
        except ValueError as error:
            raise PriceBookMismatch(f"is damaged: {error}") from None

    def beginning(self, run: Run | None = None) -> bytes:
        """Return the first bytes of a new segment of `run`; all bytes behind them are zero."""
        table = b"".join(symbol.encode().ljust(MAX_SYMBOL_BYTES, b"\0") for symbol in self.symbols)
        numbers = (self.total_bytes, len(self.symbols), self.ring_capacity, os.getpid())
        header = _HEADER.pack(MAGIC, VERSION, 0, *numbers, _header_digest(*numbers, table))
        owner = struct.pack("=3Q", *(run or _NO_RUN), secrets.randbits(64))
        return (header.ljust(8 * _RUN, b"\0") + owner).ljust(_SYMBOLS_OFFSET, b"\0") + table

    @property
    def total_bytes(self) -> int:
        """The size of the segment."""
        return _total_bytes(len(self.symbols), self.ring_capacity)

    @property
    def epochs_offset(self) -> int:
        """Bytes from the segment's start to the table of epochs."""
        return _SYMBOLS_OFFSET + MAX_SYMBOL_BYTES * len(self.symbols)

    @property
    def latest_offset(self) -> int:
        """Bytes from the segment's start to the latest records."""
        return self.epochs_offset + EPOCHS * _EPOCH.size

    @property
    def ring_offset(self) -> int:
        """Bytes from the segment's start to the ring."""
        return self.latest_offset + 2 * _RECORD_BYTES * len(self.symbols)


def _total_bytes(symbol_count: int, ring_capacity: int) -> int:
    return (
        _SYMBOLS_OFFSET
        + EPOCHS * _EPOCH.size
        + (MAX_SYMBOL_BYTES + 2 * _RECORD_BYTES) * symbol_count
        + _RECORD_BYTES * ring_capacity
    )


def _header_digest(
    total_bytes: int, symbol_count: int, ring_capacity: int, creator_pid: int, symbols: bytes
) -> int:
    numbers = struct.pack("=5Q", VERSION, total_bytes, symbol_count, ring_capacity, creator_pid)
    return _digest(numbers + symbols)


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class Segment:
    """A mapped segment and its parts. It never waits, takes no lock and checks no record.

    Attributes:
        name: what it was opened by.
        layout: where its parts begin.
        words: the whole segment as 64-bit words: quick for single ones (20 ns each).
        waiting: one byte a wake-up slot.
        reached: one word a wake-up slot.
        latest: array (2 S, RECORD_WORDS) of words; rows 2 i and 2 i + 1 are of symbol i.
        ring: array (C, RECORD_WORDS) of words.

    """

    def __init__(self, name: str) -> None:
        """Map an existing segment.

        Raises FileNotFoundError if there is none, PriceBookMismatch if it is no price book, and
        PriceBookError if it cannot be opened or is not ours alone.
        """
        self._memory = _open_memory(name)
        self._path = segment_path(name)
        self._file = self._memory.status()
        memory = self._memory.buf
        assert memory is not None  # it is until close()
        try:
            self.layout = SegmentLayout.read(memory)
        except PriceBookMismatch as error:
            memory.release()
            self._memory.close()
            raise PriceBookMismatch(f"segment {name} {error}") from None
        layout = self.layout
        self.name = name
        self._bytes = memory[: layout.total_bytes]
        self.words = self._bytes.cast("Q")
        self.waiting = memory[_WAITING_OFFSET : _WAITING_OFFSET + SLOTS]
        reached = memory[_REACHED_OFFSET : _REACHED_OFFSET + 8 * SLOTS]
        self.reached = reached.cast("Q")
        self._views = (self.words, self.reached, reached, self._bytes, self.waiting)
        self._tapes: dict[int, str] = {}
        array = np.frombuffer(self.words, np.uint64)
        latest, ring = layout.latest_offset // 8, layout.ring_offset // 8
        self.latest = array[latest:ring].reshape(-1, RECORD_WORDS)
        self.ring = array[ring:].reshape(-1, RECORD_WORDS)

    @property
    def latest_word(self) -> int:
        """The index in `words` at which `latest` begins."""
        return self.layout.latest_offset // 8

    @property
    def ring_word(self) -> int:
        """The index in `words` at which `ring` begins."""
        return self.layout.ring_offset // 8

    @property
    def identity(self) -> int:
        """A number of 63 bits that no other segment has, of this name or another."""
        return self.words[_IDENTITY] & _MAX_SIGNED_WORD

    @property
    def retired(self) -> bool:
        """Whether it has been replaced or removed."""
        return self.words[RETIRED] != 0

    def retire(self) -> None:
        """Mark it retired, whatever its name names by now. The caller wakes the readers."""
        self.words[RETIRED] = 1

    def loss(self) -> str:
        """Return what has become of its file; "" if its name still names it."""
        path = self._path
        try:
            if os.path.samestat(path.lstat(), self._file):
                return ""
        except FileNotFoundError:
            return (
                f"{path} was removed: systemd does that when its user logs out (RemoveIPC), and "
                "so does a plain SharedMemory reader when it ends"
            )
        return f"{path} was replaced by another file"

    def run(self) -> Run | None:
        """Return the run that the segment belongs to, None if it belongs to none.

        During `write_run` it may mix the old run and the new one.
        """
        named = Run(*self.words[_RUN : _RUN + 2].tolist())
        return None if named == _NO_RUN else named

    def write_run(self, run: Run) -> None:
        """Store the run that the segment belongs to. For the writer."""
        self.words[_RUN], self.words[_RUN + 1] = run

    def epochs(self) -> dict[int, str]:
        """Return the tapes of the newest epochs, by number, without any entry half written."""
        at = self.layout.epochs_offset
        # A copy, because the writer may change it meanwhile.
        table = bytes(self._bytes[at : at + EPOCHS * _EPOCH.size])
        epochs = {}
        for epoch, tape, digest in _EPOCH.iter_unpack(table):
            if digest == _epoch_digest(epoch, tape):
                epochs[epoch] = tape.rstrip(b"\0").decode("ascii", "replace")
        return epochs

    def tape(self, epoch: int) -> str:
        """Return the tape of an epoch; "" for a plain stream, and for a forgotten epoch."""
        tape = self._tapes.get(epoch)
        if tape is None:  # a look into the table takes some 50 µs, and a reader asks each batch
            self._tapes = self.epochs()
            tape = self._tapes.get(epoch, "")
        return tape

    def write_epoch(self, epoch: int, tape: bytes) -> None:
        """Enter an epoch; it takes the place of the one `EPOCHS` before it."""
        at = self.layout.epochs_offset + epoch % EPOCHS * _EPOCH.size
        tape = tape.ljust(MAX_TAPE_BYTES + 1, b"\0")
        self._bytes[at : at + _EPOCH.size] = _EPOCH.pack(epoch, tape, _epoch_digest(epoch, tape))

    def close(self) -> None:
        """Unmap it. Any later use of its parts raises ValueError. May be called again."""
        # An array cannot release its memory. If a thread in the middle of a call holds one that is
        # no copy, the memory is unmapped when that array is freed.
        self.latest = self.ring = np.empty((0, RECORD_WORDS), np.uint64)
        for release in (*(view.release for view in self._views), self._memory.close):
            with suppress(BufferError):
                release()


def _epoch_digest(epoch: int, tape: bytes) -> int:
    return _digest(epoch.to_bytes(8, "little") + tape)


def _open_memory(name: str) -> _UntrackedSharedMemory:
    """Open and map a segment, of which nothing has been read yet; see `Segment`."""
    path = segment_path(name)
    try:
        memory = _UntrackedSharedMemory(name)
    except FileNotFoundError as error:
        no_book = "no price book of this name: is its stack running?"
        raise FileNotFoundError(error.errno, no_book, name) from None
    except (OSError, ValueError) as error:
        check_trusted(name)
        if isinstance(error, ValueError):  # mmap refuses an empty file so
            raise PriceBookMismatch(f"segment {name} is no price book: it is empty") from None
        raise cannot_use(path, error) from error
    try:
        check_own(path, memory.status())
    except OSError as error:
        memory.close()
        raise cannot_use(path, error) from error
    return memory


class _UntrackedSharedMemory(shared_memory.SharedMemory):
    """An attached segment that stays until it is removed explicitly.

    CPython's resource tracker would remove it when a process that attached to it ends, and
    `SharedMemory` would remove it when it cannot map it.
    """

    _fd: int

    def __init__(self, name: str) -> None:
        if sys.version_info >= (3, 13):
            super().__init__(name, track=False)
        else:
            with _no_tracking_in_this_thread():
                super().__init__(name)

    def status(self) -> os.stat_result:
        """Return the status of the file that is mapped, wherever its name leads by now."""
        return os.fstat(self._fd)

    def unlink(self) -> None:
        """Do nothing: `SharedMemory` calls this when it fails to map a file it has opened."""

    def __del__(self) -> None:
        # An array may still use it at the end of the process: see `Segment.close`.
        with suppress(BufferError):
            super().__del__()


_patching = threading.Lock()


@contextmanager
def _no_tracking_in_this_thread() -> Iterator[None]:
    """Keep `SharedMemory` from registering what this thread opens; other threads are unaffected.

    Unregistering afterwards would start a tracker process for each process that attaches.
    """
    this_thread = threading.get_ident()
    with _patching:
        register = resource_tracker.register

        def register_for_others(name: Sized, rtype: str) -> None:
            if threading.get_ident() != this_thread:
                register(name, rtype)

        resource_tracker.register = register_for_others
        try:
            yield
        finally:
            resource_tracker.register = register
