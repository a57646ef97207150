"""What a role fault leaves behind, and that `undo` works at any time."""

from __future__ import annotations

import signal

import pytest

from chaos.faults.role_faults import UNWATCHED_S, Freeze, Restart, SendSignal
from chaos.lab.target import TargetStack
from lib.settings import Settings, WatchdogSettings
from lib.stack.long_program import Interrupted
from tests.processes import forked


class FakeTarget(TargetStack):
    """A target in which a restart is interrupted before the role is started again."""

    revived = ""

    def restart(self, role: str) -> None:
        raise Interrupted

    def revive(self, role: str) -> None:
        self.revived += role


def test_only_a_strategy_that_is_hit_itself_may_miss_ticks():
    for role, promise in (("gateway", "no tick and"), ("strategy", "no tick at the book and")):
        for fault in (SendSignal(role, signal.SIGKILL), Restart(role), Freeze(role)):
            assert f"{promise} no order is lost" in fault.hypothesis


def test_a_role_that_was_only_stopped_is_started_again() -> None:
    target, restart = FakeTarget(Settings()), Restart("gateway")
    with pytest.raises(Interrupted):
        restart.inject(target, 1)
    restart.undo()
    restart.undo()
    assert target.revived == "gateway"


@pytest.mark.parametrize(("hang_after", "undo_after_s"), [(1.0, None), (0.0, UNWATCHED_S)])
def test_the_lab_resumes_a_frozen_role_only_without_a_watchdog(
    hang_after: float, undo_after_s: float | None
) -> None:
    target = FakeTarget(Settings(watchdog=WatchdogSettings(hang_after=hang_after)))
    freeze = Freeze("gateway")
    with forked(signal.pause) as child:
        freeze.inject(target, child.pid)
        assert freeze.undo_after_s == undo_after_s
        assert freeze.undo()
        assert not freeze.undo()
