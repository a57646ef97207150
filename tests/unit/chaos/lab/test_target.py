"""When a stack is steady, and what an ended one leaves behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from chaos.lab.target import (
    TargetError,
    TargetStack,
    why_not_steady,
)
from lib.price_book.segment_files import SHM_DIR
from lib.process.supervisor import Process
from lib.settings import Settings
from tests.helpers import wait_until
from tests.processes import forked


def test_a_stack_is_steady_once_none_of_its_roles_is_young() -> None:
    with forked(signal.pause) as child:
        young = Process("gateway", "RUNNING", child.pid)
        assert why_not_steady([young]) == "gateway has just started"
        wait_until(lambda: why_not_steady([young]) == "", "it is no longer young")


def test_a_role_that_does_not_run_is_named() -> None:
    assert why_not_steady([Process("gateway", "BACKOFF", 0)]) == "gateway is BACKOFF"


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


class FakeTarget(TargetStack):
    """A role that goes through these states, one at each query."""

    def __init__(self, *states: str) -> None:
        super().__init__(Settings())
        self._states = list(states)
        self.commands: list[str] = []

    def processes(self) -> dict[str, Process]:
        self.state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return {"gateway": Process("gateway", self.state, 1)}

    def start(self, role: str) -> None:
        self.commands.append(self.state)
        if self.state != "STOPPED":
            raise TargetError("it cannot be started now")


@pytest.mark.parametrize("states", [("RUNNING",), ("STOPPING", "STOPPED", "STARTING", "RUNNING")])
def test_a_role_is_started_until_it_runs(states: tuple[str, ...]) -> None:
    target = FakeTarget(*states)
    target.revive("gateway")
    assert target.commands == list(states[:-1])


def test_a_role_that_does_not_come_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.lab.target.REVIVE_S", 0.0)
    with pytest.raises(TargetError, match="gateway is not running again"):
        FakeTarget("FATAL").revive("gateway")
