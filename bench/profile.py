"""Record where the three hot daemons spend their time, for the appendix of the report.

Runs a private stack under two loads. First without a sampler: the kernel counts how much CPU time
the gateway, the orderbook and the strategy take for how many ticks. Then py-spy samples one after
the other, from outside; it takes a good part of a core itself, and stops the sampled process for a
moment. The CPU time is then divided among the functions in proportion to their samples.

py-spy must be allowed to trace processes, as root is, and usually a user who is their parent;
otherwise the profile has a gap with the reason.

Exit codes: 0 the profile is written, 1 it cannot be, 130 after Ctrl-C (nothing is written).
"""

from __future__ import annotations

import linecache
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import bench_dir, measured_stack
from bench.measure.symbols import settings_for
from bench.plan import PROFILED
from bench.profile_results import DaemonProfile, HotFunction, LoadProfile, Profile
from bench.program import run_recorder
from lib.clock import SECOND_NS, utc_stamp
from lib.long_program import CommandLine
from lib.process.run_identity import ProcessStat, process_stat
from lib.reports.machine import machine_facts
from lib.settings import PROJECT_ROOT
from lib.trading.decision_log import DecisionReader

PROGRAM: Final = "python -m bench.profile"
OUTPUT: Final = "profile.json"
"""The name of the file in the directory of the bench."""
HOT_DAEMONS: Final = ("gateway", "orderbook", "strategy")
COUNTED_S: Final = 5.0
"""How long CPU time and ticks are counted."""
SAMPLED_S: Final = 5
"""How long each daemon is sampled."""
SETTLE_S: Final = 2.0
"""The wait after the stack is steady, so that the ring has been written once and caches are
warm."""
SAMPLES_PER_S: Final = 200
LIMIT_S: Final = 30.0
"""How much longer than the sampling py-spy may take: it reads the symbols of all libraries
first."""
OURS: Final = ("lib", "daemons")
ELSEWHERE: Final = "outside of the project"
LONGEST_LINE: Final = 72
"""How many characters of a source line are shown."""

_FRAME: Final = re.compile(r"(.+) \((.+):(\d+)\)")


class CannotSampleError(Exception):
    """py-spy is missing or is not permitted to sample (one human-readable line)."""


class CodeLocation(NamedTuple):
    """A place in the code, where a sample found a daemon."""

    file: str
    function: str
    line: int


def main() -> int:
    """Record the profile; return the exit code."""
    return run_recorder(CommandLine(PROGRAM, __doc__), bench_dir() / OUTPUT, lambda _: record())


def record() -> Profile:
    """Profile all loads; a failure becomes a gap."""
    began_utc, machine = utc_stamp(), machine_facts()
    loads, gaps = [], []
    try:
        sampler = _sampler()
    except CannotSampleError as error:
        return Profile(began_utc, "", SAMPLES_PER_S, (), (str(error),), machine)
    for rate, symbols in PROFILED:
        name = f"{rate:,.0f} ticks/s" if rate else "as fast as it goes"
        seconds = COUNTED_S + SAMPLED_S * len(HOT_DAEMONS)
        print(f"profile, {name}: {seconds:.0f} s ...", flush=True)
        try:
            loads.append(_profile(sampler, rate, symbols))
        except (CannotSampleError, BenchError, OSError) as error:
            gaps.append(f"{name}: {error}")
    said = subprocess.run([sampler, "--version"], capture_output=True, text=True, check=False)
    name = said.stdout.strip()
    return Profile(began_utc, name, SAMPLES_PER_S, tuple(loads), tuple(gaps), machine)


def _sampler() -> Path:
    """Return py-spy. Raises CannotSampleError."""
    beside = Path(sys.executable).with_name("py-spy")
    if beside.exists():
        return beside
    if found := shutil.which("py-spy"):
        return Path(found)
    raise CannotSampleError("py-spy is not installed; it is in requirements-bench.txt")


def _profile(sampler: Path, rate: float, symbols: int) -> LoadProfile:
    """Run a private stack and profile it. Raises CannotSampleError, BenchError and OSError."""
    settings = settings_for(symbols)
    settings = replace(settings, gateway=replace(settings.gateway, rate=rate))
    with (
        tempfile.TemporaryDirectory(prefix="profile-") as directory,
        measured_stack(settings) as stack,
    ):
        pids = _hot_pids(stack.pids())
        [decisions] = stack.decision_readers()
        time.sleep(SETTLE_S)
        before, first, begin_ns = _stats(pids), _last_evaluated(decisions), time.monotonic_ns()
        time.sleep(COUNTED_S)
        after, last, end_ns = _stats(pids), _last_evaluated(decisions), time.monotonic_ns()
        stacks = {role: _sample(sampler, role, pid, Path(directory)) for role, pid in pids.items()}
    daemons = tuple(daemon_profile(role, before[role], after[role], stacks[role]) for role in pids)
    return LoadProfile(rate, symbols, (end_ns - begin_ns) / SECOND_NS, last - first, daemons)


def _hot_pids(pids: Mapping[str, int]) -> dict[str, int]:
    if missing := [role for role in HOT_DAEMONS if role not in pids]:
        raise BenchError(f"not running: {', '.join(missing)}")
    return {role: pids[role] for role in HOT_DAEMONS}


def _last_evaluated(decisions: DecisionReader) -> int:
    """Return the sequence of the last evaluated tick. Raises BenchError if there is no new one."""
    last = decisions.read().last
    if not len(last):
        raise BenchError("the strategy receives no ticks")
    return int(last[-1])


def _sample(sampler: Path, role: str, pid: int, directory: Path) -> str:
    """Sample a daemon; return the sampled stacks. Raises CannotSampleError."""
    stacks = directory / role
    try:
        done = subprocess.run(
            [
                *(sampler, "record", "--pid", str(pid), "--output", stacks),
                *("--format", "raw", "--full-filenames"),
                *("--rate", str(SAMPLES_PER_S), "--duration", str(SAMPLED_S)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SAMPLED_S + LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise CannotSampleError(f"py-spy does not finish with {role}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise CannotSampleError(f"py-spy cannot sample {role}: {said[-1]}")
    return stacks.read_text(encoding="utf-8")


def _stats(pids: Mapping[str, int]) -> dict[str, ProcessStat]:
    return {role: process_stat(pid) for role, pid in pids.items()}


def daemon_profile(role: str, before: ProcessStat, after: ProcessStat, raw: str) -> DaemonProfile:
    """Divide the CPU time of a daemon among the functions in which it was sampled.

    `raw` has a line for each sampled stack, outermost frame first, with the number of samples.
    """
    found = Counter[CodeLocation]()
    for place, samples in _places(raw.splitlines()):
        found[place] += samples
    cpu_ns = round((after.cpu_s - before.cpu_s) * SECOND_NS)
    kernel_ns = round((after.kernel_s - before.kernel_s) * SECOND_NS)
    return DaemonProfile(role, cpu_ns, kernel_ns, found.total(), tuple(_hot(found)))


def _places(lines: Iterable[str]) -> Iterator[tuple[CodeLocation, int]]:
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        yield innermost_of_ours(stack), int(samples)


def innermost_of_ours(stack: str) -> CodeLocation:
    """Return the innermost frame in the project: time spent in other code counts as its own."""
    for frame in reversed(stack.split(";")):
        if match := _FRAME.fullmatch(frame):
            path = Path(match[2])
            if path.is_relative_to(PROJECT_ROOT):
                file = path.relative_to(PROJECT_ROOT)
                if file.parts[0] in OURS:
                    return CodeLocation(str(file), match[1], int(match[3]))
    return CodeLocation(ELSEWHERE, "", 0)


def _hot(found: Counter[CodeLocation]) -> Iterator[HotFunction]:
    functions: dict[tuple[str, str], Counter[int]] = {}
    for place, samples in found.items():
        functions.setdefault((place.file, place.function), Counter())[place.line] += samples
    ordered = sorted(functions.items(), key=lambda item: (-item[1].total(), item[0]))
    for (file, function), lines in ordered:
        hottest = min(lines, key=lambda line: (-lines[line], line))
        source = linecache.getline(str(PROJECT_ROOT / file), hottest).strip()
        shown = source if len(source) <= LONGEST_LINE else f"{source[: LONGEST_LINE - 1]}…"
        yield HotFunction(f"{file} {function}".strip(), lines.total() / found.total(), shown)


if __name__ == "__main__":
    sys.exit(main())
