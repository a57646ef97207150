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
from lib.process.process_handle import ProcessHandle
from lib.process.traceback_frames import Frame, read_dump

WAIT_NS: Final = 100 * MILLISECOND_NS
"""How long processes have to write their stacks."""
_LOOK_S: Final = 5 * MILLISECOND_NS / SECOND_NS
"""How often to look meanwhile; a file that did not grow between two looks is complete."""
_MAX_BYTES: Final = 64 * 1024
"""How much of a stack is read. faulthandler writes at most 100 frames, with names of at most 500
characters."""


def write_stack_on_request(var_dir: Path, program: str) -> None:
    """Let SIGUSR1 write the stack of this process. Raises OSError if the file cannot be made."""
    var_dir.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    file = os.open(_path(var_dir, program), flags, 0o644)  # open for as long as the process lives
    faulthandler.register(signal.SIGUSR1, file=file, all_threads=False)


def stacks_of(var_dir: Path, processes: Iterable[tuple[str, ProcessHandle]]) -> list[list[Frame]]:
    """Ask processes, each with its program's name, for their stacks. Returns them in that order.

    Takes WAIT_NS at most. A stack is [] if the process does not write one in this time; a stopped
    process never does. Ask only processes that have called `write_stack_on_request`: SIGUSR1 ends
    any other.
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
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""
