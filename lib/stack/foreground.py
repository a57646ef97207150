"""What the programs that run stacks in the foreground have in common: locale, signals, end."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def use_utf8() -> None:
    """Start again in UTF-8 mode if the locale is another one: files are named in UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def absolute_path(text: str) -> Path:
    """Return a path that was given on the command line. Raises ArgumentTypeError."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text).absolute()


class Stop:
    """Whether the stack is to stop: a signal came, or the duration is over.

    Before the stack is started, a signal raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._requested = False
        self._runs = False
        self._end_s = math.inf
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup(1) ignores SIGHUP, so that a program outlives its terminal: that is respected.
            # A shell ignores SIGINT in what it starts with "&": an explicit kill -INT still counts.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if not self._runs:
            raise KeyboardInterrupt

    def begin_to_run(self, duration_s: float) -> None:
        """Take note that the stack starts now, and is to stop after so many seconds."""
        self._runs = True
        self._end_s = time.monotonic() + duration_s

    def request(self) -> None:
        """Let the stack stop."""
        self._requested = True

    def is_requested(self) -> bool:
        """Whether the stack is to stop."""
        return self._requested or time.monotonic() >= self._end_s
