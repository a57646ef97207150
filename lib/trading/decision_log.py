"""When each batch of ticks was decided on: a ring in a mapped file, for observers of a strategy.

A strategy writes one record a batch, after it has sent its orders: a reading of the clock and four
stores. Readers cost it nothing. Joined with the ticks of the price book, the records say how long
each tick took from the gateway to the decision.

Each strategy has one file, created again for each tape; a restarted strategy continues it. One
process writes, any number read, and none of them locks or waits. A reader copies records, then
checks how far the writer has come, and discards those that may have been overwritten; it counts the
records that it missed. A reader that follows several tapes opens the file again for each. (That a
counted record is complete relies on stores becoming visible in order, as on x86. Elsewhere a figure
of the statistics may be wrong, but no trade.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.process.log_events import DecisionsNotRecorded
from lib.process.log_once import LogOnce
from lib.process.state_file import StateFile, continue_state, create_state, open_state

RING_RECORDS: Final = 65_536
"""Some seconds of decisions at full speed; 1.5 MB."""

_RECORD_WORDS: Final = 3
_COUNT: Final = 0
_RING: Final = 1
_WORDS: Final = _RING + RING_RECORDS * _RECORD_WORDS


class Decided(NamedTuple):
    """What `DecisionReader.read` returns: columns of one length, a record each, in order."""

    first: NDArray[np.int64]
    """The sequence of the first tick of a batch."""
    last: NDArray[np.int64]
    """The sequence of the last tick of that batch."""
    decided_ns: NDArray[np.int64]
    """When all of the batch was evaluated (monotonic ns). Its orders are sent after that, and then
    the record is written."""
    missed: int
    """Records that were overwritten before this read."""


def decision_log_path(var_dir: Path, client_id: str) -> Path:
    """Return the path of the decision log of this client_id."""
    return var_dir / f"strategy-{client_id}.decisions"


class DecisionLog:
    """The writer of a decision log. One a strategy.

    Trading does not depend on it: while the file cannot be created, decisions are not recorded, and
    that is logged once. It is a `KeptFile`: its keeper tries again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tape: str | None = None
        self._state: StateFile | None = None
        self._failure = LogOnce()

    def add(self, tape: str, first: int, last: int, decided_ns: int) -> None:
        """Record that the ticks from `first` to `last` have been decided on."""
        if tape != self._tape:
            self._begin(tape)
        if self._state is None:
            return
        words = self._state.words
        count = words[_COUNT]
        at = _RING + count % RING_RECORDS * _RECORD_WORDS
        words[at] = first
        words[at + 1] = last
        words[at + 2] = decided_ns
        words[_COUNT] = count + 1

    def is_in_place(self) -> bool:
        """Return whether an observer would find the file, if there has to be one."""
        if self._state is None:
            return self._tape is None
        return self._state.is_in_place()

    def put_back(self) -> None:
        """Write the file anew, with the latest records. Raises OSError."""
        if self._state is not None:
            self._state.put_back()
        elif self._tape is not None:
            self._state = self._create(self._tape)

    def _begin(self, tape: str) -> None:
        self._tape = tape
        before = continue_state(self.path, _WORDS)
        if before and before.header.get("tape") == tape:
            self._state = before
            return
        try:
            self._state = self._create(tape)
        except OSError as error:
            self._state = None
            self._failure.log_first(
                DecisionsNotRecorded(path=str(self.path), reason=error.strerror)
            )

    def _create(self, tape: str) -> StateFile:
        state = create_state(self.path, {"tape": tape}, [], further_words=_WORDS)
        self._failure.over()
        return state


class DecisionReader:
    """A reader of the decisions of one tape, from now on. For one thread."""

    def __init__(self, state: StateFile) -> None:
        self.tape: str = state.header["tape"]
        self.is_in_place = state.is_in_place
        self._words = state.words
        self._ring = np.frombuffer(state.words, np.int64)[_RING:].reshape(-1, _RECORD_WORDS)
        self._read = self._words[_COUNT]

    @classmethod
    def open(cls, path: Path) -> DecisionReader | None:
        """Open the log after its newest record; None if there is no such file."""
        state = open_state(path, _WORDS)
        return cls(state) if state and isinstance(state.header.get("tape"), str) else None

    def read(self) -> Decided:
        """Return all records since the last call."""
        count = self._words[_COUNT]
        begin = max(self._read, count - RING_RECORDS)
        records = self._ring[np.arange(begin, count) % RING_RECORDS]  # a copy
        # The oldest record may be overwritten at this moment.
        sure = max(begin, self._words[_COUNT] - RING_RECORDS + 1)
        missed = min(sure, count) - self._read
        self._read = count
        first, last, decided_ns = records[sure - begin :].T.copy()
        return Decided(first, last, decided_ns, missed)


def decided_at(sequences: NDArray[np.int64], decisions: Decided) -> NDArray[np.int64]:
    """Return when each tick was decided on, 0 if it was not. The decisions are in order."""
    first, last, decided_ns, _ = decisions
    if not len(last):
        return np.zeros(len(sequences), np.int64)
    which = np.minimum(np.searchsorted(last, sequences), len(last) - 1)
    inside = (first[which] <= sequences) & (sequences <= last[which])
    return np.where(inside, decided_ns[which], 0)
