"""The tapes that were prepared from files, in `var/tapes/`: found by what they were made from.

    RECIPE.json        what came of a recipe: the name of a prepared tape, or why there is none
    IDENTITY-RECIPE/   a prepared tape (`lib.tapes.prepared`)
    .preparing/        one that is being made, or what a killed preparation left
    lock               held by the process that prepares

What came of a recipe holds for its files as they were: not when one of them changes, comes or goes.
Nor does it hold after a change of the code that reads, or after a reboot: nothing is synchronised
to the disk, and a machine that loses power may leave pages of zeros in a file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final, overload

import msgspec
from msgspec import Struct

from lib.process.file_lock import lock_file
from lib.process.own_files import make_own_directory, read_own, replaced
from lib.process.run_identity import Run
from lib.settings import PROJECT_ROOT
from lib.tapes.prepared import About, PreparedSentiments, PreparedTape
from lib.tapes.recipe import NewsRecipe, Recipe, TickRecipe, recipe_digest
from lib.tapes.source_files import source_state
from lib.tapes.tape import TapeError

KEPT_TAPES: Final = 8
"""The most prepared tapes that are kept, ticks and sentiments together. Ten million ticks take
120 MB."""
KEPT_OUTCOMES: Final = 64
"""The most recipes of which is kept what came of them."""

_PREPARING: Final = ".preparing"
_REMOVED: Final = ".removed"
_OUTCOME: Final = ".json"
_LOCK: Final = "lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_READERS: Final = ("lib/tape_files", "lib/tapes")
"""The code by which a file becomes a tape."""

Prepared = PreparedTape | PreparedSentiments


class Refused(Struct, frozen=True, kw_only=True):
    """Why there is no prepared tape of a recipe."""

    reason: str
    """One human-readable line."""
    run: Run
    """In which run it was refused."""
    lasts: bool
    """Whether another try would bring the same, as long as the files do not change."""


class _Outcome(Struct, frozen=True, kw_only=True):
    """What came of a recipe."""

    sources: str
    """The `source_state` for which it holds."""
    origin: str
    directory: str = ""
    refused: Refused | None = None


class TapeStore:
    """The prepared tapes of one var directory."""

    def __init__(self, var_dir: Path) -> None:
        self.directory: Final = var_dir / "tapes"
        self._is_preparing = False
        self._is_discarded = False

    @overload
    def find(self, recipe: TickRecipe) -> PreparedTape | Refused | None: ...
    @overload
    def find(self, recipe: NewsRecipe) -> PreparedSentiments | Refused | None: ...
    def find(self, recipe: Recipe) -> Prepared | Refused | None:
        """Return what came of a recipe, for the files as they are; None if that is not known."""
        outcome = self._outcome(recipe)
        if outcome is None or outcome.origin != _origin():
            return None
        if outcome.refused and not outcome.refused.lasts:  # of a try, whatever the files are now
            return outcome.refused
        if outcome.sources != source_state(recipe):
            return None
        return outcome.refused or self.open(recipe, outcome.directory)

    @overload
    def open(self, recipe: TickRecipe, name: str) -> PreparedTape | None: ...
    @overload
    def open(self, recipe: NewsRecipe, name: str) -> PreparedSentiments | None: ...
    def open(self, recipe: Recipe, name: str) -> Prepared | None:
        """Map the prepared tape of that name, whatever became of its files.

        None if it is gone or damaged, or of another recipe.
        """
        if not name.endswith(_suffix(recipe)) or "/" in name:
            return None
        directory = self.directory / name
        with suppress(TapeError):
            kind = PreparedTape if isinstance(recipe, TickRecipe) else PreparedSentiments
            prepared: Prepared = kind(directory)
            with suppress(OSError):
                os.utime(directory)  # the least recently used go first
            return prepared
        return None

    def is_of_present_files(self, recipe: Recipe, name: str) -> bool:
        """Return whether the files are still those that this prepared tape was made of."""
        outcome = self._outcome(recipe)
        return bool(
            outcome and outcome.directory == name and outcome.sources == source_state(recipe)
        )

    def prepare(
        self,
        recipe: Recipe,
        make: Callable[[Path], About],
        run: Run,
        in_use: Collection[str] = (),
    ) -> About | Refused:
        """Make a prepared tape, and note what came of it.

        `make(directory)` fills an empty directory; what it raises as TapeError is why the recipe is
        refused. Prepared tapes named in `in_use` are not removed to make room. Raises LockHeldError
        if another process prepares, and OSError if the store cannot be written.
        """
        make_own_directory(self.directory)
        with self._lock():
            _remove_hidden(self.directory)
            before = source_state(recipe)
            made = self._make(recipe, make, run)
            sources = source_state(recipe)
            if sources != before:
                reason = f"{recipe.path or 'query'}: changed while it was read; try again"
                made = Refused(reason=reason, run=run, lasts=False)
            name = "" if isinstance(made, Refused) else f"{made.identity}{_suffix(recipe)}"
            if name:
                self._put_in_place(name)
            else:
                _remove_hidden(self.directory)
            self._make_room({name, *in_use} - {""})
            outcome = _Outcome(
                sources=sources,
                origin=_origin(),
                directory=name,
                refused=made if isinstance(made, Refused) else None,
            )
            with replaced(self._path(recipe)) as file:
                file.write(msgspec.json.encode(outcome))
        return made

    def discard(self) -> None:
        """Remove what `prepare` makes in another thread. For a process that ends.

        `prepare` then raises OSError at its next use of a file.
        """
        self._is_discarded = True
        if self._is_preparing:
            _remove_hidden(self.directory)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        fd = lock_file(self.directory / _LOCK, f"{os.getpid()}")
        self._is_preparing = True
        try:
            yield
        finally:
            self._is_preparing = False
            os.close(fd)

    def _make(self, recipe: Recipe, make: Callable[[Path], About], run: Run) -> About | Refused:
        directory = self.directory / _PREPARING
        try:
            directory.mkdir()
            return make(directory)
        except TapeError as error:
            return Refused(reason=str(error), run=run, lasts=True)
        except OSError as error:  # a full disk, say
            if self._is_discarded:
                raise
            where = error.filename or self.directory
            reason = f"cannot prepare {recipe.path or 'the query'}: {where}: {error.strerror}"
            return Refused(reason=reason, run=run, lasts=False)

    def _put_in_place(self, name: str) -> None:
        """Give what was made its name, in the place of an earlier one that is damaged or older."""
        place = self.directory / name
        if place.exists():  # a gateway that has mapped it goes on with what it has mapped
            _remove(place)
        (self.directory / _PREPARING).replace(place)

    def _make_room(self, in_use: set[str]) -> None:
        """Remove the prepared tapes and the outcomes that were used least recently."""
        entries = sorted(self.directory.iterdir(), key=_used_ns, reverse=True)
        tapes = [entry for entry in entries if entry.is_dir()]
        room = max(0, KEPT_TAPES - len(in_use))
        for tape in [one for one in tapes if one.name not in in_use][room:]:
            _remove(tape)
        for outcome in [one for one in entries if one.suffix == _OUTCOME][KEPT_OUTCOMES - 1 :]:
            outcome.unlink(missing_ok=True)

    def _outcome(self, recipe: Recipe) -> _Outcome | None:
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.decode(read_own(self._path(recipe)), type=_Outcome)
        return None

    def _path(self, recipe: Recipe) -> Path:
        return self.directory / f"{recipe_digest(recipe)}{_OUTCOME}"


def _suffix(recipe: Recipe) -> str:
    return f"-{recipe_digest(recipe)}"


def _used_ns(entry: Path) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:
        return 0


def _remove_hidden(directory: Path) -> None:
    """Remove what is not in place. Call it with the lock."""
    _remove(directory / _REMOVED)
    _remove(directory / _PREPARING)


def _remove(directory: Path) -> None:
    """Remove a directory. It is renamed first, so that nothing can be made in it meanwhile."""
    removed = directory.with_name(_REMOVED)
    if directory != removed:
        with suppress(FileNotFoundError):
            directory.replace(removed)
    shutil.rmtree(removed, ignore_errors=True)


@cache
def _origin() -> str:
    """Return a digest of what a prepared tape depends on besides its recipe and its files."""
    origin = blake2b(digest_size=8)
    with suppress(OSError):
        origin.update(_BOOT_ID.read_bytes())
    for room in _READERS:
        for module in sorted((PROJECT_ROOT / room).glob("*.py")):
            with suppress(OSError):
                origin.update(module.read_bytes())
    return origin.hexdigest()
