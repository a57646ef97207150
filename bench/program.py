"""The programs of the bench: each records figures, writes them to files, and says what is missing.

Exit codes: 0 the figures are written (their gaps list what could not be measured), 1 they cannot
be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.profile_results import Profile
from bench.results import Recording, WatchedRecording
from lib.long_program import CommandLine, output_file, run_interruptible, write_json

EXIT_NOT_WRITTEN: Final = 1

Figures = Profile | Recording | WatchedRecording


def run_recorder(
    program: str, description: str | None, default: Path, record: Callable[[], Figures]
) -> int:
    """Run a program that records one file of figures; return its exit code."""
    parser = CommandLine(program, description)
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=output_file,
        default=default,
        help="where to write it (%(default)s)",
    )
    return record_to_files([parser.parse_args().json], partial(_record, record))


def _record(record: Callable[[], Figures]) -> Figures:
    figures = record()
    for gap in figures.gaps:
        print(f"not measured: {gap}", file=sys.stderr)
    return figures


def record_to_files(files: Sequence[Path], record: Callable[[], Figures]) -> int:
    """Record figures and write them to the files; return the exit code."""

    def record_and_write() -> int:
        figures = record()
        try:
            for file in files:
                write_json(figures, file)
        except OSError as error:
            print(f"cannot write the figures: {error.filename}: {error.strerror}", file=sys.stderr)
            return EXIT_NOT_WRITTEN
        return 0

    return run_interruptible(
        record_and_write, "interrupted: everything is stopped, nothing is written"
    )
