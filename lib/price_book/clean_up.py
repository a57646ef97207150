"""The clean-up process of a price book: removes its files when the run ends, however it ends.

No role can do that. A segment outlives the restart of any role, so no role may remove it when it
ends; and supervisord may be killed, or the role stopped by hand long before. So the role that
creates the segment first starts this process, one for a run and a price book. It sleeps until
the process whose life is the run has ended, removes the files, and ends.

    python -m lib.price_book.clean_up NAME PID START_TICKS LOCK_FD

The clean-up process holds the lock NAME.keeper, a file with `PID START_TICKS` of its run. As long
as that run is alive the name belongs to it, even if the clean-up process has been killed. The role
takes the lock and hands the open file down, so the lock is held without a gap. A lock file that was
removed is made again within `KEEPER_LOOK_S`; if a role has started another clean-up process by
then, the one without the lock ends. The process is independent: it has its own session, is no child
of the role that started it, and shares no other file with it. Only the standard library is
imported, so it stays small.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from lib.price_book.segment_files import (
    PriceBookError,
    PriceBookInUse,
    cannot_use,
    check_name,
    keeper_path,
    remove_segments,
)
from lib.process.file_lock import LockHeldError, is_still_at, lock_file
from lib.process.own_files import open_own
from lib.process.run_identity import Run, is_alive

TAKE_OVER_TIMEOUT_S: Final = 5.0
"""How long to wait for the clean-up process of a run that has ended: it is removing files."""
START_TIMEOUT_S: Final = 10.0
"""How long a clean-up process may take to start."""
_TAKE_OVER_POLL_S: Final = 0.01
"""How often to look whether the clean-up process of an ended run has released its lock."""
_NOTE_BYTES: Final = 64
"""The most that is read of a lock file; two numbers of 64 bits are shorter."""
_RUN_POLL_S: Final = 0.2
"""How often to look at the run where the kernel has no pidfd (before Linux 5.3)."""
KEEPER_LOOK_S: Final = 1.0
"""How often a clean-up process looks whether its lock file is still there."""

_PROJECT_ROOT: Final = Path(__file__).resolve().parents[2]


def clean_up_when_run_ends(name: str, run: Run) -> None:
    """Start the process that removes all files of price book `name` when `run` has ended.

    It does nothing if that process runs already. Call it before you create the price book. If the
    run ends in that very moment, the clean-up may come before the creation: check `is_alive(run)`
    after creating, and remove the price book yourself if the run is dead.

    Raises PriceBookInUse if the price book belongs to another run that is still alive, and
    PriceBookError if the process cannot be started.
    """
    check_name(name)
    note = _note(run)
    deadline = time.monotonic() + TAKE_OVER_TIMEOUT_S
    while True:
        owner = live_owner(name)
        if owner is not None and owner != run:
            raise belongs_to_another_stack(name, owner)
        try:
            lock = lock_file(keeper_path(name), note)
        except OSError as error:
            raise cannot_use(keeper_path(name), error) from error
        except LockHeldError as held:
            if held.note == note:
                return
        else:
            break
        if time.monotonic() > deadline:
            raise PriceBookError(
                f"price book {name}: the run before this one has ended, but its clean-up has not "
                f"removed its files within {TAKE_OVER_TIMEOUT_S:g} s; {keeper_path(name)} is locked"
            )
        time.sleep(_TAKE_OVER_POLL_S)
    try:
        _start(name, run, lock)
    finally:
        os.close(lock)  # the clean-up process has its own


def live_owner(name: str) -> Run | None:
    """Return the live run that price book `name` belongs to; None if there is none.

    Raises PriceBookError if the lock file cannot be read, or is not ours alone.
    """
    path = keeper_path(name)
    try:
        fd = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_use(path, error) from error
    try:
        run = _parse_run(os.read(fd, _NOTE_BYTES).decode("ascii", "replace"))
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
        raise PriceBookError(
            f"price book {name}: its clean-up process did not start: {error}"
        ) from error
    if started.returncode != 0:
        raise PriceBookError(
            f"price book {name}: its clean-up process ended at once, with exit status "
            f"{started.returncode}"
        )


def _note(run: Run) -> str:
    return f"{run.pid} {run.start_ticks}"


def _parse_run(note: str) -> Run | None:
    """Read the run from the text of a lock file; None while it is incomplete."""
    fields = note.split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields):
        return None
    return Run(int(fields[0]), int(fields[1]))


def wait_for_end(run: Run, look: Callable[[], None]) -> None:
    """Sleep until the run has ended; call `look` every `KEEPER_LOOK_S` meanwhile, or sooner."""
    try:
        watched = os.pidfd_open(run.pid)
    except ProcessLookupError:
        return
    except OSError:  # the kernel does not have it, or does not permit it
        while is_alive(run):
            time.sleep(_RUN_POLL_S)
            look()
        return
    # Checked after opening: the number may have been given to another process before.
    if is_alive(run):
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        while not poll.poll(1000 * KEEPER_LOOK_S):
            look()
    os.close(watched)


class _Keeper:
    """The lock of a clean-up process."""

    def __init__(self, name: str, run: Run, fd: int) -> None:
        self._path = keeper_path(name)
        self._note = _note(run)
        self._fd = fd

    def take_again(self) -> None:
        """Take the lock again if its file was removed; end if another clean-up process has it."""
        if is_still_at(self._fd, self._path):
            return
        try:
            fd = lock_file(self._path, self._note)
        except LockHeldError:
            sys.exit()
        except OSError:  # not ours, or there is no room: the next look tries again
            return
        os.close(self._fd)
        self._fd = fd

    def remove(self) -> None:
        """Remove its file, at the end."""
        if is_still_at(self._fd, self._path):
            self._path.unlink()


def main(arguments: list[str]) -> None:
    """Wait for the end of the run, then clean up; see the module."""
    name, pid, start_ticks, lock = arguments
    if os.fork() != 0:
        os._exit(0)  # the caller then has no child, and knows that this process runs
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    run = Run(int(pid), int(start_ticks))
    keeper = _Keeper(name, run, int(lock))
    wait_for_end(run, keeper.take_again)
    keeper.take_again()
    # The lock is held until the end, so no new price book is made while the old one is removed.
    try:
        with suppress(OSError):  # what is another user's stays; the next start names it
            remove_segments(name)
    finally:
        keeper.remove()


if __name__ == "__main__":
    main(sys.argv[1:])
