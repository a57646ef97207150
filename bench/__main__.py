"""Measure the stack: latency, throughput, memory, orders, beside the floor and the alternatives.

The full run takes under 15 minutes, a reduced one (--quick) under one. It starts private stacks, as
a user runs them; a stack that runs already is left alone, but takes its share of the cores. What
could not be measured is in the figures, with the reason.

Exit codes: 0 the figures are written, 1 they cannot be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Final

from bench.measure.measured_stack import bench_dir
from bench.plan import FULL, QUICK
from bench.program import run_recorder
from bench.results import Recording
from bench.run import run
from lib.long_program import CommandLine
from lib.settings import DEFAULT_FILE, load_settings
from lib.stack.launch import wake_supervisord

PROGRAM: Final = "python -m bench"
RESULTS: Final = "results.json"


def main() -> int:
    """Measure; return the exit code."""
    parser = CommandLine(PROGRAM, __doc__)
    parser.add_argument("--quick", action="store_true", help="a reduced run, in under a minute")
    return run_recorder(parser, bench_dir() / RESULTS, _record)


def _record(arguments: Namespace) -> Recording:
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        print("another stack is running and takes its share of the cores", file=sys.stderr)
    plan, command = (QUICK, f"{PROGRAM} --quick") if arguments.quick else (FULL, PROGRAM)
    return run(plan, sys.stderr, command, arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
