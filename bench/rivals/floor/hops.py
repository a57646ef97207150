"""Compiles and runs `hops.c`, where there is a C compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from bench.rivals.floor import check, meeting_place
from bench.rivals.load import Load
from bench.rivals.rival import END_S, RivalError, RivalResult, RivalUnavailable
from lib.process.run_identity import end_with

SOURCE: Final = Path(__file__).with_name("hops.c")
VAR_DIR: Final = SOURCE.parents[3] / "var"
COMPILE_S: Final = 60.0


def run_hops(which: Literal["two", "three"], load: Load) -> RivalResult:
    """Run a load through the two or three processes of `hops.c`.

    Raises RivalUnavailable where there is no compiler, RivalError if it fails, and ValueError for
    a load that is not paced, one message a tick.
    """
    check(load)
    program = compile_hops()
    with meeting_place(load) as directory:
        latencies_ns = _output(program, which, str(load.rate), str(load.seconds), directory)
    # The program does not report its times; it sends for as long as the load says.
    ticks = len(latencies_ns)
    return RivalResult(ticks, load.messages - ticks, load.seconds, latencies_ns)


def compile_hops(directory: Path = VAR_DIR / "bench") -> Path:
    """Return the program, recompiled if its source has changed. Raises RivalUnavailable."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RivalUnavailable("there is no C compiler (cc)")
    program = directory / "hops"
    if program.exists() and program.stat().st_mtime > SOURCE.stat().st_mtime:
        return program
    directory.mkdir(parents=True, exist_ok=True)
    # Under a temporary name first, so that an incomplete program is never run.
    with tempfile.TemporaryDirectory(prefix="hops-", dir=directory) as unfinished:
        result = Path(unfinished) / "hops"
        command = [compiler, "-O2", "-o", str(result), str(SOURCE)]
        compiled = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILE_S, check=False
        )
        if compiled.returncode != 0:
            raise RivalUnavailable(f"{' '.join(command)} failed: {compiled.stderr.strip()}")
        result.replace(program)
    return program


def _output(
    program: Path, which: str, rate: str, seconds: str, directory: str
) -> NDArray[np.int64]:
    """Run the program to its end. Its children die with it, and it dies with this process."""
    with subprocess.Popen(
        [program, which, rate, seconds, directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=partial(end_with, os.getpid()),
    ) as process:
        try:
            words, complaint = process.communicate(timeout=float(seconds) + END_S)
        except subprocess.TimeoutExpired:
            raise RivalError("hops has not come to its end in time") from None
        finally:
            process.kill()
    if process.returncode != 0:
        raise RivalError(f"hops failed: {complaint.decode(errors='replace').strip()}")
    return np.frombuffer(words, np.int64)
