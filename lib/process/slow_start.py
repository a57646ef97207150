"""Reports where in the code a slow start is, to the log or the screen.

A start may run a user's code: a signal may load a model, or never return.
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
def report_slow_start(
    waits_s: Iterable[float], report: Callable[[float, str], None], plugins: Plugins | None = None
) -> Iterator[None]:
    """After each of these waits, call `report(elapsed_s, where)`, for as long as the block runs.

    `where` is the current place in the code of the block, "" if it is unknown. A thread does this,
    and ends with the block. A timer's signal handler would not do: it could interrupt the logger
    and wait for a lock that the interrupted code holds.
    """
    over = threading.Event()
    arguments = (threading.get_ident(), waits_s, report, plugins, over)
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
    report: Callable[[float, str], None],
    plugins: Plugins | None,
    over: threading.Event,
) -> None:
    began_ns = time.monotonic_ns()
    for wait_s in waits_s:
        if over.wait(wait_s):
            return
        frame = sys._current_frames().get(starting_thread)
        elapsed_s = (time.monotonic_ns() - began_ns) / SECOND_NS
        report(elapsed_s, str(innermost(frames_from(frame), plugins) or ""))
