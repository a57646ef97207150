"""Helpers for tests of every kind."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from lib.ledger.writer import Ledger

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 60.0
"""The deadline of a wait. Generous: only a failing test takes this long."""

_Result = TypeVar("_Result")


def wait_until(
    condition: Callable[[], _Result], what: str, deadline_s: float = DEADLINE_S
) -> _Result:
    """Poll until `condition()` is true, and return what it gave; fail after the deadline."""
    give_up = time.monotonic() + deadline_s
    while not (result := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {deadline_s:g} s in vain until {what}")
        time.sleep(0.01)
    return result


@contextmanager
def fresh_ledger() -> Iterator[Ledger]:
    """A new ledger in memory, where a commit costs little."""
    with (
        tempfile.TemporaryDirectory(prefix="tw-test-ledger-", dir="/dev/shm") as directory,
        closing(Ledger(Path(directory) / "orders.sqlite")) as ledger,
    ):
        yield ledger


@contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    """A time in which another process writes to the ledger's file."""
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
