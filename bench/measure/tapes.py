"""A tape from a file: the full speed of a stack beside the random walk, and what preparing takes.

At full speed the slowest strategy sets the pace. Both sources have the same ticks, and take turns,
round by round.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import bench_dir, measured_stack
from bench.measure.stages import role_environment
from bench.measure.throughput import evaluated_per_s, fast_settings
from bench.plan import TapeRun
from bench.results import PreparedFile, Recording, TapeSpeed
from lib.process.log_events import TapePrepared, read_line
from lib.settings import FILE_SOURCE, PROJECT_ROOT, Settings
from lib.stack.private_stack import to_toml
from lib.tapes.random_walk import RandomWalkTape

RANDOM_WALK: Final = "random walk"
FILE: Final = "file"
FIRST_RATE: Final = 1_000.0
"""The rate until the stack is steady: at full speed most of the tape would be over by then."""
FORMATS: Final = {"CSV": "FORMAT csv, HEADER", "Parquet": "FORMAT parquet"}
"""The kinds of files that are prepared, with DuckDB's options for writing one."""
LONGEST_S: Final = 120.0
"""How long preparing a file may take."""
LOOK_S: Final = 0.01


def measure_tapes(run: TapeRun, found: Recording) -> None:
    """Have files prepared, then play one of them beside the random walk. Raises BenchError."""
    settings = fast_settings(run.symbols)
    bench_dir().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="tape-", dir=bench_dir()) as name:
        directory = Path(name)
        for kind in FORMATS:
            file = _write_walk(settings, run.rows, directory, kind)
            var_dir = directory / kind
            var_dir.mkdir()
            of_file = replace(_playing(settings, file), var_dir=var_dir)
            found.prepared_files.append(_prepare(of_file, kind, file.stat().st_size))
        file = _write_walk(settings, run.ticks, directory, "Parquet")
        sources = [(RANDOM_WALK, settings), (FILE, _playing(settings, file))]
        for number in range(run.rounds):
            for source, played in sources:
                found.tape_speeds.append(_speed(source, number, played, run))
            sources.reverse()


def _write_walk(settings: Settings, ticks: int, directory: Path, kind: str) -> Path:
    """Write the random walk of the settings into a file of this kind."""
    indices, prices = RandomWalkTape(settings.symbols, settings.gateway.seed).read(1, ticks)
    symbols = ", ".join(f"'{symbol}'" for symbol in settings.symbols)
    file = directory / f"tape.{kind.lower()}"
    with duckdb.connect() as writer:
        writer.register("walk", {"number": indices, "units": prices})
        writer.execute(
            f"COPY (SELECT [{symbols}][1 + number] AS symbol, "
            "(units * 0.00000001)::DECIMAL(18, 8) AS price FROM walk) "
            f"TO '{file}' ({FORMATS[kind]})"
        )
    return file


def _playing(settings: Settings, file: Path) -> Settings:
    return replace(settings, gateway=replace(settings.gateway, source=FILE_SOURCE, path=file))


def _speed(source: str, number: int, settings: Settings, run: TapeRun) -> TapeSpeed:
    """Measure a stack at full speed. Raises BenchError."""
    first = replace(settings, gateway=replace(settings.gateway, rate=FIRST_RATE))
    with measured_stack(first) as stack:
        stack.set_rate(0.0)
        ticks_per_s = evaluated_per_s(stack, run.seconds)
    return TapeSpeed(source, number, run.symbols, ticks_per_s)


def _prepare(settings: Settings, kind: str, size: int) -> PreparedFile:
    """Prepare the file of the settings. Raises BenchError."""
    config, log = (settings.var_dir / name for name in ("trading.toml", "tape.jsonl"))
    config.write_text(to_toml(settings), encoding="utf-8")
    environment = {
        **os.environ,
        **role_environment(),
        "TRADING_CONFIG": str(config),
        "TRADING_VAR_DIR": str(settings.var_dir),
    }
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", "daemons.tape"],
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        peak_bytes = _peak_bytes(process.pid)
    finally:
        process.kill()
    lines = log.read_bytes().splitlines()
    events = [line.event for line in map(read_line, lines) if line]
    prepared = next((event for event in events if isinstance(event, TapePrepared)), None)
    if prepared is None:
        raise BenchError(f"a {kind} file was not prepared: {lines[-1:]}")
    return PreparedFile(kind, prepared.length, size, prepared.elapsed_s, peak_bytes)


def _peak_bytes(pid: int) -> int:
    """Wait for a child to end; return its largest resident memory. Raises BenchError."""
    give_up_s = time.monotonic() + LONGEST_S
    while True:
        ended, _, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return 1024 * usage.ru_maxrss
        if time.monotonic() > give_up_s:
            raise BenchError(f"a file is not prepared after {LONGEST_S:g} s")
        time.sleep(LOOK_S)
