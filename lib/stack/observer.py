"""What an observer of a running stack follows: its price book and its logs, each as it grows.

The dashboard makes views of it, the recorder of the chaos lab records it with the times at which it
was seen, the bench joins it with the decisions (`lib.trading.decision_log`). All of it is in shared
memory or in files. So the stack never waits for an observer, and supervisord, which a question
would wake, is asked nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from lib.price_book.own_price_book import OwnPriceBook
from lib.price_book.reader import READ_TICKS
from lib.process.log_events import LogLine, read_line
from lib.shared_memory_utils import Batch, PriceBookReader
from lib.stack.log_follower import (
    READ_BYTES,
    SUPERVISORD,
    LogFiles,
    SupervisorEvent,
    read_supervisor_line,
)
from lib.wire.ticks import TICK

NO_TICKS: Final = Batch(np.empty(0, TICK), None)


class BookFollower(OwnPriceBook):
    """Reads the ticks of a stack's price book, and of the one that replaces it. For one thread."""

    reader: PriceBookReader | None = None
    """The place in the price book, while attached."""

    def attach(self, now_ns: int, earlier_ticks: int) -> bool:
        """Attach if there is a price book; return whether reading begins with this call.

        It begins with the `earlier_ticks` that are the latest now.
        """
        book = self.look(now_ns)
        if self.reader is not None or book is None:
            return False
        self.reader = book.reader(max(0, book.reader().position - earlier_ticks))
        return True

    def read(self, max_ticks: int = READ_TICKS) -> Batch:
        """Return the next ticks, as `PriceBookReader.read` does; none without a price book.

        A price book that was replaced or removed is closed after its last tick.
        """
        if self.reader is None:
            return NO_TICKS
        # In this order: a segment that is retired gets no further tick.
        retired = self.reader.retired or self.is_lost
        batch = self.reader.read(max_ticks)
        if retired and not len(batch.ticks):
            self.let_go()
        return batch

    def let_go(self) -> None:
        """Close the price book, if attached."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        super().let_go()


class SeenLine(NamedTuple):
    """A line of a log, and when it was seen."""

    seen_ns: int
    """When it was read (monotonic)."""
    program: str
    """Whose log it is in; SUPERVISORD for its own."""
    line: LogLine | SupervisorEvent


class EventFollower:
    """Reads what the programs of a stack log, and what supervisord logs about them.

    For one thread. Text that is no event is skipped.
    """

    def __init__(
        self,
        var_dir: Path,
        programs: Collection[str] = (),
        *,
        earlier_bytes: int = 0,
        read_bytes: int = READ_BYTES,
    ) -> None:
        """Follow the logs of these programs; without any, of all that are or will be in `var_dir`.

        `earlier_bytes` is how much is read of what is in each log already, `read_bytes` the most
        that one `read` takes of each.
        """
        log_dir = var_dir / "log"
        # supervisord first, so that a program's start comes before the lines of the program itself,
        # even if they are read late.
        supervisord = var_dir / f"{SUPERVISORD}.log"
        named = (supervisord, *(log_dir / f"{program}.jsonl" for program in programs))
        self._files = LogFiles(
            lambda: named if programs else (*named, *log_dir.glob("*.jsonl")),
            earlier_bytes,
            read_bytes,
        )

    def read(self) -> list[SeenLine]:
        """Return the new lines, at most `read_bytes` of each file, in its order."""
        seen = []
        for program, raw in self._files.read():
            line: LogLine | SupervisorEvent | None
            if program == SUPERVISORD:
                line = read_supervisor_line(raw.decode(errors="replace"))
            else:
                line = read_line(raw)
            if line:
                seen.append(SeenLine(time.monotonic_ns(), program, line))
        return seen

    def close(self) -> None:
        """Close the files."""
        self._files.close()
