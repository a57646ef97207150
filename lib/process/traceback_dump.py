"""The stack of a process, written by the process itself on request.

A role that hangs cannot log where. `faulthandler` can: its handler of SIGUSR1 is C code that runs
even while Python code does not return, and writes the stack of the main thread into `PROGRAM.stack`
in the var directory. A process that is stopped (SIGSTOP) writes nothing.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.file_lock import is_still_at
from lib.process.own_files import open_own, replaced
from lib.process.process_handle import ProcessHandle
from lib.process.traceback_frames import Frame, read_dump

WAIT_NS: Final = 100 * MILLISECOND_NS
"""How long processes have to write their stacks."""
_LOOK_S: Final = 5 * MILLISECOND_NS / SECOND_NS
"""How often to look meanwhile; a file that did not grow between two looks is complete."""
_MAX_BYTES: Final = 64 * 1024
"""How much of a stack is read. faulthandler writes at most 100 frames, with names of at most 500
characters."""


class StackFile:
    """The file into which SIGUSR1 writes the stack of this process. A `KeptFile`."""

    def __init__(self, var_dir: Path, program: str) -> None:
        self.path = _path(var_dir, program)
        self._fd: int | None = None  # open for as long as the process lives

    def is_in_place(self) -> bool:
        """Return whether the watchdog finds there what SIGUSR1 writes."""
        return self._fd is not None and is_still_at(self._fd, self.path)

    def put_back(self) -> None:
        """Let SIGUSR1 write into a new file. Raises OSError if it cannot be made."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.path):
            pass
        fd = open_own(self.path, os.O_WRONLY)
        faulthandler.register(signal.SIGUSR1, file=fd, all_threads=False)
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd


def stacks_of(var_dir: Path, processes: Iterable[tuple[str, ProcessHandle]]) -> list[list[Frame]]:
    """Ask processes, each with its program's name, for their stacks. Returns them in that order.

    Takes WAIT_NS at most. A stack is [] if the process does not write one in this time; a stopped
    process never does. Ask only processes that have a `StackFile`: SIGUSR1 ends any other.
    """
    asked: list[tuple[Path, int] | None] = []
    for program, handle in processes:
        path = _path(var_dir, program)
        before = _size(path)
        is_stopped = handle.is_stopped()
        if not is_stopped:
            handle.send(signal.SIGUSR1)
        asked.append(None if is_stopped else (path, before))
    waited_for = [one for one in asked if one]
    give_up_ns = time.monotonic_ns() + WAIT_NS
    sizes: list[int] = []
    while waited_for and time.monotonic_ns() < give_up_ns:
        time.sleep(_LOOK_S)
        seen, sizes = sizes, [_size(path) for path, _ in waited_for]
        written = all(size > before for size, (_, before) in zip(sizes, waited_for, strict=True))
        if written and sizes == seen:
            break
    return [read_dump(_text_from(*one)) if one else [] for one in asked]


def _path(var_dir: Path, program: str) -> Path:
    return var_dir / f"{program}.stack"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text_from(path: Path, begin: int) -> str:
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
            file.seek(begin)
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""
