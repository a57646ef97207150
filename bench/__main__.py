"""Measure the stack: latency, throughput, memory, orders, beside the floor and the alternatives.

The full run takes under 15 minutes, a reduced one (--quick) under one. It starts private stacks, as
a user runs them; a stack that runs already is left alone, but takes its share of the cores. What
could not be measured is in the figures, with the reason.

Exit codes: 0 the figures are written, 1 they cannot be or nothing was measured, 2 the command line
or the settings are wrong, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bench.cluster import record as record_cluster
from bench.measure.measured_stack import bench_dir
from bench.plan import CLUSTER, FULL, QUICK, WATCHED
from bench.results import AnyRecording, Recording, is_empty
from bench.run import run
from bench.watched import record as record_watched
from lib.settings import DEFAULT_FILE, SettingsError, load_settings
from lib.stack.launch import wake_supervisord
from lib.stack.long_program import CommandLine, output_file, run_interruptible, write_json

PROGRAM: Final = "python -m bench"
RESULTS: Final = "results.json"
WATCHED_RESULTS: Final = "watched.json"
CLUSTER_RESULTS: Final = "cluster.json"
EXIT_NOT_WRITTEN: Final = 1


def main() -> int:
    """Measure; return the exit code."""
    parser = CommandLine(PROGRAM, __doc__)
    try:
        directory = bench_dir()
    except SettingsError as error:
        parser.error(str(error))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="a reduced run, in under a minute")
    which.add_argument(
        "--watched", action="store_true", help="tick to decision with the dashboard open, alone"
    )
    which.add_argument("--cluster", action="store_true", help="a cluster on this machine, alone")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=output_file,
        help=f"where to write the figures ({directory / RESULTS}, or {WATCHED_RESULTS} or "
        f"{CLUSTER_RESULTS} there)",
    )
    arguments = parser.parse_args()
    name = RESULTS
    measure: Callable[[], AnyRecording] = partial(_run, quick=arguments.quick)
    if arguments.watched:
        name, measure = WATCHED_RESULTS, partial(record_watched, WATCHED, sys.stderr)
    elif arguments.cluster:
        name, measure = CLUSTER_RESULTS, partial(record_cluster, CLUSTER, sys.stderr)
    return run_interruptible(
        lambda: _measure(measure, arguments.json or directory / name),
        "interrupted: everything is stopped, nothing is written",
    )


def _run(*, quick: bool) -> Recording:
    plan, command = (QUICK, f"{PROGRAM} --quick") if quick else (FULL, PROGRAM)
    return run(plan, sys.stderr, command, quick)


def _measure(measure: Callable[[], AnyRecording], file: Path) -> int:
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        print("another stack is running and takes its share of the cores", file=sys.stderr)
    figures = measure()
    for gap in figures.gaps:
        print(f"not measured: {gap}", file=sys.stderr)
    if is_empty(figures):
        print(f"nothing was measured: {file} stays as it is", file=sys.stderr)
        return EXIT_NOT_WRITTEN
    try:
        write_json(figures, file)
    except OSError as error:
        print(f"cannot write the figures: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_NOT_WRITTEN
    print(f"the figures are in {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
