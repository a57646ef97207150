"""The frame of the bench's programs: each records figures, writes them, and says what is missing.

Exit codes: 0 the figures are written (their gaps list what could not be measured), 1 they cannot
be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.profile_results import Profile
from bench.results import Recording, WatchedRecording
from lib.long_program import CommandLine, output_file, run_interruptible, write_json

EXIT_NOT_WRITTEN: Final = 1

Figures = Profile | Recording | WatchedRecording


def run_recorder(parser: CommandLine, default: Path, record: Callable[[Namespace], Figures]) -> int:
    """Run a program that records one file of figures, `default` by default; return its exit code.

    `record` gets the arguments of the command line.
    """
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=output_file,
        default=default,
        help="where to write the figures (%(default)s)",
    )
    arguments = parser.parse_args()

    def record_and_write() -> int:
        figures = record(arguments)
        for gap in figures.gaps:
            print(f"not measured: {gap}", file=sys.stderr)
        try:
            write_json(figures, arguments.json)
        except OSError as error:
            print(f"cannot write the figures: {error.filename}: {error.strerror}", file=sys.stderr)
            return EXIT_NOT_WRITTEN
        print(f"the figures are in {arguments.json}")
        return 0

    return run_interruptible(
        record_and_write, "interrupted: everything is stopped, nothing is written"
    )
