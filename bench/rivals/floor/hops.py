"""The hops of `three_processes.py` in C, where there is a compiler: what is left without Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.rivals.floor import meeting_place
from bench.rivals.load import Load
from bench.rivals.rival import END_S, MEMORY, RivalResult, RivalUnavailable
from lib.process.run_identity import end_with

NAME: Final = "three bare processes in C"
SOURCE: Final = Path(__file__).with_name("hops.c")
COMPILE_S: Final = 60.0


def measure(load: Load) -> RivalResult:
    """As `three_processes.measure`. Raises BenchError, and RivalUnavailable without a compiler."""
    with TemporaryDirectory(prefix=MEMORY) as made, meeting_place(load) as directory:
        program = _compile(Path(made))
        latencies_ns = _output(program, str(load.rate), str(load.seconds), directory)
    # The program does not report its times; it sends for as long as the load says.
    ticks = len(latencies_ns)
    return RivalResult(ticks, load.messages - ticks, load.seconds, latencies_ns)


def _compile(directory: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise RivalUnavailable("there is no C compiler (cc)")
    program = directory / "hops"
    command = [compiler, "-O2", "-o", str(program), str(SOURCE)]
    try:
        compiled = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{compiler} has not finished within {COMPILE_S:g} s") from None
    if compiled.returncode != 0:
        raise RivalUnavailable(f"{' '.join(command)} failed: {compiled.stderr.strip()}")
    return program


def _output(program: Path, rate: str, seconds: str, directory: str) -> NDArray[np.int64]:
    """Run the program to its end. Its children die with it, and it dies with this process."""
    with subprocess.Popen(
        [program, rate, seconds, directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=partial(end_with, os.getpid()),
    ) as process:
        try:
            words, complaint = process.communicate(timeout=float(seconds) + END_S)
        except subprocess.TimeoutExpired:
            raise BenchError("hops has not come to its end in time") from None
        finally:
            process.kill()
    if process.returncode != 0:
        raise BenchError(f"hops failed: {complaint.decode(errors='replace').strip()}")
    return np.frombuffer(words, np.int64)
