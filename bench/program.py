"""What the programs of the bench share: interruption by signals, and writing the figures."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from bench.profile_results import Profile
from bench.results import WatchedRecording

EXIT_NOT_WRITTEN: Final = 1
EXIT_INTERRUPTED: Final = 130


class BenchInterrupted(BaseException):
    """A signal ends the bench. Not an `Exception`, so that no handler takes it for a failure."""


@contextmanager
def signals_as_interruption() -> Iterator[None]:
    """Raise BenchInterrupted on SIGINT, SIGTERM or SIGHUP, once: clean-up is not interrupted."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise BenchInterrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_json(figures: msgspec.Struct, file: Path) -> None:
    """Write figures as JSON, atomically: a reader finds the old or the new file, complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    new.replace(file)


def run_recorder(
    program: str,
    description: str | None,
    default: Path,
    record: Callable[[], Profile | WatchedRecording],
) -> int:
    """Run a program that records one file of figures; return its exit code.

    0 the figures are written (their gaps list what could not be measured), 1 they cannot be, 130
    after Ctrl-C (nothing is written).
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        default=default,
        help="where to write it (%(default)s)",
    )
    file: Path = parser.parse_args().json
    try:
        with signals_as_interruption():
            figures = record()
    except BenchInterrupted:
        print("interrupted: everything is stopped, nothing is written", file=sys.stderr)
        return EXIT_INTERRUPTED
    for gap in figures.gaps:
        print(f"not measured: {gap}", file=sys.stderr)
    try:
        write_json(figures, file)
    except OSError as error:
        print(f"cannot write the figures: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_NOT_WRITTEN
    return 0
