"""The last evaluated tick: the one number of a strategy that must survive a crash."""

from __future__ import annotations

from pathlib import Path

from lib.process.log_events import StateNotWritten
from lib.process.log_once import LogOnce
from lib.process.state_file import continue_state, create_state, open_state
from lib.wire.ticks import PLAIN_TAPE


def last_evaluated_path(var_dir: Path, client_id: str) -> Path:
    """Return the file in which the strategy of this client_id keeps its last evaluated tick."""
    return var_dir / f"strategy-{client_id}.state"


def read_last_evaluated(path: Path) -> tuple[str, int]:
    """Return tape and sequence of the last evaluated tick, ("", 0) without one. For observers."""
    state = open_state(path, word_count=1)
    return (str(state.header.get("tape")), state.words[0]) if state else ("", 0)


class LastEvaluated:
    """The last evaluated tick, in a file that survives a crash of the process.

    The file has one word, the tick's sequence. Its header has the tape and, for a plain stream, the
    identity of the price book. One process writes it. It is a `KeptFile`.
    """

    def __init__(self, path: Path) -> None:
        """Continue the file at `path`, or create it. Raises OSError if it cannot be written."""
        self.path = path
        self._state = continue_state(path, word_count=1) or create_state(path, {"tape": ""}, [0])
        self._last = (self._state.header.get("tape"), self._state.words[0])
        self._book = self._state.header.get("book")
        self._failure = LogOnce()

    def last(self, tape: str) -> int:
        """Return the sequence of the last evaluated tick of `tape`, 0 if there is none."""
        last_tape, sequence = self._last
        return sequence if last_tape == tape else 0

    def begin_book(self, identity: int) -> None:
        """Take note that the next ticks are of this price book.

        A plain stream has no tape: each book numbers its ticks from 1, so a sequence from another
        book is forgotten.
        """
        is_another, self._book = identity != self._book, identity
        if is_another and self._last[0] == PLAIN_TAPE:
            self._last = (PLAIN_TAPE, 0)
            self._begin_file()

    def store(self, tape: str, sequence: int) -> None:
        """Store the last evaluated tick.

        The first one of a tape needs a new file. If that cannot be written, trading goes on, and
        the failure is logged: the next process will not know which ticks it has missed.
        """
        self._last = (tape, sequence)
        if self._state.header.get("tape") == tape:
            self._state.words[0] = sequence
        else:
            self._begin_file()

    def is_in_place(self) -> bool:
        """Return whether a successor would find the file."""
        return self._state.is_in_place()

    def put_back(self) -> None:
        """Write the file anew. Raises OSError."""
        self._state.put_back()

    def _begin_file(self) -> None:
        tape, sequence = self._last
        try:
            header = {"tape": tape, "book": self._book}
            self._state = create_state(self.path, header, [sequence])
            self._failure.over()
        except OSError as error:
            self._failure.log_new(StateNotWritten(path=str(self.path), reason=error.strerror))
