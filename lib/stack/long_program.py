"""The frame of a command line program that runs for minutes and then writes one file of figures.

Its command line, its interruption by a signal, and its file of JSON. Used by the programs of
`chaos` and `bench`; must not import anything of the stack.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import msgspec

from lib.process.standard_streams import prepare_standard_streams

EXIT_WRONG_COMMAND_LINE: Final = 2
EXIT_INTERRUPTED: Final = 130
MINUTE_S: Final = 60


class Interrupted(BaseException):
    """A signal ends the program. Not an `Exception`, so that no handler takes it for a failure."""


class CommandLine(argparse.ArgumentParser):
    """Parses the command line of a program; reports a wrong one in one line, with exit code 2."""

    def __init__(self, program: str, description: str | None) -> None:
        prepare_standard_streams()
        super().__init__(
            prog=program,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage, which --help shows."""
        self.exit(EXIT_WRONG_COMMAND_LINE, f"{self.prog}: {message}\n")


def output_file(text: str) -> Path:
    """Parse the name of a file to write, so that a wrong one is found before the run, not after it.

    Raises ArgumentTypeError.
    """
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a directory that exists, got {text!r}")
    return path


def positive_number(unit: str) -> Callable[[str], float]:
    """Return a parser of a number of such units above 0. It raises ArgumentTypeError."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"must be a number of {unit} above 0, got {text!r}")
        return number

    return parse


def write_json(figures: Any, file: Path) -> None:
    """Write figures as JSON, atomically: a reader finds the old or the new file, complete.

    A missing directory is made. Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    new.replace(file)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on SIGINT, SIGTERM or SIGHUP, once: clean-up is not interrupted."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_interruptible(program: Callable[[], int], message: str) -> int:
    """Run a program; return its exit code, or 130 if a signal has interrupted it.

    What Interrupted says is printed, `message` if it says nothing.
    """
    try:
        with interruptible():
            return program()
    except Interrupted as interrupted:
        print(str(interrupted) or message, file=sys.stderr)
        return EXIT_INTERRUPTED


def time_left(seconds: float) -> str:
    """Return a time left in words, rounded up to minutes."""
    if seconds < MINUTE_S:
        return "under a minute left"
    return f"about {-(-seconds // MINUTE_S):.0f} min left"
