"""`python -m tests.mutants`: plant each bug of the table in a copy of the tree, and run its tests.

    python -m tests.mutants               all of them, on all cores
    python -m tests.mutants -k risk       those with this word in their name or file

Prints which test catches which bug. The exit code is 1 if a bug survives its tests, if its old text
does not occur exactly once, or if the tests fail without any bug.
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

from tests.mutants import PROJECT_ROOT, SEEDS, Mutant, load_mutants

RUN_LIMIT_S = 300
"""For the tests of one mutant."""
TEST_LIMIT_S = 60
"""For one test: a bug may let it hang."""


class Outcome(NamedTuple):
    """What the tests of a mutant came to."""

    exit_code: int
    first_failure: str
    """The test that failed first; if none did and the run went wrong, its last words."""
    seconds: float


def copy_tree(root: Path) -> Path:
    """Copy what git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in listed.decode().split("\0"):
        if (PROJECT_ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, root / name)
    return root


def run_tests(root: Path, tests: list[str]) -> Outcome:
    """Run tests in a copy of the tree, up to the first failure."""
    report = root / "mutant.xml"
    report.unlink(missing_ok=True)
    if tests[0] == SEEDS:
        command = ["tests.simulation", "--seeds", *tests[1:]]
    else:
        limit, to_report = f"--timeout={TEST_LIMIT_S}", f"--junit-xml={report}"
        command = ["pytest", "-x", "-p", "no:cacheprovider", limit, to_report, *tests]
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command],
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
        return Outcome(-1, f"not over after {RUN_LIMIT_S} s", RUN_LIMIT_S)
    found = first_failure(report) if report.exists() else " ".join(done.stdout.split()[-20:])
    return Outcome(done.returncode, found, time.monotonic() - began_s)


def first_failure(report: Path) -> str:
    """Return the first failed test of a report of pytest, "" if there is none."""
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            return f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
    return ""


def plant(trees: SimpleQueue[Path], mutant: Mutant) -> Outcome:
    """Run the tests of a mutant in a tree that has its bug, and take the bug out again."""
    root = trees.get()
    path = root / mutant.file
    original = path.read_text()
    path.write_text(original.replace(mutant.old, mutant.new))
    try:
        return run_tests(root, mutant.tests)
    finally:
        path.write_text(original)
        trees.put(root)


def controls_of(mutants: list[Mutant]) -> list[Mutant]:
    """Return what runs the tests of all mutants on the tree as it is."""
    plain: dict[str, None] = {}
    runs = []
    for tests in dict.fromkeys(tuple(mutant.tests) for mutant in mutants):
        if tests[0] == SEEDS or "-k" in tests:
            runs.append(list(tests))
        else:
            plain |= dict.fromkeys(tests)
    runs += [list(plain)] if plain else []
    return [Mutant("no bug", "README.md", "\0", "", "", tests) for tests in runs]


def main() -> int:
    """Run the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("-k", default="", metavar="WORD", help="only these, by name or file")
    word = parser.parse_args().k
    began_s = time.monotonic()
    mutants = [m for m in load_mutants() if word in m.name or word in m.file]
    problems = [f"{m.name}: its old text is not once in {m.file}" for m in mutants if not m.fits]
    mutants = [m for m in mutants if m.fits]
    controls = controls_of(mutants)
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="tw-mutants-") as directory:
        workers = os.cpu_count() or 1
        for number in range(workers):
            trees.put(copy_tree(Path(directory) / str(number)))
        with ThreadPoolExecutor(workers) as pool:
            outcomes = pool.map(partial(plant, trees), controls + mutants)
            for mutant, (code, found, seconds) in zip(controls + mutants, outcomes, strict=True):
                is_good = code == (0 if mutant in controls else 1)
                says = found or ("survives" if mutant in mutants else "passes")
                verdict = "ok " if is_good else "BAD"
                print(f"{verdict} {seconds:5.1f} s  {mutant.name}: {says}", flush=True)
                if not is_good:
                    problems.append(f"{mutant.name}: {says} ({mutant.breaks})")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(mutants)} bugs, {len(problems)} problems, {time.monotonic() - began_s:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
