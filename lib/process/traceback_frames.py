"""Where in the code something happens: the frame to report out of a stack. Pure.

A stack is a list of frames, innermost first: of an exception, or of a running process as
`faulthandler` writes it. The frame to report is the innermost one outside of the Python
installation: a user's file, not NumPy or the standard library that it calls.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from lib.settings import PROJECT_ROOT
from lib.text import printable

_DUMPED: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')
# What faulthandler writes of a frame (CPython: Python/traceback.c, dump_frame).
_ESCAPED: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
# And how it writes a character that is not ASCII.


class Frame(NamedTuple):
    """A place in the code; `str()` gives "lib/my_signals.py, line 12, in on_tick"."""

    file: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        file = self.file.removeprefix(f"{PROJECT_ROOT}/")
        function = f", in {self.function}" if self.function else ""
        return f"{file}, line {self.line}{function}"

    def is_of(self, file: Path) -> bool:
        """Whether it is in this file."""
        return self.file == str(file)

    @property
    def is_installed(self) -> bool:
        """Whether it belongs to Python or to an installed package."""
        return self.file.startswith((*_installed_directories(), "<"))


class Plugins(NamedTuple):
    """How a role calls a user's code, which may be an installed package."""

    caller: Path
    """The one file of the project that calls it."""
    functions: frozenset[str]
    """What it calls, by name."""

    def is_call(self, called: Frame, frame: Frame) -> bool:
        """Whether `frame` is of the caller, and `called` of the user's code that it called."""
        return called.function in self.functions and frame.is_of(self.caller)


@cache
def _installed_directories() -> tuple[str, ...]:
    import sysconfig  # here, because it would take 2 ms of every start

    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(f"{sysconfig.get_path(name)}/" for name in names)


def frames_of(error: BaseException) -> list[Frame]:
    """Return the stack of an exception; of a syntax error, the place of the error first."""
    if isinstance(
        error.__cause__, StopIteration
    ):  # in a generator Python makes another error of it
        return frames_of(error.__cause__)
    frames = [
        Frame(frame.filename, frame.lineno or 0, frame.name)
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return [Frame(error.filename, error.lineno or 0), *frames]
    return frames


def frames_from(frame: FrameType | None) -> list[Frame]:
    """Return the stack that ends in a frame of this thread."""
    return [
        Frame(one.f_code.co_filename, line, one.f_code.co_name)
        for one, line in traceback.walk_stack(frame)
    ]


def error_text(error: BaseException) -> str:
    """Return an exception as one line: "ZeroDivisionError: division by zero"."""
    if isinstance(error.__cause__, StopIteration):
        return error_text(error.__cause__)
    # Not `str(error)`, which is a user's code and may raise.
    formatted = traceback.TracebackException(type(error), error, None)
    formatted.__notes__ = None  # they would come last
    return printable(list(formatted.format_exception_only())[-1].strip())


def read_dump(dump: str) -> list[Frame]:
    """Return the stack in a dump of `faulthandler`; [] if there is none."""
    return [
        Frame(_unescaped(file), int(line), _unescaped(function))
        for file, line, function in (match.groups() for match in _DUMPED.finditer(dump))
    ]


def _unescaped(name: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[match.lastindex or 0], 16)), name)


def innermost(frames: Iterable[Frame], plugins: Plugins | None = None) -> Frame | None:
    """Return the innermost frame that is not of the Python installation, None if there is none.

    Where that is the caller of `plugins`, return the frame that it has called.
    """
    called: Frame | None = None
    for frame in frames:
        if not frame.is_installed:
            return called if called and plugins and plugins.is_call(called, frame) else frame
        called = frame
    return None
