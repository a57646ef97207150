"""The keeper of a price book: removes its files when the run ends, however it ends.

No role can do that. A segment outlives the restart of any role, so no role may remove it when it
ends; and supervisord may be killed, or the role stopped by hand long before. So the role that
creates the segment first starts this process, one for a run and a price book. It sleeps until
the process whose life is the run has ended, removes the files, and ends.

    python -m lib.price_book.clean_up NAME PID START_TICKS LOCK_FD

The keeper is known by the lock NAME.keeper, which holds `PID START_TICKS` of its run. As long as
that run is alive the name is its own, even if the keeper has been killed. The role takes the lock
and hands the open file down, so there is no moment in which nobody holds it. A
keeper belongs to nobody: it has its own session, is no child of the role that started it, and
shares no other file with it. Only the standard library is imported, so it stays small.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from lib.price_book.segment_files import (
    PriceBookError,
    PriceBookInUse,
    cannot_lock,
    check_name,
    keeper_path,
    remove_segments,
)
from lib.process.file_lock import LockHeldError, is_still_at, lock_file
from lib.process.run_identity import Run, is_alive

TAKE_OVER_TIMEOUT_S: Final = 5.0
"""How long we wait for the keeper of a run that has ended: it is removing files."""
START_TIMEOUT_S: Final = 10.0
"""How long a keeper may take to start."""
_TAKE_OVER_POLL_S: Final = 0.01
_NOTE_BYTES: Final = 64
"""More than two numbers of 64 bits take."""
_RUN_POLL_S: Final = 0.2
"""How often we look at the run where the kernel has no pidfd (before Linux 5.3)."""

_PROJECT_ROOT: Final = Path(__file__).resolve().parents[2]


def keep_until_run_ends(name: str, run: Run) -> None:
    """See to it that all files of price book `name` are removed when `run` has ended.

    Call it before you create the price book. It does nothing if that is seen to already. If the
    run ends at the very moment in which you create it, the keeper may have been there before:
    whoever finds the run dead (`is_alive`) after creating removes it himself.

    Raises PriceBookInUse if the price book belongs to another run that is still alive, and
    PriceBookError if no keeper can be started.
    """
    check_name(name)
    note = f"{run.pid} {run.start_ticks}"
    deadline = time.monotonic() + TAKE_OVER_TIMEOUT_S
    while True:
        owner = kept_for(name)
        if owner is not None and owner != run:
            raise belongs_to_another_stack(name, owner)
        try:
            lock = lock_file(keeper_path(name), note)
        except OSError as error:
            raise cannot_lock(keeper_path(name), error) from error
        except LockHeldError as held:
            if held.note == note:
                return
        else:
            break
        if time.monotonic() > deadline:
            raise PriceBookError(
                f"price book {name}: the run before this one has ended, but its keeper has not "
                f"removed its files within {TAKE_OVER_TIMEOUT_S:g} s; {keeper_path(name)} is locked"
            )
        time.sleep(_TAKE_OVER_POLL_S)
    try:
        _start(name, run, lock)
    finally:
        os.close(lock)  # the keeper has its own


def kept_for(name: str) -> Run | None:
    """Return the live run that price book `name` is kept for; None if there is none.

    Raises PriceBookError if that cannot be read, such as another user's.
    """
    path = keeper_path(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_lock(path, error) from error
    try:
        run = _parse_run(os.read(fd, _NOTE_BYTES).decode("ascii", "replace"))
    except OSError as error:  # a directory
        raise cannot_lock(path, error) from error
    finally:
        os.close(fd)
    return run if run is not None and is_alive(run) else None


def belongs_to_another_stack(name: str, run: Run) -> PriceBookInUse:
    """Return the error for a price book that belongs to another run, which is alive."""
    return PriceBookInUse(
        f"price book {name} belongs to another stack that is running (process {run.pid}): "
        "set [price_book] name to another one in the settings",
        run.pid,
    )


def _start(name: str, run: Run, lock: int) -> None:
    arguments = [name, str(run.pid), str(run.start_ticks), str(lock)]
    try:
        started = subprocess.run(
            [sys.executable, "-m", "lib.price_book.clean_up", *arguments],
            cwd=_PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PriceBookError(f"price book {name}: its keeper did not start: {error}") from error
    if started.returncode != 0:
        raise PriceBookError(
            f"price book {name}: its keeper ended at once, with exit status {started.returncode}"
        )


def _parse_run(note: str) -> Run | None:
    """Read what a keeper has written into its lock; None if it has not yet."""
    fields = note.split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields):
        return None
    return Run(int(fields[0]), int(fields[1]))


def wait_for_end(run: Run) -> None:
    """Sleep until the run has ended."""
    try:
        watched = os.pidfd_open(run.pid)
    except ProcessLookupError:
        return
    except OSError:  # the kernel does not have it, or does not let us
        while is_alive(run):
            time.sleep(_RUN_POLL_S)
        return
    # Only now: the number may have been given to another process before we opened it.
    if is_alive(run):
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.poll()
    os.close(watched)


def main(arguments: list[str]) -> None:
    """Keep the price book; see the module."""
    name, pid, start_ticks, lock = arguments
    if os.fork() != 0:
        os._exit(0)  # so that whoever started us has no child, and knows that we are there
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    wait_for_end(Run(int(pid), int(start_ticks)))
    # We hold the lock until we end, so nobody makes a new price book while we remove the old one.
    try:
        remove_segments(name)
    finally:
        if is_still_at(int(lock), keeper_path(name)):
            keeper_path(name).unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
