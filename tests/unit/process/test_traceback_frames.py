"""Where something happens: the frame that a person would look for first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lib.process.traceback_frames import (
    Frame,
    Plugins,
    error_text,
    frames_of,
    innermost,
    read_dump,
)
from lib.settings import PROJECT_ROOT

SIGNAL = f"{PROJECT_ROOT}/lib/my_signals.py"
TRADER = f"{PROJECT_ROOT}/lib/trading/trader.py"


@pytest.mark.parametrize(
    "call", [lambda: json.loads("{"), lambda: np.stack([]), lambda: Path("/nowhere").stat()]
)
def test_of_an_error_in_an_installed_module_the_caller_is_named(call):
    with pytest.raises(Exception) as raised:  # noqa: PT011
        call()
    place = innermost(frames_of(raised.value))
    assert place.is_of(Path(__file__))
    assert place.line == call.__code__.co_firstlineno


def test_of_a_syntax_error_the_file_that_has_it_is_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("x = 1\ny = = 2\n")
    with pytest.raises(SyntaxError) as raised:
        compile(file.read_text(), str(file), "exec")
    assert str(innermost(frames_of(raised.value))) == f"{file}, line 2"


def test_an_error_is_one_line_whatever_it_says():
    class Unspeakable(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise ValueError

    noted = ZeroDivisionError("by zero")
    noted.add_note("try 1")
    assert error_text(noted) == "ZeroDivisionError: by zero"
    assert "\n" not in error_text(ValueError("two\nlines"))
    assert "Unspeakable" in error_text(Unspeakable())


def test_an_iteration_that_stops_in_a_generator_is_named_where_it_stopped():
    def signal():
        next(iter([]))

    def generator():
        signal()
        yield

    with pytest.raises(RuntimeError) as raised:
        list(generator())
    assert innermost(frames_of(raised.value)).function == "signal"
    assert error_text(raised.value) == "StopIteration"


def test_an_installed_package_is_named_where_it_is_a_plugin():
    plugins = Plugins(Path(TRADER), frozenset({"on_tick"}))
    package = Frame(np.__file__, 7, "on_tick")
    caller = Frame(TRADER, 180, "evaluate")
    assert innermost([package, caller], plugins) == package
    assert innermost([package, caller]) == caller
    assert innermost([Frame(np.__file__, 9, "dot"), caller], plugins) == caller


def test_a_dump_is_read_from_the_innermost_frame_outwards():
    dump = (
        "Stack (most recent call first):\n"
        f'  File "{np.__file__}", line 7 in dot\n'
        f'  File "{SIGNAL}", line 12 in on_tick\n'
        f'  File "{TRADER}", line 180 in evaluate\n'
        '  File "/home/j\\xfcrgen/\\u20ac/mine.py", line 3 in on_tick\n'
        '  File "<frozen runpy>", line 88 in _run_code\n'
    )
    frames = read_dump(dump)
    assert [frame.line for frame in frames] == [7, 12, 180, 3, 88]
    assert frames[3].file == "/home/jürgen/€/mine.py"
    assert innermost(frames) == Frame(SIGNAL, 12, "on_tick")
    assert str(innermost(frames)) == "lib/my_signals.py, line 12, in on_tick"
    assert read_dump("") == []
    assert innermost([]) is None
