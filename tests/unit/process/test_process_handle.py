"""A handle on a process: it signals the end, and kills this process or none."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from lib.process.process_handle import ProcessHandle
from lib.process.run_identity import Run
from tests.helpers import wait_until
from tests.processes import forked


def no_such_call(pid):
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.fixture(params=["pidfd", "a kernel without", "a Python without"])
def system(request, monkeypatch):
    """Systems with and without pidfd."""
    if request.param == "a kernel without":
        monkeypatch.setattr(os, "pidfd_open", no_such_call)
    elif request.param == "a Python without":
        monkeypatch.delattr(os, "pidfd_open")
    return request.param


def test_a_process_that_runs_has_not_ended_and_one_that_was_killed_has(system):
    with forked(signal.pause) as child:
        handle = ProcessHandle(child.pid)
        assert (handle.pidfd is not None) == (system == "pidfd")
        assert not handle.has_ended()
        handle.kill()
        wait_until(handle.has_ended, "the end is seen")  # before its parent has taken note
        assert child.join() == -signal.SIGKILL
        assert handle.has_ended()
        handle.kill()  # no process is hit, and no error raised
        handle.close()


def test_a_later_process_of_the_same_number_is_not_hit(system, monkeypatch):
    with forked(signal.pause) as earlier:
        handle = ProcessHandle(earlier.pid)
        earlier.kill()
        earlier.join()
    with forked(signal.pause) as later:
        # The kernel would give the same number after some 30,000 others.
        handle._run = Run(later.pid, handle._run.start_ticks - 1)
        hit: list[int] = []
        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", lambda pid, _: hit.append(pid))
            handle.kill()
        assert handle.has_ended()
        assert hit == []
    handle.close()
