"""Checks that nothing outlives the run of a rival."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from bench.rivals.rival import MEMORY

MARK = "TRADEWIRE_TEST_MARK"


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if a process that was started in the block outlives it, or something in memory."""
    mark = uuid.uuid4().hex
    try:
        with patch.dict("os.environ", {MARK: mark}):
            yield
    finally:
        assert marked(mark) == []
        assert list(Path("/dev/shm").glob(f"{MEMORY}{os.getpid()}-*")) == []


def marked(mark: str) -> list[str]:
    """The command lines of all processes that were started under this mark, orphans too."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
            command = (directory / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        # A process that is just ending has lost its command line first.
        if command and f"{MARK}={mark}".encode() in environment.split(b"\0"):
            found.append(command.replace(b"\0", b" ").decode())
    # The tracker belongs to the test's own process, and lives as long.
    return [command for command in found if "resource_tracker" not in command]
