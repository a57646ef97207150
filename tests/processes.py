"""Real processes for tests: start them, wait for something they do, end them for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until

IN_NAMESPACES = ("unshare", "--pid", "--fork", "--mount-proc")
"""Runs a command as PID 1, as in a container."""


def can_make_namespaces() -> bool:
    try:
        return subprocess.run([*IN_NAMESPACES, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(
    not can_make_namespaces(), reason="no namespace can be made here"
)


class Child:
    """A forked process that runs one function. Exit status 0 means it returned."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def has_ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    def join(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        wait_until(self.has_ended, f"process {self.pid} ends")
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[Child]:
    """Run `work` in a child for the time of the block; kill what is left of it then."""
    child = Child(work)
    try:
        yield child
    finally:
        if not child.has_ended():
            with suppress(ProcessLookupError):
                child.kill(signal.SIGCONT)
                child.kill()
            child.join()


def run_python(
    code: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of its own in the project's root, with an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=PROJECT_ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
