"""Which run a process belongs to, and facts about processes from /proc.

A *run* is the life of one supervisord; a role started by hand is a run of its own. A pid alone does
not identify a run, because the kernel reuses pids; pid and start time together do. Linux only.
Sources: proc(5), prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from lib.errors import CannotStartError

SUPERVISED_VARIABLE: Final = "SUPERVISOR_ENABLED"
"""supervisord sets it in the environment of every process it starts."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_REAP_LOOK_S: Final = 0.005
"""How often to look whether children that were killed have ended."""
_STATE: Final = 0
_PARENT: Final = 1
_START_TICKS: Final = 19
"""Indices of state, ppid and starttime in `_stat_fields`: fields 3, 4 and 22 of proc(5)."""
_STAT_OF_INTEREST: Final = (11, 12, _START_TICKS, 21)
"""Indices of utime, stime, starttime and rss in `_stat_fields`: fields 14, 15, 22 and 24."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_DEAD_STATES: Final = frozenset({b"Z", b"X", b"x"})
"""The states of a process that has ended; a zombie only waits to be reaped by its parent."""
_STOPPED_STATES: Final = frozenset({b"T", b"t"})
"""The states of a process that a signal or a debugger has stopped."""


class Run(NamedTuple):
    """The process whose life is the run: supervisord, or a role started by hand."""

    pid: int
    start_ticks: int
    """When it started, in clock ticks since boot: field 22 of /proc/PID/stat."""


class OrphanedError(CannotStartError):
    """The supervisord of this role has died, so the role has to end."""

    def __init__(self) -> None:
        super().__init__("the supervisord that started this role has died")


def current_run() -> Run:
    """Return the run this process belongs to: supervisord's if it was started by one, else its own.

    Raises OrphanedError if it was started by a supervisord that has died since.
    """
    if not is_supervised():
        return run_of(os.getpid())
    parent = os.getppid()
    try:
        # A child of supervisord is in its session, and never leaves it; a process that adopts an
        # orphan (init, a user's service manager) has a session of its own.
        if os.getsid(parent) != os.getsid(0):
            raise OrphanedError
        return run_of(parent)
    except ProcessLookupError:
        raise OrphanedError from None


def run_of(pid: int) -> Run:
    """Return the identity of a process. Raises ProcessLookupError if there is no such pid."""
    return Run(pid, int(_stat_fields(pid)[_START_TICKS]))


def siblings() -> list[int]:
    """Return the pids of the other processes that this role's supervisord has started.

    [] in a role that was started by hand.
    """
    if not is_supervised():
        return []
    return [pid for pid in children_of(os.getppid()) if pid != os.getpid()]


def children_of(pid: int) -> list[int]:
    """Return the pids that the main thread of this process has started and that have not ended.

    One of them may be left out while another one ends: proc(5), /proc/PID/task/TID/children.
    """
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()))
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return [child for child in _all_pids() if _is_child(child, pid)]


def is_alive(run: Run) -> bool:
    """Return whether the run goes on: the same pid and start time, and no zombie."""
    try:
        fields = _stat_fields(run.pid)
    except ProcessLookupError:
        return False
    return int(fields[_START_TICKS]) == run.start_ticks and fields[_STATE] not in _DEAD_STATES


def is_stopped(run: Run) -> bool:
    """Return whether a signal or a debugger has stopped this process."""
    try:
        fields = _stat_fields(run.pid)
    except ProcessLookupError:
        return False
    return int(fields[_START_TICKS]) == run.start_ticks and fields[_STATE] in _STOPPED_STATES


def waited_for_cpu_ns(pid: int) -> int:
    """Return how long the main thread of a process has been ready to run and had no CPU, so far.

    0 of a process that has ended, and on a kernel that does not count it (CONFIG_SCHED_INFO). The
    present wait counts once it is over.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1])
    except (OSError, IndexError):
        return 0


def end_with_parent() -> None:
    """Let the kernel send SIGKILL to this process when its supervisord dies, however it dies.

    A role that hangs would ignore anything milder, and keep its port. Every role can be killed at
    any moment, so nothing is lost by it.

    Without effect in a role that was started by hand. Call it first, in the main thread. Raises
    OrphanedError if supervisord died before this call.
    """
    if not is_supervised():
        return
    if not end_with(current_run().pid):
        raise OrphanedError


def end_with(parent_pid: int) -> bool:
    """Let the kernel send SIGKILL to this process when its parent dies, however it dies.

    Returns False if the parent died before this call. The parent is the thread that started this
    process: it counts as dead when that thread ends. Survives exec, but not fork. Source: prctl(2).
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    # The signal is sent only for a death after the call; a death before it is checked here.
    return os.getppid() == parent_pid


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends, instead of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_children(limit_s: float) -> None:
    """Kill and reap the children of this process, and those that it then adopts.

    For a process with one thread. It leaves those that run as another user, with sudo, say, and
    what is still there after `limit_s`.
    """
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        for pid in children_of(os.getpid()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # there are none left
            return
        time.sleep(_REAP_LOOK_S)


def is_supervised() -> bool:
    """Return whether a supervisord started this process, not a person or a script."""
    return SUPERVISED_VARIABLE in os.environ


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def _all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _is_child(pid: int, parent: int) -> bool:
    try:
        return int(_stat_fields(pid)[_PARENT]) == parent
    except ProcessLookupError:
        return False


def _stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on. Raises ProcessLookupError."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended while we read
        raise ProcessLookupError(f"no process {pid}") from None
    # The second field is the program's name in parentheses. It may itself contain spaces and
    # parentheses, so it ends at the last one.
    return stat[stat.rindex(b")") + 1 :].split()


class ProcessStat(NamedTuple):
    """What the kernel reports of a process at one moment."""

    is_alive: bool
    """False for a zombie."""
    user_s: float
    kernel_s: float
    """CPU time in the kernel so far, as `user_s` is outside of it; in hundredths of a second."""
    uptime_s: float
    resident_bytes: int

    @property
    def cpu_s(self) -> float:
        """All CPU time so far."""
        return self.user_s + self.kernel_s


def process_stat(pid: int) -> ProcessStat:
    """Look at a process. Raises ProcessLookupError if there is no such pid."""
    fields = _stat_fields(pid)
    user, kernel, start, resident = (int(fields[at]) for at in _STAT_OF_INTEREST)
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return ProcessStat(
        fields[_STATE] not in _DEAD_STATES,
        user / _TICKS_PER_S,
        kernel / _TICKS_PER_S,
        max(0.0, now_s - start / _TICKS_PER_S),
        resident * _PAGE_BYTES,
    )
