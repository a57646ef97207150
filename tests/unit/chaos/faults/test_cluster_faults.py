"""The processes of a host are stopped, killed and resumed as one."""

from __future__ import annotations

import signal
from typing import cast

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from chaos.faults.cluster_faults import HostProcesses
from chaos.lab.target import TargetStack
from lib.process.run_identity import is_stopped, run_of
from tests.helpers import wait_until
from tests.processes import forked


class Host:
    """A host that has one process at first, and two when it is looked at again."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._looks = 0

    def pids(self) -> list[int]:
        self._looks += 1
        return list(self._pids[: self._looks])


def test_a_host_stands_still_with_what_it_started_meanwhile_and_goes_on() -> None:
    with forked(signal.pause) as one, forked(signal.pause) as other:
        host = HostProcesses(cast(TargetStack, Host(one.pid, other.pid)))
        for child in (one, other):
            wait_until(lambda pid=child.pid: is_stopped(run_of(pid)), "it is stopped")
        host.resume()
        host.resume()
        for child in (one, other):
            wait_until(lambda pid=child.pid: not is_stopped(run_of(pid)), "it goes on")


def test_a_host_is_killed_with_what_it_started_meanwhile() -> None:
    with forked(signal.pause) as one, forked(signal.pause) as other:
        HostProcesses(cast(TargetStack, Host(one.pid, other.pid))).kill()
        for child in (one, other):
            assert child.join() == -signal.SIGKILL
