"""Measure the stack: latency, throughput, memory, orders, beside the floor and the alternatives.

All of it in under 15 minutes, or less of it in under one (--quick). Private stacks are started for
it, as a user runs them; a stack that runs already is left alone, but takes its share of the cores.
The figures go to var/bench/results.json; what could not be measured is in there with the reason.

Exit codes: 0 everything was measured, 1 something was not (the rest has been), 130 after Ctrl-C
(nothing is written).
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from bench.measured_stack import bench_dir
from bench.plan import FULL, QUICK
from bench.progress import Progress
from bench.results import Recording
from bench.run import run
from lib.settings import DEFAULT_FILE, load_settings
from lib.stack import wake_supervisord

RESULTS: Final = "results.json"
EXIT_GAPS: Final = 1
EXIT_INTERRUPTED: Final = 130


class Interrupted(BaseException):
    """Somebody wants the bench to end. No `Exception`: nothing may take it for a failure."""


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        print("a stack runs beside this and takes its share of the cores", file=sys.stderr)
    plan, command = (QUICK, "python -m bench --quick") if arguments.quick else (FULL, "make bench")
    try:
        with signals_as_interruption():
            recording = run(plan, partial(Progress, sys.stderr), command, arguments.quick)
    except Interrupted:
        print("interrupted: everything is stopped, nothing is written", file=sys.stderr)
        return EXIT_INTERRUPTED
    files = [bench_dir() / RESULTS, *([arguments.json] if arguments.json else [])]
    try:
        for file in files:
            write(recording, file)
    except OSError as error:
        print(f"cannot write the figures: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_GAPS
    print(f"{recording.seconds:,.0f} s; the figures are in {', '.join(map(str, files))}")
    return EXIT_GAPS if recording.gaps else 0


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


def write(recording: Recording, file: Path) -> None:
    """Write the figures as JSON; whoever reads the file finds all of it or the one before."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(recording), indent=1) + b"\n")
    new.replace(file)


if __name__ == "__main__":
    sys.exit(main())
