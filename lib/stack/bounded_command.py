"""Runs a user's shell command, which may do anything and holds up nothing.

It gets a line on its standard input, which is a file in memory: nothing waits until it is read. Its
standard output is discarded. It has a process group of its own, and the group is killed when the
shell has ended, takes too long or writes too much to its standard error. What has left the group
(setsid) is left to the caller (`lib.process.run_identity.end_children`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from functools import partial
from typing import IO, Final

from lib.clock import SECOND_NS
from lib.process.process_handle import how_ended
from lib.process.run_identity import end_with
from lib.settings import PROJECT_ROOT
from lib.text import shortened

LONGEST_NS: Final = 10 * SECOND_NS
"""How long the command may take."""
MAX_ERROR_BYTES: Final = 64 * 1024
"""How much the command may write to its standard error."""
MAX_REASON_CHARACTERS: Final = 200
"""How much of the last line of its standard error is shown."""
KILL_S: Final = 1.0
"""How long a killed process may take to end."""

_OF_SUPERVISORD: Final = "SUPERVISOR_"
"""The beginning of the variables that supervisord sets for a role. The command gets none of them.
"""


class BoundedCommand:
    """One run of a command. For one thread."""

    def __init__(self, command: str, line: bytes, now_ns: int) -> None:
        """Begin it, by /bin/sh in the project's root. Raises OSError, UnicodeEncodeError."""
        self._give_up_ns = now_ns + LONGEST_NS
        self._error_text = b""
        with os.fdopen(os.memfd_create("line"), "w+b") as standard_input:
            standard_input.write(line)
            standard_input.seek(0)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=PROJECT_ROOT,
                env={k: v for k, v in os.environ.items() if not k.startswith(_OF_SUPERVISORD)},
                stdin=standard_input,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=partial(end_with, os.getpid()),
            )
        assert self._process.stderr
        self._errors: IO[bytes] = self._process.stderr
        os.set_blocking(self._errors.fileno(), False)

    def outcome(self, now_ns: int) -> str | None:
        """Return why it has failed, "" if it has succeeded; None while it runs.

        Not to be called again after another answer than None.
        """
        self._read_errors()
        # WNOWAIT: as long as the shell is not reaped, its group cannot be another one's.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return self.kill("")
        if len(self._error_text) >= MAX_ERROR_BYTES:
            return self.kill(f"writes {MAX_ERROR_BYTES:,} bytes to its standard error; killed")
        if now_ns >= self._give_up_ns:
            return self.kill(f"takes over {LONGEST_NS // SECOND_NS} s; killed")
        return None

    def kill(self, problem: str) -> str:
        """End it, and what it has started in its group; return the outcome.

        `problem` is why it has failed, "" if its exit code says whether it has.
        """
        with contextlib.suppress(OSError):  # all of it runs as another user, with sudo, say
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return_code = self._process.wait(KILL_S)
            problem = problem or (how_ended(return_code) if return_code else "")
        self._read_errors()
        self._errors.close()
        return f"{problem}{self._last_error()}" if problem else ""

    def _read_errors(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while room := MAX_ERROR_BYTES - len(self._error_text):
                data = os.read(self._errors.fileno(), room)
                if not data:
                    break
                self._error_text += data

    def _last_error(self) -> str:
        lines = self._error_text.decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f": {shortened(last, MAX_REASON_CHARACTERS)}" if last else ""
