"""The files of worlds: a directory in memory for each, and price books named after it.

The names have the process that made them, so that what is left of one that was killed is found, and
removed by the next.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.price_book.segment_files import SHM_DIR
from lib.process.run_identity import is_alive, run_of

PREFIX = "tw-simulation-"
"""How the name of all that a world makes begins; its process comes next."""


def prefix_of(pid: int) -> str:
    """Return how the names begin of what this process makes.

    All are of one length: a path is in answers to clients, and so decides when these arrive.
    """
    return f"{PREFIX}{pid:07}-"


@contextmanager
def world_directory() -> Iterator[Path]:
    """Make a directory; remove it at the end, with all that is named after it."""
    path = Path(tempfile.mkdtemp(prefix=prefix_of(os.getpid()), dir=SHM_DIR))
    try:
        yield path
    finally:
        _remove(path.name)


def remove_leftovers() -> None:
    """Remove what is left of the worlds of processes that are no more."""
    for path in SHM_DIR.glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not is_running(int(pid)):
            _remove(path.name)


def is_running(pid: int) -> bool:
    """Whether there is this process, and it is no zombie."""
    try:
        return is_alive(run_of(pid))
    except ProcessLookupError:
        return False


def _remove(name: str) -> None:
    for path in SHM_DIR.glob(f"{name}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
