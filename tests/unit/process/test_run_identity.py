"""Which run a process belongs to: asked by real processes of real parents."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib.clock import SECOND_NS
from lib.process.run_identity import (
    OrphanedError,
    Run,
    children_of,
    current_run,
    end_with_parent,
    is_alive,
    process_stat,
    run_of,
    waited_for_cpu_ns,
)
from tests.helpers import wait_until
from tests.processes import forked, run_python


def test_a_role_started_by_hand_is_a_run_of_its_own(monkeypatch):
    monkeypatch.delenv("SUPERVISOR_ENABLED", raising=False)
    ours = current_run()
    assert ours.pid == os.getpid()
    assert is_alive(ours)
    assert not is_alive(ours._replace(start_ticks=ours.start_ticks - 1))  # of the same number


def test_the_children_of_a_process_are_known_also_where_the_kernel_does_not_list_them(monkeypatch):
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "children":
            raise FileNotFoundError
        return real(path)

    def children() -> list[int]:
        listed = children_of(os.getpid())
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", read_bytes)
            assert sorted(children_of(os.getpid())) == sorted(listed)
        return listed

    with forked(signal.pause) as process:
        assert process.pid in children()
        assert os.getpid() not in children()
        process.kill()
        process.join()
        assert process.pid not in children()


def test_who_has_work_and_no_cpu_waits_and_who_is_stopped_does_not():
    def work_on_one_cpu():
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        while True:
            pass

    with ExitStack() as stack:
        at_work = [stack.enter_context(forked(work_on_one_cpu)) for _ in range(3)]
        stopped = stack.enter_context(forked(signal.pause))
        os.kill(stopped.pid, signal.SIGSTOP)
        before = {one.pid: waited_for_cpu_ns(one.pid) for one in (*at_work, stopped)}
        began_ns = time.monotonic_ns()

        def waited_ns(process) -> int:
            return waited_for_cpu_ns(process.pid) - before[process.pid]

        wait_until(lambda: min(map(waited_ns, at_work)) > SECOND_NS // 2, "all have waited")
        # Two of three wait at any moment, and one works.
        assert sum(map(waited_ns, at_work)) > 1.5 * (time.monotonic_ns() - began_ns)
        assert waited_ns(stopped) < SECOND_NS // 4
        stopped.kill()
        stopped.join()
        assert waited_for_cpu_ns(stopped.pid) == 0


@pytest.mark.parametrize("name", ["sleep", "x) S 1 (y", "a\nb"])
def test_a_run_ends_with_its_process_whatever_its_name_and_even_if_it_is_not_reaped(tmp_path, name):
    shutil.copy(shutil.which("sleep"), tmp_path / name)
    with subprocess.Popen([tmp_path / name, "60"]) as process:
        its_run = _run_of(process)
        assert its_run.start_ticks >= current_run().start_ticks
        assert is_alive(its_run)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert not is_alive(its_run)
    assert not is_alive(its_run)


def _run_of(process: subprocess.Popen[bytes]) -> Run:
    """The run of a process once it has become the program it is to run."""
    wait_until(
        lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().endswith(b"60\0"), "it runs"
    )
    return run_of(process.pid)


def test_a_role_started_by_hand_does_not_end_with_its_parent():
    environment = {key: value for key, value in os.environ.items() if key != "SUPERVISOR_ENABLED"}
    code = (
        "import ctypes\n"
        "from lib.process.run_identity import end_with_parent\n"
        "end_with_parent()\n"
        "number = ctypes.c_int(-1)\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(number))\n"  # PR_GET_PDEATHSIG
        "print(number.value)\n"
    )
    assert run_python(code, env=environment).stdout == "0\n"


def test_a_supervisord_that_dies_during_the_prctl_is_noticed(monkeypatch):
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")

    def role():
        parents = iter([os.getppid(), 1])
        monkeypatch.setattr(os, "getppid", lambda: next(parents))
        with pytest.raises(OrphanedError):
            end_with_parent()

    with forked(role) as process:
        assert process.join() == 0


def test_what_a_process_takes_is_what_the_kernel_says():
    def compute() -> None:
        while True:
            pass

    with forked(compute) as busy:
        wait_until(lambda: process_stat(busy.pid).user_s > 0.1, "it takes time")
        stat = process_stat(busy.pid)
        assert stat.is_alive
        assert stat.cpu_s == stat.user_s + stat.kernel_s
        assert stat.uptime_s >= stat.cpu_s - 0.02  # both are counted in hundredths
        assert stat.resident_bytes > 1_000_000
        busy.kill()
        wait_until(lambda: not process_stat(busy.pid).is_alive, "a zombie runs no more")
    with pytest.raises(ProcessLookupError):
        process_stat(busy.pid)
