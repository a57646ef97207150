"""What a role fault leaves behind, and that `undo` works at any time."""

from __future__ import annotations

import signal

import pytest

from chaos.faults.role_faults import UNWATCHED_S, Freeze, Restart, SendSignal
from chaos.lab.target import TargetStack
from lib.long_program import Interrupted
from lib.process.run_identity import is_stopped, run_of
from lib.settings import Settings, WatchdogSettings
from tests.helpers import wait_until
from tests.processes import forked


class FakeTarget(TargetStack):
    """A fake target that may be interrupted while it starts a role."""

    def __init__(self, *, interrupted: bool = False) -> None:
        super().__init__(Settings())
        self.commands: list[str] = []
        self._interrupted = interrupted

    def stop(self, role: str) -> None:
        self.commands.append(f"stop {role}")

    def start(self, role: str) -> None:
        if self._interrupted:
            raise Interrupted
        self.commands.append(f"start {role}")

    def revive(self, role: str) -> None:
        self.commands.append(f"revive {role}")


def test_a_completed_restart_leaves_nothing_to_undo() -> None:
    target, restart = FakeTarget(), Restart("gateway")
    restart.inject(target, 1)
    assert not restart.undo()
    assert target.commands == ["stop gateway", "start gateway"]


def test_a_role_that_was_only_stopped_is_started_again() -> None:
    target, restart = FakeTarget(interrupted=True), Restart("gateway")
    with pytest.raises(Interrupted):
        restart.inject(target, 1)
    restart.undo()
    restart.undo()
    assert target.commands == ["stop gateway", "revive gateway"]


def test_undo_resumes_a_frozen_process_and_accepts_one_that_has_ended() -> None:
    freeze = Freeze("gateway")
    with forked(signal.pause) as child:
        freeze.inject(FakeTarget(), child.pid)
        wait_until(lambda: is_stopped(run_of(child.pid)), "it stands still")
        assert freeze.undo()
        wait_until(lambda: not is_stopped(run_of(child.pid)), "it goes on")
        assert not freeze.undo()
        freeze.inject(FakeTarget(), child.pid)
    assert not freeze.undo()


def test_the_lab_resumes_a_frozen_role_only_without_a_watchdog() -> None:
    freeze = Freeze("gateway")
    with forked(signal.pause) as child:
        freeze.inject(FakeTarget(), child.pid)
        assert freeze.undo_after_s is None
        freeze.undo()
        unwatched = FakeTarget()
        unwatched.settings = Settings(watchdog=WatchdogSettings(hang_after=0.0))
        freeze.inject(unwatched, child.pid)
        assert freeze.undo_after_s == UNWATCHED_S
        freeze.undo()


@pytest.mark.parametrize("fault", [SendSignal("gateway", signal.SIGKILL), Freeze("gateway")])
def test_a_process_that_has_ended_is_not_hit(fault: SendSignal | Freeze) -> None:
    with forked(signal.pause) as child:
        pid = child.pid
    with pytest.raises(ProcessLookupError):
        fault.inject(FakeTarget(), pid)
