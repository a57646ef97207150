"""The alerts' process as its parent sees it: the watchdog starts it, and starts it again."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Final

import structlog

from lib.clock import SECOND_NS, Clock
from lib.process.heartbeat import PROGRAM_VARIABLE
from lib.process.log_events import AlertsEnded, log_event
from lib.process.process_handle import how_ended
from lib.process.run_identity import end_with
from lib.settings import PROJECT_ROOT

LOOK_NS: Final = 1 * SECOND_NS
"""How often to look whether it has ended."""
FIRST_WAIT_NS: Final = 1 * SECOND_NS
"""How long to wait before it is started again; twice as long each time."""
LONGEST_WAIT_NS: Final = 60 * SECOND_NS
"""The longest wait. A process that has lived longer than this has started well."""
END_S: Final = 1.8
"""How long it may take to end when it is asked to."""


class AlertsProcess:
    """Keeps `python -m daemons.alerts` running. Is a `Timed` for the event loop of the main thread.

    It ends with this process, however this process ends.
    """

    def __init__(self, clock: Clock) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._look_ns = self._started_ns = clock()
        self._wait_ns = FIRST_WAIT_NS

    def next_deadline_ns(self) -> int:
        """When to look at it, or to start it."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Start it, or look whether it has ended."""
        if self._process is None:
            self._start(now_ns)
        elif (return_code := self._process.poll()) is not None:
            self._process = None
            self._ended(how_ended(return_code), now_ns)
        else:
            self._look_ns = now_ns + LOOK_NS

    def close(self) -> None:
        """End it, and give it time to send what is due."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _start(self, now_ns: int) -> None:
        self._started_ns = now_ns
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-m", "daemons.alerts"],
                cwd=PROJECT_ROOT,
                # Without a program's name it does not beat: supervisord cannot start it again.
                env={k: v for k, v in os.environ.items() if k != PROGRAM_VARIABLE},
                stdin=subprocess.DEVNULL,
                preexec_fn=partial(end_with, os.getpid()),
            )
        except OSError as error:
            self._ended(f"cannot be started: {error}", now_ns)
        else:
            self._look_ns = now_ns + LOOK_NS

    def _ended(self, reason: str, now_ns: int) -> None:
        log_event(structlog.get_logger(), AlertsEnded(reason=reason))
        if now_ns - self._started_ns > LONGEST_WAIT_NS:
            self._wait_ns = FIRST_WAIT_NS
        self._look_ns = now_ns + self._wait_ns
        self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)
