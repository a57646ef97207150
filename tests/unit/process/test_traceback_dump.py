"""The stack of a process, written by itself: also where its Python code does not come round."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lib.process import traceback_dump as stack_dump
from lib.process.process_handle import ProcessHandle
from lib.process.traceback_dump import StackFile, stacks_of
from lib.process.traceback_frames import innermost
from tests.helpers import PROJECT_ROOT, wait_until
from tests.processes import forked

BUSY = """
import sys
from pathlib import Path
from lib.process.traceback_dump import StackFile
StackFile(Path(sys.argv[1]), "busy").put_back()
def hang():
    print("hangs", flush=True)
    sum(range(10**15))
hang()
"""


def stack(directory: Path, handle: ProcessHandle) -> str:
    [frames] = stacks_of(directory, [("busy", handle)])
    return str(innermost(frames) or "")


def test_a_busy_process_says_where_it_is_and_one_that_is_stopped_is_not_waited_for(
    tmp_path, monkeypatch
):
    """It is deep in a single call which holds the interpreter's lock."""
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    with subprocess.Popen(
        [sys.executable, script, tmp_path],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"hangs\n"
        with closing(ProcessHandle(process.pid)) as handle:
            hangs = f"{script}, line 8, in hang"
            for _ in range(2):
                wait_until(lambda: stack(tmp_path, handle) == hangs, "it says so")
            handle.send(signal.SIGSTOP)
            wait_until(handle.is_stopped, "it is stopped")
            with monkeypatch.context() as patch:
                patch.delattr(stack_dump.time, "sleep")
                assert stack(tmp_path, handle) == ""
            handle.kill()
            wait_until(handle.has_ended, "it has ended")
            assert stack(tmp_path, handle) == ""


def test_a_stack_file_that_cannot_be_put_back_leaves_no_descriptor_open(tmp_path, monkeypatch):
    kept = StackFile(tmp_path, "busy")

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "replace", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output error"):
            kept.put_back()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_fifo_in_the_place_of_a_stack_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "busy.stack")
    with subprocess.Popen(["sleep", "300"]) as process:

        def ask() -> None:
            with closing(ProcessHandle(process.pid)) as handle:
                assert stack(tmp_path, handle) == ""

        with forked(ask) as child:
            assert child.join() == 0
        process.kill()
