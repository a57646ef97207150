"""Where the three hot daemons spend their time, for the appendix of the report.

First without a sampler: the kernel counts how much CPU time the gateway, the orderbook and the
strategy take for how many ticks. Then py-spy samples one after the other, from outside; it takes a
good part of a core itself, and stops the sampled process for a moment. The CPU time is then divided
among the functions in proportion to their samples.

py-spy must be allowed to trace processes, as root is, and usually a user who is their parent.
"""

from __future__ import annotations

import linecache
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import measured_stack, process_stat_of
from bench.measure.throughput import LOOK_S, count_from_now, fast_settings
from bench.plan import ProfiledLoad
from bench.results import DaemonProfile, HotFunction, LoadProfile, Recording
from lib.clock import SECOND_NS
from lib.process.run_identity import ProcessStat
from lib.settings import PROJECT_ROOT

HOT_DAEMONS: Final = ("gateway", "orderbook", "strategy")
COUNTED_S: Final = 5.0
"""How long CPU time and ticks are counted."""
SAMPLED_S: Final = 5
"""How long each daemon is sampled."""
SETTLE_S: Final = 2.0
"""The wait after the stack is steady, in which caches fill and Python specialises its code."""
PROFILE_S: Final = SETTLE_S + COUNTED_S + len(HOT_DAEMONS) * SAMPLED_S
"""How long the profile of a load takes."""
SAMPLES_PER_S: Final = 200
LIMIT_S: Final = 30.0
"""How much longer than the sampling py-spy may take: it reads the symbols of all libraries
first."""
OURS: Final = ("lib", "daemons")
ELSEWHERE: Final = "outside of the project"
LONGEST_LINE: Final = 72
"""How many characters of a source line are shown."""

_FRAME: Final = re.compile(r"(.+) \((.+):(\d+)\)")


class CodeLocation(NamedTuple):
    """A place in the code, where a sample found a daemon."""

    file: str
    function: str
    line: int


def measure_profile(load: ProfiledLoad, found: Recording) -> None:
    """Run a private stack and profile it. Raises BenchError."""
    settings = fast_settings(load.symbols)
    settings = replace(settings, gateway=replace(settings.gateway, rate=load.rate))
    with measured_stack(settings) as stack:
        pids = {role: pid for role, pid in stack.pids().items() if role in HOT_DAEMONS}
        time.sleep(SETTLE_S)
        _, [count] = count_from_now(stack)
        before, begin_ns = _stats(pids), time.monotonic_ns()
        while time.monotonic_ns() - begin_ns < COUNTED_S * SECOND_NS:
            time.sleep(LOOK_S)
            evaluated = count.read().evaluated
        after, end_ns = _stats(pids), time.monotonic_ns()
        if not evaluated:
            raise BenchError("the strategy receives no ticks")
        if count.unseen:
            raise BenchError("the bench itself was too slow to count the ticks")
        stacks = {role: _sample(role, pid) for role, pid in pids.items()}
    daemons = tuple(daemon_profile(role, before[role], after[role], stacks[role]) for role in pids)
    seconds = (end_ns - begin_ns) / SECOND_NS
    found.profile.append(LoadProfile(load.rate, load.symbols, seconds, evaluated, daemons))


def _stats(pids: dict[str, int]) -> dict[str, ProcessStat]:
    return {role: process_stat_of(role, pid) for role, pid in pids.items()}


def _sample(role: str, pid: int) -> str:
    """Sample a daemon; return the sampled stacks. Raises BenchError."""
    sampler = Path(sys.executable).with_name("py-spy")
    if not sampler.exists():
        raise BenchError("py-spy is not installed; it is in requirements-bench.txt")
    with tempfile.NamedTemporaryFile(prefix="profile-") as stacks:
        try:
            done = subprocess.run(
                [
                    *(sampler, "record", "--pid", str(pid), "--output", stacks.name),
                    *("--format", "raw", "--full-filenames"),
                    *("--rate", str(SAMPLES_PER_S), "--duration", str(SAMPLED_S)),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=SAMPLED_S + LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"py-spy does not finish with {role}") from None
        if done.returncode:
            raise BenchError(f"py-spy cannot sample {role}: {' '.join(done.stderr.split())}")
        return Path(stacks.name).read_text(encoding="utf-8")


def daemon_profile(role: str, before: ProcessStat, after: ProcessStat, raw: str) -> DaemonProfile:
    """Divide the CPU time of a daemon among the functions in which it was sampled.

    `raw` has a line for each sampled stack, outermost frame first, with the number of samples.
    """
    functions: dict[tuple[str, str], Counter[int]] = {}
    for sampled in raw.splitlines():
        stack, _, samples = sampled.rpartition(" ")
        file, function, line = innermost_of_ours(stack)
        functions.setdefault((file, function), Counter())[line] += int(samples)
    total = sum(lines.total() for lines in functions.values())
    hot = []
    for (file, function), lines in sorted(functions.items(), key=lambda item: -item[1].total()):
        [(hottest, _)] = lines.most_common(1)
        source = linecache.getline(str(PROJECT_ROOT / file), hottest).strip()
        shown = source if len(source) <= LONGEST_LINE else f"{source[: LONGEST_LINE - 1]}…"
        hot.append(HotFunction(f"{file} {function}".strip(), lines.total() / total, shown))
    cpu_ns = round((after.cpu_s - before.cpu_s) * SECOND_NS)
    kernel_ns = round((after.kernel_s - before.kernel_s) * SECOND_NS)
    return DaemonProfile(role, cpu_ns, kernel_ns, total, tuple(hot))


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
