"""Preparing in a process of its own, which is killed when its caller is interrupted.

So whatever reads the file holds up no signal, takes its memory with it, and cannot end its caller.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from lib.process.own_files import OWN_UMASK
from lib.process.process_handle import how_ended
from lib.process.run_identity import end_with
from lib.process.traceback_frames import error_text, frames_of, innermost
from lib.tapes.recipe import OnProgress, Recipe
from lib.tapes.tape import TapeError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def prepare_apart(recipe: Recipe, directory: Path, on_progress: OnProgress) -> None:
    """Do as `lib.tape_files.preparing.prepare`, and return when it is done.

    `on_progress` and signal handlers are called here meanwhile. If one raises, the other process is
    killed, and `directory` can be removed. Raises TapeError, also if that process is killed.
    """
    context = multiprocessing.get_context("fork")  # nothing is imported again
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(recipe, directory, sender, os.getpid()))
    gc.freeze()  # a database that is garbage here must not be closed there, without its threads
    try:
        child.start()
    finally:
        gc.unfreeze()
    sender.close()
    message: tuple[str, float] | str | None  # progress, the text of a TapeError, or the end
    try:
        while (message := receiver.recv()) is not None:
            if isinstance(message, str):
                raise TapeError(message)
            on_progress(*message)
    except EOFError:
        child.join()
        how = how_ended(child.exitcode or 0)
        raise TapeError(f"the process that prepares the tape has ended: {how}") from None
    finally:
        child.kill()
        child.join()
        receiver.close()


def defect_text(recipe: Recipe, error: Exception) -> str:
    """Return the one line that people get of a defect of the reading."""
    title = recipe.path or "the query"
    if isinstance(error, MemoryError):
        return f"{title}: there is not enough memory to prepare it"
    where = innermost(frames_of(error))
    return f"{title}: cannot be prepared: {error_text(error)} ({where})"


def _work(recipe: Recipe, directory: Path, sender: Connection, parent_pid: int) -> None:
    for number in _SIGNALS:  # of the caller, which kills this process
        signal.signal(number, signal.SIG_IGN)
    os.umask(OWN_UMASK)  # what is prepared is trusted only if no other user may write to it
    if not end_with(parent_pid):
        return
    from lib.tape_files.preparing import prepare  # DuckDB is not for the caller

    try:
        prepare(recipe, directory, lambda what, share: sender.send((what, share)))
    except TapeError as error:
        sender.send(str(error))
    except Exception as error:
        sender.send(defect_text(recipe, error))
    else:
        sender.send(None)
