"""DuckDB, sealed: it reads the files it is given and nothing else, in bounded memory.

No other file, no network, no extension, no setting changed afterwards. Its statements run in a
thread of their own, so that the caller can look at the time and stop them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import duckdb

from lib.tape_files.arrow_stream import ArrowStream, Batch, StreamError
from lib.tape_files.sql import quoted_text
from lib.tapes.tape import TapeError

THREADS: Final = 2
MEMORY: Final = "512MB"
"""What DuckDB takes at most; the process needs about 200 MB beside it."""
MAX_TEMPORARY: Final = "64GB"
"""What it writes at most where the memory is not enough."""
BUFFER: Final = "32MB"
"""How much of a result is computed before it is asked for."""
REPORT_S: Final = 0.2
"""How often the caller's `on_share` is called while a statement runs."""
INTERRUPT_S: Final = 0.02
"""How often a statement that is to end is interrupted."""

_BAD_ROW: Final = "CSV Error on Line"
_FOLLOWS: Final = ("LINE ", "Candidate functions:", "Possible solutions:")
"""How the picture of the place begins, a list, and the advice to set what cannot be set here."""

_Result = TypeVar("_Result")


class StatementError(TapeError):
    """The database has refused a statement, or has failed at a row."""

    @property
    def is_bad_row(self) -> bool:
        """Whether it has failed at a row of a CSV file, which can be read in Python."""
        return _BAD_ROW in str(self)


class SealedDatabase:
    """One connection. Not shared between threads. A context manager that ends it.

    Every method raises StatementError (DuckDB's reason on one line) if a statement fails, and what
    `on_share` raises: that stops the statement.
    """

    def __init__(
        self, readable: Sequence[str], scratch: Path, on_share: Callable[[float], None]
    ) -> None:
        """`readable` are the paths and patterns that statements may read, `scratch` a directory.

        `on_share(share)` is called while a statement runs, with how much of it is done, 0 to 1.
        """
        self._on_share = on_share
        self._worker = ThreadPoolExecutor(1)
        self._connection = duckdb.connect(
            config={
                "threads": THREADS,
                "memory_limit": MEMORY,
                "temp_directory": str(scratch / "duckdb"),
                "max_temp_directory_size": MAX_TEMPORARY,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "python_enable_replacements": False,  # a query sees no variable of ours
            }
        )
        paths = ", ".join(map(quoted_text, readable))
        for setting in (
            "TimeZone = 'UTC'",
            f"streaming_buffer_size = '{BUFFER}'",
            f"allowed_paths = [{paths}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()
        self._connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""
        call = self._worker.submit(lambda: self._connection.execute(sql).fetchall())
        rows: list[tuple[Any, ...]] = self._wait(call)
        return rows

    def columns(self, table: str) -> list[tuple[str, str]]:
        """Return the names and types of what can stand after FROM."""
        return [(row[0], row[1]) for row in self.rows(f"DESCRIBE SELECT * FROM {table}")]

    def stream(self, sql: str, rows: int) -> Iterator[Batch]:
        """Yield the rows of a result of any size, in order; `rows` is about how many they are."""
        stream = self._wait(
            self._worker.submit(lambda: ArrowStream(self._connection.sql(sql).__arrow_c_stream__()))
        )
        done = 0
        coming = self._worker.submit(stream.next_batch)  # while the caller handles the one before
        try:
            while (batch := self._wait(coming)) is not None:
                coming = self._worker.submit(stream.next_batch)
                yield batch
                done += len(batch[0].present)
                self._on_share(min(done / max(rows, 1), 1.0))
        finally:
            self._stop(coming)
            stream.close()

    def is_one_select(self, sql: str) -> bool:
        """Whether this is one statement, and reads only."""
        call = self._worker.submit(lambda: self._connection.extract_statements(sql))
        statements = self._wait(call)
        return [statement.type for statement in statements] == [duckdb.StatementType.SELECT]

    def _wait(self, future: Future[_Result]) -> _Result:
        try:
            while not wait([future], REPORT_S).done:
                self._on_share(max(self._connection.query_progress(), 0.0) / 100)
            return future.result()
        except (duckdb.Error, StreamError) as error:
            raise StatementError(one_line(str(error))) from None
        except BaseException:
            self._stop(future)
            raise

    def _stop(self, future: Future[_Result]) -> None:
        """End what runs. A statement may not have begun, so it is interrupted repeatedly."""
        while not future.done():
            self._connection.interrupt()
            wait([future], INTERRUPT_S)


def one_line(message: str) -> str:
    """Return what is wrong in one line, without DuckDB's picture of the place and its lists."""
    lines = map(str.strip, message.splitlines())
    said = takewhile(lambda line: not line.startswith(_FOLLOWS), lines)
    return " ".join(filter(None, said))
