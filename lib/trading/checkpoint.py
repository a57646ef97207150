"""The last evaluated tick: the one number of a strategy that must survive a crash."""

from __future__ import annotations

from pathlib import Path

import structlog

from lib.process.state_file import create_state, open_state
from lib.wire.ticks import PLAIN_TAPE


class LastEvaluated:
    """The last tick that was evaluated, kept where a crash does not reach it.

    A file with one word, the tick's sequence; its tape is in the header, and so is the identity of
    the price book, for a plain stream.
    """

    def __init__(self, path: Path) -> None:
        """Continue the file at `path`, or make it. Raises OSError if it cannot be written."""
        self._path = path
        self._state = open_state(path, word_count=1) or create_state(path, {"tape": ""}, [0])
        self._last = (self._state.header.get("tape"), self._state.words[0])
        self._book = self._state.header.get("book")
        self._told_failure = ""

    def last(self, tape: str) -> int:
        """The sequence of the last tick of `tape` that was evaluated, 0 if none was."""
        last_tape, sequence = self._last
        return sequence if last_tape == tape else 0

    def begin_book(self, identity: int) -> None:
        """The ticks to come are of this price book.

        A plain stream has no tape, so its ticks are numbered anew in each book: what was evaluated
        of another book's says nothing of them.
        """
        is_another, self._book = identity != self._book, identity
        if is_another and self._last[0] == PLAIN_TAPE:
            self._last = (PLAIN_TAPE, 0)
            self._begin_file()

    def store(self, tape: str, sequence: int) -> None:
        """Remember a tick as evaluated.

        The first one of a tape needs a new file. While that cannot be written, trading goes on and
        the log says what is lacking: a successor will not know which ticks it has not seen.
        """
        self._last = (tape, sequence)
        if self._state.header.get("tape") == tape:
            self._state.words[0] = sequence
        else:
            self._begin_file()

    def _begin_file(self) -> None:
        tape, sequence = self._last
        try:
            header = {"tape": tape, "book": self._book}
            self._state = create_state(self._path, header, [sequence])
            self._told_failure = ""
        except OSError as error:
            if error.strerror != self._told_failure:
                self._told_failure = str(error.strerror)
                structlog.get_logger().error(
                    "state_not_written", path=str(self._path), reason=error.strerror
                )
