"""Heartbeats: a role beats from its main loop, and the watchdog sees when it stops.

A beat is a store into a small mapped file, `PROGRAM.heartbeat` in the var directory (named after
the program in supervisord's configuration, which may run one role twice). It costs no system call,
and a reader costs the role nothing. The event loop itself beats in each pass, so a callback that
never returns stops it, and a slow callback delays it by just its own time. The file names its
process by pid and start time, so that the file of a dead process is never taken for the silence of
its successor.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from lib.clock import SECOND_NS
from lib.process.run_identity import Run, is_alive, run_of
from lib.process.state_file import StateFile, create_state, open_state

PROGRAM_VARIABLE: Final = "SUPERVISOR_PROCESS_NAME"
"""The environment variable in which supervisord names the program to each process it starts."""
LONGEST_INTERVAL_NS: Final = SECOND_NS // 2
"""The longest time between the beats of an idle role."""
BEATS_PER_LIMIT: Final = 4
"""How many beats fit into `hang_after`: a role that is late by one or two does not hang."""

_BEAT: Final = 0


def beat_interval_ns(hang_after_ns: int) -> int:
    """Return the time between the beats of an idle role that may be silent for `hang_after_ns`."""
    return min(LONGEST_INTERVAL_NS, hang_after_ns // BEATS_PER_LIMIT)


def begin_to_beat(var_dir: Path, program: str) -> memoryview[int]:
    """Beat for the first time. Returns the word to store the time of each further beat into.

    Raises OSError if the file cannot be written.
    """
    header = run_of(os.getpid())._asdict()
    return create_state(_path(var_dir, program), header, [time.monotonic_ns()]).words


class Pulse:
    """The heartbeat of another process, read by the watchdog."""

    def __init__(self, state: StateFile) -> None:
        self._words = state.words

    def last_ns(self) -> int:
        """When it last beat (monotonic ns)."""
        return self._words[_BEAT]


def find_pulse(var_dir: Path, program: str, pid: int) -> Pulse | None:
    """Return the heartbeat of exactly this process; None as long as it has not beaten."""
    state = open_state(_path(var_dir, program), word_count=1)
    if state is None:
        return None
    with contextlib.suppress(TypeError):  # a header of other keys is not ours
        run = Run(**state.header)
        if run.pid == pid and is_alive(run):
            return Pulse(state)
    return None


def _path(var_dir: Path, program: str) -> Path:
    return var_dir / f"{program}.heartbeat"
