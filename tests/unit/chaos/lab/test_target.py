"""When a stack is steady, and what an ended one leaves behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from chaos.lab.target import TargetStack, why_not_steady
from lib.price_book.segment_files import SHM_DIR
from lib.process.supervisor import Process
from lib.settings import Settings
from tests.helpers import wait_until
from tests.processes import forked


def test_a_stack_is_steady_once_all_of_its_roles_run_and_none_is_young() -> None:
    assert why_not_steady([Process("gateway", "BACKOFF", 0)]) == "gateway is BACKOFF"
    with forked(signal.pause) as child:
        young = Process("gateway", "RUNNING", child.pid)
        assert why_not_steady([young]) == "gateway has just started"
        wait_until(lambda: why_not_steady([young]) == "", "it is no longer young")


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
