"""A Parquet file that is written in parts, so that a killed writer loses only the last one.

A part appears under its name when it is whole. DuckDB writes it; memory is bounded by the rows of
one part, and at the joining by DuckDB's own limit. Who writes or joins the parts holds a lock, so
that no part comes while they are joined and removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import duckdb
from numpy.typing import NDArray

from lib.process.file_lock import LockHeldError, lock_file
from lib.tape_files.sql import quoted_text
from lib.tapes.recording_files import PART_PATTERN, part_file, parts_directory
from lib.tapes.tape import TapeError
from lib.text import printable

MEMORY_LIMIT: Final = "512MB"
_LOCK: Final = "lock"
_JOINED: Final = "joined.new"
"""The name of the whole file in the directory of the parts, until it is whole."""


class PartsWriter:
    """Writes the parts of one file. Used from one thread."""

    def __init__(self, file: Path) -> None:
        """Nothing is made before the first part. Raises TapeError if a name is taken."""
        self.file: Final = file
        self._parts = 0
        self._lock: int | None = None
        if file.exists() or file.is_symlink():
            raise TapeError(f"{file} is there already; give another name")
        if parts_directory(file).exists():
            raise TapeError(
                f"{parts_directory(file)} is there already, of a recording that was cut off: "
                f"python -m lib.tapes record --join {file}, or remove it"
            )
        self._connection = _connection()

    def write(self, query: str, rows: Mapping[str, NDArray[Any]], **parameters: object) -> None:
        """Write a part: what `query` makes of the columns of `rows`.

        Raises TapeError, and then leaves nothing of this part.
        """
        part = part_file(self.file, self._parts + 1)
        new = part.with_suffix(".new")
        try:
            if self._lock is None:
                self._lock = self._begin()
            # DuckDB finds `rows` by its name. No fsync: a killed process loses nothing by that.
            self._connection.execute(
                f"COPY ({query}) TO {quoted_text(str(new))} (FORMAT parquet)", parameters
            )
            new.replace(part)
        except (duckdb.Error, OSError) as error:
            if self._lock is not None:
                self._discard(new)
            raise _cannot_write(part, str(error)) from None
        self._parts += 1

    def close(self) -> None:
        """Write no further part."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _begin(self) -> int:
        """Make the directory of the parts, and lock it. Raises TapeError and OSError."""
        directory = parts_directory(self.file)
        directory.mkdir()
        try:
            return _lock(self.file)
        except OSError:  # a full disk
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def _discard(self, new: Path) -> None:
        with suppress(OSError):
            new.unlink()
        if not self._parts:
            shutil.rmtree(new.parent, ignore_errors=True)


def join_parts(file: Path) -> int:
    """Join the parts of `file` into `file`, and remove them. Returns how many rows it has.

    Without a part nothing is written. Raises TapeError, also while they are still written, and then
    leaves the parts as they are.
    """
    directory = parts_directory(file)
    if not directory.exists():
        return 0
    if file.exists():
        raise TapeError(f"{file} is there already; {directory} stays as it is")
    new = directory / _JOINED
    rows = 0
    try:
        lock = _lock(file)
    except OSError as error:
        raise _cannot_write(file, str(error)) from None
    try:
        if parts := [str(part) for part in sorted(directory.glob(PART_PATTERN))]:
            with _connection() as connection:
                copy = (
                    f"COPY (FROM read_parquet($parts)) TO {quoted_text(str(new))} "
                    "(FORMAT parquet, COMPRESSION zstd)"
                )
                (rows,) = connection.execute(copy, {"parts": parts}).fetchone() or (0,)
            new.replace(file)
        shutil.rmtree(directory)
    except (duckdb.Error, OSError) as error:
        with suppress(OSError):
            new.unlink()
        raise _cannot_write(file, str(error)) from None
    finally:
        os.close(lock)
    return int(rows)


def _lock(file: Path) -> int:
    """Take the lock of the parts of `file`. Raises TapeError if it is held, and OSError."""
    try:
        return lock_file(parts_directory(file) / _LOCK, f"{os.getpid()}")
    except LockHeldError as held:
        raise TapeError(
            f"{file}: is still recorded or joined by process {held.note}: end that first"
        ) from None


def _connection() -> duckdb.DuckDBPyConnection:
    # One thread: the other core is for the stack that is recorded.
    connection = duckdb.connect(config={"threads": 1, "memory_limit": MEMORY_LIMIT})
    connection.execute("SET enable_progress_bar = false")  # it would be printed
    return connection


def _cannot_write(file: Path, reason: str) -> TapeError:
    return TapeError(f"{file}: cannot be written: {printable(reason.splitlines()[0])}")
