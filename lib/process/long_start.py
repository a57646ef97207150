"""Where a start is that takes long, for the log or the screen.

What starts may run a user's code: a signal may load a model, or never come back from it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from lib.clock import SECOND_NS
from lib.process.traceback_frames import Plugins, frames_from, innermost


@contextmanager
def said_where(
    waits_s: Iterable[float], say: Callable[[float, str], None], plugins: Plugins | None = None
) -> Iterator[None]:
    """After each of these waits, `say(elapsed_s, where)`, for as long as the block runs.

    `where` is a place in the code that runs in the block, "" where none is to be named. A thread
    looks, and is gone behind the block: a handler of a timer's signal would log from within the
    logger where that is what the block is doing, and wait for a lock that it holds itself.
    """
    over = threading.Event()
    arguments = (threading.get_ident(), waits_s, say, plugins, over)
    watcher = threading.Thread(target=_watch, args=arguments, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(
    starting_thread: int,
    waits_s: Iterable[float],
    say: Callable[[float, str], None],
    plugins: Plugins | None,
    over: threading.Event,
) -> None:
    began_ns = time.monotonic_ns()
    for wait_s in waits_s:
        if over.wait(wait_s):
            return
        frame = sys._current_frames().get(starting_thread)
        elapsed_s = (time.monotonic_ns() - began_ns) / SECOND_NS
        say(elapsed_s, str(innermost(frames_from(frame), plugins) or ""))
