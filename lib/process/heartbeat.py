"""Heartbeats: a role beats from its main loop, and the watchdog sees when it stops.

A beat is a store into a small mapped file, `PROGRAM.heartbeat` in the var directory (named after
the program in supervisord's configuration, which may run one role twice). It costs no system call,
and a reader costs the role nothing. The event loop itself beats in each pass, so a callback that
never returns stops it, and a slow callback delays it by just its own time. The file names its
process by pid and start time, so that the file of a dead process is never taken for the silence of
its successor.

A heartbeat that cannot be written, at the start or after its file was removed, is tried again,
at least each second: until then the watchdog would not watch the role, for as long as it lives.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

import structlog

from lib.clock import SECOND_NS, coarse_deadline
from lib.net.event_loop import EventLoop
from lib.process.kept_files import LOOK_NS, PUT_BACK
from lib.process.log_events import FileLost, HeartbeatFailed, HeartbeatRecovered, log_event
from lib.process.log_once import LogOnce
from lib.process.run_identity import Run, is_alive, run_of, waited_for_cpu_ns
from lib.process.state_file import StateFile, create_state, open_state
from lib.process.traceback_dump import StackFile

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


def begin_to_beat(var_dir: Path, program: str) -> StateFile:
    """Beat for the first time. Returns the file, with a word for the time of each further beat.

    Raises OSError if the file cannot be written.
    """
    header = run_of(os.getpid())._asdict()
    return create_state(_path(var_dir, program), header, [time.monotonic_ns()])


class Heartbeat:
    """Lets a loop beat for the watchdog of the same supervisord. A `Timed` of that loop."""

    def __init__(self, loop: EventLoop, var_dir: Path, program: str, hang_after_ns: int) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._var_dir = var_dir
        self._program = program
        self._interval_ns = beat_interval_ns(hang_after_ns)
        self._stack = StackFile(var_dir, program)
        self._state: StateFile | None = None
        self._failure = LogOnce()
        self._look_ns = loop.clock() + LOOK_NS
        self._begin()

    def next_deadline_ns(self) -> int:
        """When to look at the files."""
        return coarse_deadline(self._loop.clock(), self._look_ns, LOOK_NS)

    def on_time(self, now_ns: int) -> None:
        """Begin anew if a file is lost, and try again what has failed."""
        self._look_ns = now_ns + LOOK_NS
        files = (self._stack, self._state) if self._state else ()
        lost = [str(file.path) for file in files if not file.is_in_place()]
        if (lost or not files) and self._begin():
            for path in lost:
                log_event(self._log, FileLost(file=path, reason=PUT_BACK))

    def _begin(self) -> bool:
        """Return whether the loop beats."""
        try:
            # In this order: the watchdog asks for the stack only of a process that has beaten.
            self._stack.put_back()
            self._state = state = begin_to_beat(self._var_dir, self._program)
        except OSError as error:
            # The watchdog does not kill a role that has never beaten.
            reason = error.strerror or str(error)
            self._failure.log_new(HeartbeatFailed(file=error.filename, reason=reason))
            return False
        self._loop.beat_into(state.words, self._interval_ns)
        if self._failure.over():
            log_event(self._log, HeartbeatRecovered(file=str(state.path)))
        return True


class Pulse:
    """The heartbeat of another process, read by the watchdog."""

    def __init__(self, state: StateFile, pid: int) -> None:
        self._state = state
        self._pid = pid
        self._last_ns = self._waited_ns = 0
        """The last beat that was seen, and how long its process had waited for a CPU by then."""

    def is_in_place(self) -> bool:
        """Return whether its file is still there; if not, its process makes another one."""
        return self._state.is_in_place()

    def last_ns(self) -> int:
        """When it last beat (monotonic ns)."""
        return self._state.words[_BEAT]

    def silent_since_ns(self) -> int:
        """Since when it could have beaten and has not (monotonic ns).

        That is since its last beat, but on a busy machine as much later as the process has waited
        for a CPU meanwhile: ended for that, it would only make more work.
        """
        last_ns, waited_ns = self.last_ns(), waited_for_cpu_ns(self._pid)
        if last_ns != self._last_ns:
            self._last_ns, self._waited_ns = last_ns, waited_ns
        return last_ns + max(0, waited_ns - self._waited_ns)


def find_pulse(var_dir: Path, program: str, pid: int) -> Pulse | None:
    """Return the heartbeat of exactly this process; None as long as it has not beaten."""
    state = open_state(_path(var_dir, program), word_count=1)
    if state is None:
        return None
    with contextlib.suppress(TypeError):  # a header of other keys is not ours
        run = Run(**state.header)
        if run.pid == pid and is_alive(run):
            return Pulse(state, pid)
    return None


def present_pulse(pulse: Pulse | None, var_dir: Path, program: str, pid: int) -> Pulse | None:
    """Return `pulse` while its file is there, else the one that this process has now, if any."""
    if pulse is not None and pulse.is_in_place():
        return pulse
    return find_pulse(var_dir, program, pid) or pulse


def _path(var_dir: Path, program: str) -> Path:
    return var_dir / f"{program}.heartbeat"
