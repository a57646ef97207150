"""What the programs of the bench have in common: how they are interrupted, and what they write."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

EXIT_NOT_WRITTEN: Final = 1
EXIT_INTERRUPTED: Final = 130


class Interrupted(BaseException):
    """Somebody wants the bench to end. No `Exception`: nothing may take it for a failure."""


@contextmanager
def signals_as_interruption() -> Iterator[None]:
    """Raise Interrupted where SIGINT, SIGTERM or SIGHUP comes; once, the end is not interrupted."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write(figures: msgspec.Struct, file: Path) -> None:
    """Write figures as JSON; whoever reads the file finds all of it or the one before."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    new.replace(file)
