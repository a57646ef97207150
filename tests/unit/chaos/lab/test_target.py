"""What an ended stack leaves behind."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import msgspec

from chaos.lab.target import TargetStack
from lib.price_book.segment_files import SHM_DIR
from lib.settings import Settings


def test_remaining_segments_and_processes_are_found_but_no_observers(
    tmp_path: Path,
) -> None:
    name = f"tw-test-{os.getpid()}-{secrets.token_hex(4)}"
    book = msgspec.structs.replace(Settings().price_book, name=name)
    target = TargetStack(msgspec.structs.replace(Settings(), var_dir=tmp_path, price_book=book))
    assert target.left_behind() == []
    segment = SHM_DIR / f"{name}.lock"
    segment.touch()
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(sleeper, env={"TRADING_VAR_DIR": str(tmp_path)})
    beside = subprocess.Popen(sleeper, env={"TRADING_VAR_DIR": f"{tmp_path}/deeper"})
    watching = subprocess.Popen([*sleeper, tmp_path / "log" / "strategy.jsonl"])
    try:
        [first, second] = target.left_behind()
    finally:
        segment.unlink()
        for started in (process, beside, watching):
            started.kill()
            started.wait()
    assert first == str(segment)
    assert second.startswith(f"process {process.pid}: ")
