"""Files that must be there for as long as a role runs: what vanishes is noticed, and put back.

A person, a clean-up job or another program may remove a file of a running stack. Its owner goes on
with what it has open, but a successor, or another program that looks at the name, finds nothing. So
the owner looks, at least once a second, whether the name still leads to its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from lib.clock import SECOND_NS, Clock, coarse_deadline
from lib.process.log_events import FileLost, log_event
from lib.process.log_once import LogOnce

LOOK_NS: Final = SECOND_NS // 2
"""How often to look, at most twice as long."""
PUT_BACK: Final = "removed or replaced; put back"
"""The `reason` of `file_lost` once all is well again."""


class KeptFile(Protocol):
    """A file that its owner can make again."""

    @property
    def path(self) -> Path:
        """Its name."""

    def is_in_place(self) -> bool:
        """Return whether the name leads to the file."""

    def put_back(self) -> None:
        """Make the name lead to the file again. Raises OSError."""


class FileKeeper:
    """Puts files back that were removed or replaced, and logs each loss once. A `Timed`."""

    def __init__(self, clock: Clock, files: Sequence[KeptFile]) -> None:
        self._log = structlog.get_logger()
        self._clock = clock
        self._look_ns = clock() + LOOK_NS
        self._files = [(file, LogOnce()) for file in files]
        """Each with why it cannot be put back."""

    def next_deadline_ns(self) -> int:
        """When to look."""
        return coarse_deadline(self._clock(), self._look_ns, LOOK_NS)

    def on_time(self, now_ns: int) -> None:
        """Look at each file; try again what could not be put back."""
        self._look_ns = now_ns + LOOK_NS
        for file, failure in self._files:
            if file.is_in_place():
                failure.over()
                continue
            path = str(file.path)
            try:
                file.path.parent.mkdir(parents=True, exist_ok=True)
                file.put_back()
            except OSError as error:
                reason = f"removed or replaced, and cannot be put back: {error.strerror}"
                failure.log_new(FileLost(file=path, reason=reason))
            else:
                failure.over()
                log_event(self._log, FileLost(file=path, reason=PUT_BACK))
