"""`python -m tests.mutants`: plant each bug of the table in a copy of the tree, and run its tests.

    python -m tests.mutants               all of them, on all cores
    python -m tests.mutants -k risk       those with this word in their name or file

Prints which test catches which bug: it fails with the bug, and passes without it. The exit code is
1 if a bug survives its tests, or if its old text does not occur exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple
from xml.etree import ElementTree

from tests.mutants import PROJECT_ROOT, Mutant, load_mutants

RUN_LIMIT_S = 300
"""For the tests of one mutant."""
TEST_LIMIT_S = 100
"""For one test: a bug may let it hang."""
TESTS_FAILED = 1
"""The exit code of pytest; any other one but 0 means that the tests could not be run."""


class Run(NamedTuple):
    """What a run of tests has come to."""

    exit_code: int
    says: str
    """The test that failed first; if none did, why the run went wrong."""


def copy_tree(root: Path) -> None:
    """Copy what git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in listed.decode().split("\0"):
        if (PROJECT_ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, root / name)


def run_tests(root: Path, *tests: str) -> Run:
    """Run tests in a copy of the tree, up to the first failure."""
    report = root / "report.xml"
    report.unlink(missing_ok=True)
    options = ("-x", f"--timeout={TEST_LIMIT_S}", f"--junit-xml={report}")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=root,
            # A .pyc of the original would be taken for one of a mutant of the same size.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run(-1, f"not over after {RUN_LIMIT_S} s")
    failed = first_failure(report) if report.exists() else ""
    return Run(done.returncode, failed or " ".join(done.stdout.split()[-20:]))


def first_failure(report: Path) -> str:
    """Return the first failed test of a report of pytest, "" if there is none."""
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            return f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
    return ""


def problem_with(mutant: Mutant, root: Path) -> tuple[str, str]:
    """Plant a bug. Returns what is wrong, "" if it is caught, and the test that failed first."""
    path = root / mutant.file
    original = path.read_text()
    path.write_text(original.replace(mutant.old, mutant.new))
    try:
        with_bug = run_tests(root, *mutant.tests)
    finally:
        path.write_text(original)
    if with_bug.exit_code == 0:
        return f"it survives, and {mutant.breaks}", ""
    if with_bug.exit_code != TESTS_FAILED:
        return f"its tests do not run: {with_bug.says}", ""
    if run_tests(root, "--last-failed", *mutant.tests).exit_code:
        return "that test fails without the bug, too", with_bug.says
    return "", with_bug.says


def plant(trees: SimpleQueue[Path], mutant: Mutant) -> str:
    """Plant a bug in a free tree, print what came of it, and return what is wrong."""
    if not mutant.fits:
        return f"its old text does not occur exactly once in {mutant.file}"
    root, began_s = trees.get(), time.monotonic()
    try:
        problem, test = problem_with(mutant, root)
    finally:
        trees.put(root)
    took = f"{time.monotonic() - began_s:5.1f} s"
    print(f"{'BAD' if problem else 'ok '} {took}  {mutant.name}: {test or problem}", flush=True)
    return problem


def main() -> int:
    """Run the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("-k", default="", metavar="WORD", help="only these, by name or file")
    word = parser.parse_args().k
    began_s, workers = time.monotonic(), os.cpu_count() or 1
    mutants = [m for m in load_mutants() if word in m.name or word in m.file]
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="tw-mutants-") as directory:
        for number in range(workers):
            copy_tree(Path(directory) / str(number))
            trees.put(Path(directory) / str(number))
        with ThreadPoolExecutor(workers) as pool:
            problems = list(pool.map(partial(plant, trees), mutants))
    for mutant, problem in zip(mutants, problems, strict=True):
        if problem:
            print(f"{mutant.name}: {problem}", file=sys.stderr)
    bad = len(problems) - problems.count("")
    print(f"{len(mutants) - bad} of {len(mutants)} caught, {time.monotonic() - began_s:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
