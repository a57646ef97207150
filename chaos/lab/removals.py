"""Removes files of a stack, and watches what becomes of each: made again, logged, or neither.

What is in the var directory is moved out of it, which is the same for the stack: the name is gone.
So it can be put back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chaos.lab.recorder import Event, Recorder
from chaos.lab.stack_files import HeldFiles, events_naming, short_name
from chaos.lab.target import TargetStack, wait_for
from lib.clock import SECOND_NS
from lib.price_book.segment_files import SHM_DIR

NOTICE_S: Final = 6.0
"""How long a loss may take to be healed or logged. The stack looks at least once a second; on few
cores, a role that has to be started again takes longer."""
HEALED_AFTER_S: Final = 3.0
"""How long after it was logged a file may still be made again: then it was not only logged."""
LOOK_S: Final = 0.2
MOVED: Final = "moved"
"""The directory beside the var directory with what was moved out of it."""
OLDEST_PART: Final = 99
"""The number under which a log that was made again gets its moved part back, as a rotated one: the
judge reads all parts. A later part has the next lower number."""


@dataclass(frozen=True)
class Removal:
    """What became of one file that was removed."""

    file: str
    while_what: str = ""
    """What else was the case."""
    healed_ns: int | None = None
    """From the removal until it was there again, and in use; None: not within the time."""
    said: tuple[str, ...] = ()
    """The warnings and errors that name it, as `role: event`."""

    @property
    def title(self) -> str:
        """The file, and what else was the case."""
        return f"{self.file} {self.while_what}".strip()

    @property
    def outcome(self) -> str:
        """What happened, human-readable; "" if nothing did."""
        healed = f"healed in {self.healed_ns / SECOND_NS:.1f} s" if self.healed_ns else ""
        return ", ".join(part for part in (healed, *self.said) if part)


def unmet_expectations(removals: Iterable[Removal]) -> list[str]:
    """List what was neither healed nor logged, or logged again and again, a line each. Pure."""
    reasons = []
    for removal in removals:
        if not removal.outcome:
            reasons.append(f"{removal.title}: not healed and not logged within {NOTICE_S:g} s")
        reasons += [
            f"{removal.title}: removed once, and logged {times} times as {said}"
            for said, times in Counter(removal.said).items()
            if times > 1
        ]
    return reasons


@dataclass
class _RemovedFile:
    """A file that was just removed."""

    path: Path
    book: str
    users: frozenset[str]
    moved_to: Path | None
    removed_ns: int
    seen_events: int
    removal: Removal
    events_until: int | None = None
    """What is logged after it was removed again, or another part of its price book was, is about
    that."""
    logged_s: float | None = None


class Remover:
    """Removes files of one stack, and watches what becomes of them. For one thread."""

    def __init__(self, target: TargetStack, recorder: Recorder) -> None:
        self._target = target
        self._events: Sequence[Event] = recorder.recording.events
        self._moved_dir = target.var_dir.parent / MOVED
        self._moved_dir.mkdir(exist_ok=True)
        self._watched: list[_RemovedFile] = []

    def remove(
        self,
        paths: Iterable[Path],
        *,
        book: str = "",
        while_what: str = "",
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[Removal]:
        """Remove files one after the other; wait until each was healed or logged.

        `book` is the price book that they are parts of, if they are: what is logged about it is
        about each of them. `meanwhile` is called once they are gone. Returns what became of them.
        """
        paths = list(paths)
        for earlier in self._watched:
            is_again = earlier.path in paths or (book and earlier.book == book)
            if is_again and earlier.events_until is None:
                earlier.events_until = len(self._events)
        held = HeldFiles(self._target)
        watched = []
        for path in paths:
            if one := self._remove(path, held.holders(path), book, while_what):
                watched.append(one)
                self._watched.append(one)
        meanwhile()
        wait_for(lambda: self._are_over(watched), NOTICE_S, LOOK_S)
        return [self._found(one) for one in watched]

    def removals(self) -> list[Removal]:
        """Return what became of all of them, with everything that was logged until now."""
        return [self._found(one) for one in self._watched]

    def put_back(self) -> None:
        """Put back what was moved and was not made again. May be called at any time, again."""
        for one in self._watched:
            if one.moved_to and one.moved_to.exists() and not one.path.exists():
                one.moved_to.rename(one.path)

    def return_logs(self) -> None:
        """Put logs that were made again beside the new ones, as rotated parts. Call it last."""
        for one in self._watched:
            if one.moved_to and one.moved_to.exists() and one.path.suffix == ".jsonl":
                one.moved_to.rename(_unused_part(one.path))

    def _remove(
        self, path: Path, users: frozenset[str], book: str, while_what: str
    ) -> _RemovedFile | None:
        """Remove one file; None if its owner has just done so."""
        name = short_name(self._target, path)
        moved_to = None
        if path.parent != SHM_DIR:
            moved_to = self._moved_dir / f"{len(self._watched)}-{path.name}"
        seen = len(self._events)
        try:
            if moved_to is None:
                path.unlink()
            else:
                path.rename(moved_to)
        except FileNotFoundError:
            return None
        removal = Removal(name, while_what)
        return _RemovedFile(path, book, users, moved_to, time.monotonic_ns(), seen, removal)

    def _are_over(self, watched: Iterable[_RemovedFile]) -> bool:
        """Look which files are healed; return whether none need be watched any longer."""
        held = HeldFiles(self._target)
        return not [one for one in watched if not self._is_over(one, held)]

    def _is_over(self, one: _RemovedFile, held: HeldFiles) -> bool:
        if one.removal.healed_ns:
            return True
        if held.is_in_use(one.path, one.users):
            healed_ns = time.monotonic_ns() - one.removed_ns
            one.removal = replace(one.removal, healed_ns=healed_ns)
            return True
        if one.logged_s is None and self._found(one).said:
            one.logged_s = time.monotonic()
        return one.logged_s is not None and time.monotonic() > one.logged_s + HEALED_AFTER_S

    def _found(self, one: _RemovedFile) -> Removal:
        events = self._events[one.seen_events : one.events_until]
        named = events_naming(one.path, events, book=one.book)
        return replace(one.removal, said=tuple(f"{n.source}: {n.event}" for n in named))


def _unused_part(log: Path) -> Path:
    parts = (log.with_name(f"{log.name}.{number}") for number in range(OLDEST_PART, 0, -1))
    return next(part for part in parts if not part.exists())
