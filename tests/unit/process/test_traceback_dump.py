"""The stack of a process, written by itself: also where its Python code does not come round."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.process import traceback_dump as stack_dump
from lib.process.process_handle import ProcessHandle
from lib.process.run_identity import Run, is_stopped, run_of
from lib.process.traceback_dump import stacks_of
from lib.process.traceback_frames import innermost
from tests.helpers import PROJECT_ROOT, wait_until

BUSY = """
import sys
from pathlib import Path
from lib.process.traceback_dump import write_stack_on_request
write_stack_on_request(Path(sys.argv[1]), "busy")
def hang():
    print("hangs", flush=True)
    sum(range(10**15))
hang()
"""


@contextmanager
def a_busy_process(directory: Path) -> Iterator[ProcessHandle]:
    """One that is deep in a single call which holds the interpreter's lock."""
    script = directory / "busy.py"
    script.write_text(BUSY)
    with subprocess.Popen(
        [sys.executable, script, directory],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        handle = ProcessHandle(process.pid)
        try:
            assert process.stdout
            assert process.stdout.readline() == b"hangs\n"
            yield handle
        finally:
            process.kill()
            handle.close()


def stack(directory: Path, handle: ProcessHandle) -> str:
    [frames] = stacks_of(directory, [("busy", handle)])
    return str(innermost(frames) or "")


def test_a_busy_process_says_where_it_is_each_time_it_is_asked(tmp_path):
    with a_busy_process(tmp_path) as handle:
        hangs = f"{tmp_path}/busy.py, line 8, in hang"
        for _ in range(2):
            wait_until(lambda: stack(tmp_path, handle) == hangs, "it says so")


def test_one_that_is_stopped_is_not_waited_for(tmp_path, monkeypatch):
    with a_busy_process(tmp_path) as handle:
        pid = handle._run.pid
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(run_of(pid)), "it is stopped")
        assert not is_stopped(Run(pid, run_of(pid).start_ticks - 1))
        monkeypatch.delattr(stack_dump.time, "sleep")
        assert stack(tmp_path, handle) == ""
        assert (tmp_path / "busy.stack").stat().st_size == 0


def test_one_that_has_ended_has_no_stack(tmp_path):
    with a_busy_process(tmp_path) as handle:
        handle.kill()
        wait_until(handle.has_ended, "it has ended")
        assert stack(tmp_path, handle) == ""
        assert not is_stopped(handle._run)
