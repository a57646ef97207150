"""A tape from a file: the full speed of a stack beside the random walk, and what preparing takes.

At full speed the slowest strategy sets the pace. The two sources take turns, round by round.
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
from bench.measure.measured_stack import bench_dir, measured_stack, settings_for
from bench.measure.stages import role_environment
from bench.measure.throughput import evaluated_per_s, fast_settings
from bench.plan import TapeRun
from bench.results import PreparedFile, Recording, TapeSpeed
from lib.process.log_events import TapePrepared, read_line
from lib.settings import FILE_SOURCE, PROJECT_ROOT, Settings
from lib.stack.private_stack import to_toml

RANDOM_WALK: Final = "random walk"
FILE: Final = "file"
FIRST_RATE: Final = 1_000.0
"""The rate until the stack is steady: at full speed most of the tape would be over by then."""
FORMATS: Final = {"CSV": "FORMAT csv, HEADER", "Parquet": "FORMAT parquet"}
"""The kinds of files that are prepared, with DuckDB's options for writing one."""
LONGEST_S: Final = 120.0
"""How long preparing a file may take."""
LOOK_S: Final = 0.01

_TICKS: Final = (
    "SELECT ['{symbols}'][1 + n % {count}] AS symbol, "
    "(100 + hash(n) % 5000 / 100)::DECIMAL(18, 2) AS price FROM range({ticks}) ticks(n)"
)


def measure_tape_speed(run: TapeRun, number: int, found: Recording) -> None:
    """Measure a stack with each source, in round `number`. Raises BenchError."""
    settings = fast_settings(run.symbols)
    walk = replace(settings.gateway, rate=FIRST_RATE)
    file = replace(walk, source=FILE_SOURCE, query=_ticks(settings, run.ticks))
    sources = [(RANDOM_WALK, walk), (FILE, file)]
    for source, gateway in sources[:: -1 if number % 2 else 1]:
        with measured_stack(replace(settings, gateway=gateway)) as stack:
            stack.set_rate(0.0)
            found.tape_speeds.append(
                TapeSpeed(source, number, run.symbols, evaluated_per_s(stack, run.seconds))
            )


def measure_preparing(run: TapeRun, found: Recording) -> None:
    """Have a file of each kind prepared, by the program that ships. Raises BenchError."""
    settings = settings_for(run.symbols)
    bench_dir().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="tape-", dir=bench_dir()) as name, duckdb.connect() as writer:
        for kind, options in FORMATS.items():
            file = Path(name) / f"tape.{kind.lower()}"
            writer.execute(f"COPY ({_ticks(settings, run.rows)}) TO '{file}' ({options})")
            gateway = replace(settings.gateway, source=FILE_SOURCE, path=file)
            var_dir = Path(name) / kind
            var_dir.mkdir()
            of_file = replace(settings, var_dir=var_dir, gateway=gateway)
            found.prepared_files.append(_prepare(of_file, kind, file.stat().st_size))


def _ticks(settings: Settings, ticks: int) -> str:
    symbols = settings.symbols
    return _TICKS.format(symbols="', '".join(symbols), count=len(symbols), ticks=ticks)


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
