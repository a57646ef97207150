"""A handle on one process that can never be mistaken for a later one with the same pid.

On Linux 5.3 and later it is a pidfd (pidfd_open(2)): it becomes readable when the process ends, and
a signal sent through it reaches this process or none. Without pidfds, pid and start time identify
the process, and its end has to be polled for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Final

from lib.clock import MILLISECOND_NS
from lib.process.run_identity import is_alive, is_stopped, run_of

LOOK_NS: Final = 20 * MILLISECOND_NS
"""How often to poll whether a process has ended, where there is no pidfd."""


class ProcessHandle:
    """Another process. Close the handle after use."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if there is no such process."""
        self._run = run_of(pid)
        self.pidfd = _open_pidfd(pid)
        """Readable once the process has ended; None where the system has no pidfds."""

    def has_ended(self) -> bool:
        """Return whether it has ended, reaped or not."""
        if self.pidfd is None:
            return not is_alive(self._run)
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def is_stopped(self) -> bool:
        """Return whether a signal or a debugger has stopped it."""
        return is_stopped(self._run)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, number)
            elif is_alive(self._run):
                os.kill(self._run.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send(signal.SIGKILL)

    def close(self) -> None:
        """Give back the descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)


def how_ended(return_code: int) -> str:
    """Return how a process has ended, from the return code that `subprocess` has of it."""
    return f"signal {-return_code}" if return_code < 0 else f"exit status {return_code}"


def _open_pidfd(pid: int) -> int | None:
    """Raises ProcessLookupError if there is no such process."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # a Python or a kernel without it, or a sandbox
        return None
