"""Makes a prepared tape out of files or a query. Runs in a process of its own: DuckDB is large."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from lib.tape_files.column_names import SENTIMENT_NAMES
from lib.tape_files.findings import sentiment_findings, tick_findings
from lib.tape_files.reading import Reading, TickReading
from lib.tape_files.sealed import SealedDatabase, StatementError
from lib.tape_files.sentiment_reading import read_sentiments
from lib.tape_files.source import QUERY_TITLE, file_table, files_of, query_table
from lib.tape_files.table import Table
from lib.tape_files.tick_pass import TickSink
from lib.tape_files.tick_reading import read_ticks
from lib.tape_files.time_order import TimedTicks
from lib.tapes.prepared import About
from lib.tapes.prepared_writer import PreparedWriter
from lib.tapes.recipe import NewsRecipe, OnProgress, Recipe, TickRecipe
from lib.tapes.source_files import source_state
from lib.tapes.tape import TapeError

MAX_QUERY_S: Final = 600.0
"""How long a query may run."""
SCRATCH: Final = "scratch"
_SORTING_SHARE: Final = 0.3
"""How much of the work sorting is, about."""

_Reading = TypeVar("_Reading", bound=Reading)
_Sink = TypeVar("_Sink", bound=TickSink | PreparedWriter)


def prepare(
    recipe: Recipe, directory: Path, on_progress: OnProgress, max_query_s: float = MAX_QUERY_S
) -> About:
    """Write the prepared tape into `directory` (made by the caller, empty).

    `on_progress` is called at least every half second of work and may raise to stop it. Raises
    TapeError, one line, if the tape cannot be played. One at a time in a process.
    """
    scratch = directory / SCRATCH
    scratch.mkdir(mode=0o700)
    try:
        source = _Source(recipe, scratch, on_progress, max_query_s)
        if isinstance(recipe, NewsRecipe):
            return _prepare_sentiments(recipe, source, directory)
        return _prepare_ticks(recipe, source, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prepare_ticks(recipe: TickRecipe, source: _Source, directory: Path) -> About:
    reading = TickReading.of(recipe)
    with PreparedWriter(directory, "ticks", recipe.symbols) as writer:
        if recipe.time_order == "as-is":
            reading = source.read(read_ticks, reading, writer)
        else:
            source.share = 1 - _SORTING_SHARE
            with TimedTicks(source.scratch / "ticks") as ticks:
                reading = source.read(read_ticks, reading, ticks)
                reading.tally.restart()
                for symbols, prices in ticks.sorted(source.on_sorted):
                    reading.tally.add_prices(symbols, prices)
                    writer.add_ticks(symbols, prices)
        source.check_unchanged()
        return writer.finish(tick_findings(reading, source.title))


def _prepare_sentiments(recipe: NewsRecipe, source: _Source, directory: Path) -> About:
    with PreparedWriter(directory, "sentiments") as writer:
        reading = source.read(read_sentiments, Reading(path=recipe.path), writer)
        source.check_unchanged()
        return writer.finish(sentiment_findings(reading, source.title, writer.length))


class _Source:
    """The tables that a recipe names, one after another, with the progress over all of them."""

    def __init__(
        self, recipe: Recipe, scratch: Path, on_progress: OnProgress, max_query_s: float
    ) -> None:
        self.scratch = scratch
        self.title = recipe.path or QUERY_TITLE
        self.share = 1.0
        """How much of the work reading is."""
        self._recipe = recipe
        self._lonely = SENTIMENT_NAMES[0] if isinstance(recipe, NewsRecipe) else ""
        self._files = files_of(recipe.path) if recipe.path else []
        self._before = source_state(recipe)
        self._on_progress = on_progress
        self._max_query_s = max_query_s
        self._done = 0
        self._most = 0.0

    def read(
        self,
        read_table: Callable[[SealedDatabase, Table, _Reading, _Sink], _Reading],
        reading: _Reading,
        sink: _Sink,
    ) -> _Reading:
        """Append what all tables have to `sink`; return the reading with them."""
        if self._recipe.query:
            with self._named(QUERY_TITLE), self._query_table() as (database, table):
                return read_table(database, table, reading, sink)
        for path in self._files:
            opened = partial(file_table, path, self.scratch, self._on_share, lonely=self._lonely)
            with self._named(str(path)):
                mark = sink.length
                try:
                    with opened() as (database, table):
                        reading = read_table(database, table, reading, sink)
                except StatementError as error:
                    if not error.is_bad_row:
                        raise
                    sink.cut_back(mark)
                    with opened(is_bad_csv=True) as (database, table):
                        reading = read_table(database, table, reading, sink)
            self._done += 1
        return reading

    @contextmanager
    def _named(self, title: str) -> Iterator[None]:
        """Put the name of what is read before each TapeError: the readers do not."""
        try:
            yield
        except TapeError as error:
            self.check_unchanged()
            raise TapeError(f"{title}: {error}") from None

    def on_sorted(self, share: float) -> None:
        """Report how much is sorted."""
        self._on_progress("sorting", self.share + (1 - self.share) * share)

    def check_unchanged(self) -> None:
        """Raise TapeError if a file is not the one whose beginning was read."""
        if source_state(self._recipe) != self._before:
            raise TapeError(f"{self.title}: has changed while it was read: try again")

    def _query_table(self) -> AbstractContextManager[tuple[SealedDatabase, Table]]:
        deadline = time.monotonic() + self._max_query_s

        def on_share(share: float) -> None:
            if time.monotonic() > deadline:
                raise TapeError(
                    f"has not ended after {self._max_query_s:g} s: write what it gives to a "
                    "Parquet file, and play that"
                )
            self._on_progress("running the query", min(share, 1.0) * self.share)

        return query_table(self._recipe.query, self.scratch, on_share)

    def _on_share(self, share: float) -> None:
        done = (self._done + min(max(share, 0.0), 1.0)) / len(self._files)
        self._most = max(self._most, done)  # a file that is read again does not go back
        self._on_progress("reading", self._most * self.share)
