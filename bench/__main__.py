"""Measure the stack: latency, throughput, memory, orders, beside the floor and the alternatives.

The full run takes under 15 minutes, a reduced one (--quick) under one. It starts private stacks, as
a user runs them; a stack that runs already is left alone, but takes its share of the cores. The
figures go to var/bench/results.json, with the reason for each that could not be measured.

Exit codes: 0 the figures are written, 1 they cannot be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Final

from bench.measure.measured_stack import bench_dir
from bench.plan import FULL, QUICK
from bench.program import (
    EXIT_INTERRUPTED,
    EXIT_NOT_WRITTEN,
    BenchInterrupted,
    signals_as_interruption,
    write_json,
)
from bench.progress import BenchProgress
from bench.run import run
from lib.settings import DEFAULT_FILE, load_settings
from lib.stack.launch import wake_supervisord

PROGRAM: Final = "python -m bench"
RESULTS: Final = "results.json"


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a reduced run, in under a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to FILE")
    arguments = parser.parse_args()
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        print("another stack is running and takes its share of the cores", file=sys.stderr)
    plan, command = (QUICK, f"{PROGRAM} --quick") if arguments.quick else (FULL, PROGRAM)
    try:
        with signals_as_interruption():
            recording = run(plan, partial(BenchProgress, sys.stderr), command, arguments.quick)
    except BenchInterrupted:
        print("interrupted: everything is stopped, nothing is written", file=sys.stderr)
        return EXIT_INTERRUPTED
    files = [bench_dir() / RESULTS, *([arguments.json] if arguments.json else [])]
    try:
        for file in files:
            write_json(recording, file)
    except OSError as error:
        print(f"cannot write the figures: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_NOT_WRITTEN
    print(f"{recording.seconds:,.0f} s; the figures are in {', '.join(map(str, files))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
