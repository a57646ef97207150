"""Measure the stack: latency, throughput, memory, orders, beside the floor and the alternatives.

The full run takes under 15 minutes, a reduced one (--quick) under one. It starts private stacks, as
a user runs them; a stack that runs already is left alone, but takes its share of the cores. The
figures go to var/bench/results.json, with the reason for each that could not be measured.

Exit codes: 0 the figures are written, 1 they cannot be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Final

from bench.measure.measured_stack import bench_dir
from bench.plan import FULL, QUICK
from bench.program import record_to_files
from bench.progress import BenchProgress
from bench.run import run
from lib.long_program import CommandLine, output_file
from lib.settings import DEFAULT_FILE, load_settings
from lib.stack.launch import wake_supervisord

PROGRAM: Final = "python -m bench"
RESULTS: Final = "results.json"


def main() -> int:
    """Measure; return the exit code."""
    parser = CommandLine(PROGRAM, __doc__)
    parser.add_argument("--quick", action="store_true", help="a reduced run, in under a minute")
    parser.add_argument(
        "--json", metavar="FILE", type=output_file, help="also write the figures to FILE"
    )
    arguments = parser.parse_args()
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        print("another stack is running and takes its share of the cores", file=sys.stderr)
    plan, command = (QUICK, f"{PROGRAM} --quick") if arguments.quick else (FULL, PROGRAM)
    files = [bench_dir() / RESULTS, *([arguments.json] if arguments.json else [])]
    began_s = time.monotonic()
    exit_code = record_to_files(
        files, lambda: run(plan, partial(BenchProgress, sys.stderr), command, arguments.quick)
    )
    if exit_code == 0:
        took_s = time.monotonic() - began_s
        print(f"{took_s:,.0f} s; the figures are in {', '.join(map(str, files))}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
