"""Tape: prepares the tapes of the settings that come from files, and ends.

The gateway has supervisord start this program when it needs a tape that is not prepared yet, and
maps what is made here (`lib.tapes.store`). Reading is the work of `lib.tape_files`, in a thread.
The loop goes on meanwhile: the program beats, logs how far it is, and ends at once when asked.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from lib.clock import SECOND_NS
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.process.file_lock import LockHeldError
from lib.process.log_events import (
    PreparingEnded,
    TapePrepared,
    TapePreparing,
    TapeRefused,
    log_event,
)
from lib.process.role import RoleEndsError, run_role
from lib.process.run_identity import current_run
from lib.settings import Settings
from lib.streams.publication import STATE_NAME, played_tapes
from lib.tape_files.own_process import defect_text
from lib.tape_files.preparing import prepare
from lib.tapes.prepared import About
from lib.tapes.recipe import Recipe, kind_of, recipes
from lib.tapes.store import Refused, TapeStore
from lib.tapes.tape import TapeError

LOOK_NS: Final = SECOND_NS // 50
"""How often to look whether the work is done."""
PROGRESS_NS: Final = 2 * SECOND_NS
"""How often to log how far the work is."""
LOCK_LOOK_S: Final = 0.05
"""How often to look whether another process still prepares a tape."""
END_S: Final = 0.2
"""How long the work may take to notice that it is to end; then it is cut off."""
EXIT_S: Final = 1.0
"""How long the process may take to write its log after that."""


class _StoppedError(Exception):
    """Ends the work in the middle of it."""


class _Progress(NamedTuple):
    """How far the work is."""

    recipe: Recipe
    what: str
    share: float
    """From 0 to 1."""


class _Result(NamedTuple):
    """What came of a recipe."""

    recipe: Recipe
    made: About | Refused
    elapsed_s: float


class TapePreparer:
    """The role."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._store = TapeStore(settings.var_dir)
        self._run = current_run()
        self._in_use = played_tapes(settings.var_dir / STATE_NAME, self._run)
        self._is_stopping = False
        self._progress: _Progress | None = None
        self._results: list[_Result] = []
        """Those that are not logged yet."""
        self._error: Exception | None = None
        self._look_ns = loop.clock()
        self._progress_ns = self._look_ns + PROGRESS_NS
        loop.add_timed(self)
        self._recipes = [recipe for recipe in recipes(settings) if recipe]
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def step(self) -> None:
        """One pass: log what is done, and end with the work."""
        self._loop.poll()
        is_over = not self._worker.is_alive()
        while self._results:
            self._log_result(self._results.pop(0))
        if self._error:
            raise self._error
        if is_over:
            raise RoleEndsError(PreparingEnded(tapes=len(self._recipes)), 0)

    def close(self) -> None:
        """Remove what is half made."""
        self._is_stopping = True
        self._store.discard()
        self._worker.join(END_S)
        self._store.discard()
        if self._worker.is_alive():
            # A thread inside a library outlives no interpreter: it would crash at the end of it.
            atexit.register(os._exit, 0)
            # Before `atexit`, the interpreter waits for the database's own thread, which may be in
            # a function that cannot be interrupted.
            timer = threading.Timer(EXIT_S, os._exit, (0,))
            timer.daemon = True
            timer.start()

    def next_deadline_ns(self) -> int:
        """When to look at the work."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Log how far the work is, every PROGRESS_NS."""
        self._look_ns = now_ns + LOOK_NS
        progress = self._progress
        if now_ns < self._progress_ns or progress is None:
            return
        self._progress_ns = now_ns + PROGRESS_NS
        kind, share = kind_of(progress.recipe), round(progress.share, 3)
        log_event(self._log, TapePreparing(kind=kind, what=progress.what, share=share))

    def _log_result(self, result: _Result) -> None:
        recipe, made, elapsed_s = result
        kind = kind_of(recipe)
        if isinstance(made, Refused):
            raise RoleEndsError(TapeRefused(kind=kind, reason=made.reason))
        length, elapsed_s = made.findings.length, round(elapsed_s, 3)
        log_event(self._log, TapePrepared(kind=kind, length=length, elapsed_s=elapsed_s))

    # In the other thread

    def _work(self) -> None:
        try:
            for recipe in self._recipes:
                begun_s = time.monotonic()
                if made := self._made_of(recipe):
                    self._results.append(_Result(recipe, made, time.monotonic() - begun_s))
        except _StoppedError:
            pass
        except OSError as error:  # the store: a disk that is full, another user's directory
            where, reason = error.filename or self._store.directory, error.strerror or error
            self._error = CannotStartError(f"cannot write prepared tapes: {where}: {reason}")
        except Exception as error:
            self._error = error

    def _made_of(self, recipe: Recipe) -> About | Refused | None:
        """Prepare a tape; return None if it is prepared already."""
        while True:
            found = self._store.find(recipe)
            if found and not isinstance(found, Refused):
                return None
            try:
                return self._store.prepare(
                    recipe, partial(self._make, recipe), self._run, self._in_use
                )
            except LockHeldError:
                self._note(recipe, "waits until another process has prepared a tape", 0.0)
                time.sleep(LOCK_LOOK_S)

    def _make(self, recipe: Recipe, directory: Path) -> About:
        try:
            return prepare(recipe, directory, partial(self._note, recipe))
        except (TapeError, OSError, _StoppedError):
            raise
        except Exception as error:  # once, not at each start
            raise TapeError(defect_text(recipe, error)) from error

    def _note(self, recipe: Recipe, what: str, share: float) -> None:
        """Take note of how far the work is; raise _StoppedError if it is to end."""
        self._progress = _Progress(recipe, what, share)
        if self._is_stopping:
            raise _StoppedError


if __name__ == "__main__":
    run_role("tape", TapePreparer)
