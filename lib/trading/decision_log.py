"""When each batch of ticks was decided on: a ring in a mapped file, for whoever looks from outside.

A strategy enters a record a batch, which is a reading of the clock and four stores, after it has
sent its orders; whether anybody looks makes no difference to it. Who joins the records with the
ticks of the price book knows how long each tick took from the gateway to the decision.

There is one file a strategy, made anew for each tape; a strategy that is restarted goes on with it.
One process writes, any number read; nobody locks or waits. A reader copies, then looks how far the
writer has come meanwhile, and throws away what may have been overwritten; it knows how many records
it has missed. It goes on with the file that it has opened: who follows several tapes opens it anew
when there is another one. (That a record is whole once it is counted relies on stores becoming
visible in order, as on x86: elsewhere a figure of the statistics may be false, and no trade.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from lib.process.log_events import DecisionsNotRecorded, log_event
from lib.process.state_file import StateFile, create_state, open_state

RING_RECORDS: Final = 65_536
"""Some seconds of them at full speed; 1.5 MB."""

_RECORD_WORDS: Final = 3
_COUNT: Final = 0
_RING: Final = 1
_WORDS: Final = _RING + RING_RECORDS * _RECORD_WORDS


class Decided(NamedTuple):
    """What `DecisionReader.read` returns: columns of one length, a record each, in order."""

    first: NDArray[np.int64]
    """The sequence of the first tick of a batch."""
    last: NDArray[np.int64]
    """And of its last one."""
    decided_ns: NDArray[np.int64]
    """When all of the batch was evaluated (monotonic ns). Its orders are sent after that, and the
    record is entered last."""
    missed: int
    """Records that were overwritten before this read."""


def decision_log_path(var_dir: Path, client_id: str) -> Path:
    """Return where the strategy of that name keeps it."""
    return var_dir / f"strategy-{client_id}.decisions"


class DecisionLog:
    """The writer's side. One a strategy.

    Nothing is traded differently for it: of a tape for which its file cannot be made, nothing is
    recorded, and the log says so once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tape: str | None = None
        self._state: StateFile | None = None
        self._told_failure = False

    def add(self, tape: str, first: int, last: int, decided_ns: int) -> None:
        """Enter that these ticks have been decided on."""
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

    def _begin(self, tape: str) -> None:
        self._tape = tape
        before = open_state(self._path, _WORDS)
        if before and before.header.get("tape") == tape:
            self._state = before
            return
        try:
            self._state = create_state(self._path, {"tape": tape}, [], further_words=_WORDS)
            self._told_failure = False
        except OSError as error:
            self._state = None
            if not self._told_failure:
                self._told_failure = True
                event = DecisionsNotRecorded(path=str(self._path), reason=error.strerror)
                log_event(structlog.get_logger(), event)


class DecisionReader:
    """A place in the records of one tape."""

    def __init__(self, state: StateFile) -> None:
        self.tape: str = state.header["tape"]
        self._words = state.words
        self._ring = np.frombuffer(state.words, np.int64)[_RING:].reshape(-1, _RECORD_WORDS)
        self._read = 0

    @classmethod
    def open(cls, path: Path) -> DecisionReader | None:
        """Begin with the oldest record there is; None if there is no such file."""
        state = open_state(path, _WORDS)
        return cls(state) if state and isinstance(state.header.get("tape"), str) else None

    def read(self) -> Decided:
        """Return all records since the last call."""
        count = self._words[_COUNT]
        begin = max(self._read, count - RING_RECORDS)
        records = self._ring[np.arange(begin, count) % RING_RECORDS]  # a copy
        # The oldest record of all may be being overwritten at this moment.
        sure = max(begin, self._words[_COUNT] - RING_RECORDS + 1)
        missed = min(sure, count) - self._read
        self._read = count
        first, last, decided_ns = records[sure - begin :].T.copy()
        return Decided(first, last, decided_ns, missed)


def decided_at(sequences: NDArray[np.int64], decisions: Decided) -> NDArray[np.int64]:
    """Return when each tick was decided, 0 where it was not. The decisions are in order."""
    first, last, decided_ns, _ = decisions
    if not len(last):
        return np.zeros(len(sequences), np.int64)
    which = np.minimum(np.searchsorted(last, sequences), len(last) - 1)
    inside = (first[which] <= sequences) & (sequences <= last[which])
    return np.where(inside, decided_ns[which], 0)
