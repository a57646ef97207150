"""The progress bar: one line of a terminal, and nothing elsewhere."""

from __future__ import annotations

import os

import pytest

from lib.stack.progress_bar import BAR_CHARACTERS, ProgressBar
from tests.terminals import terminal

LONG = "something with a name that is much too long for such a terminal"


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")


def bar_on(fd: int) -> ProgressBar:
    return ProgressBar(fd, lambda text: os.write(fd, text.encode()))


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_on_a_terminal_of_any_width_it_stays_in_the_last_line_below_the_lines_that_stay(columns):
    with terminal(columns) as shown:
        bar = bar_on(shown.theirs)
        for share in (0.0, 0.5, 1.0):
            bar.draw(share, LONG)
            [row] = shown.rows()
            length = min(BAR_CHARACTERS, columns // 4)
            assert row[: length + 2] == f"[{'#' * int(share * length):.<{length}}]"
            assert row.endswith(LONG[: columns - length - 4])
        bar.draw(0.5, "short")
        bar.print_above("stays\nalso\n")
        assert shown.rows() == ["stays", "also", f"[{'#' * (length // 2):.<{length}}] short"]
        os.write(shown.theirs, b"^C")  # as a terminal shows it
        bar.erase()
        bar.print_above("last\n")
        assert shown.rows() == ["last", ""]


def test_elsewhere_and_where_it_could_not_be_redrawn_there_are_only_the_lines(monkeypatch):
    reader, writer = os.pipe()
    with terminal(80) as shown:
        for fd in (writer, shown.theirs):
            monkeypatch.setenv("TERM", "dumb" if fd == shown.theirs else "xterm")
            bar = bar_on(fd)
            assert not bar.is_shown
            bar.draw(0.5, "reading")
            bar.print_above("stays\n")
            bar.erase()
        assert shown.rows() == ["stays", ""]
    os.close(writer)
    assert os.read(reader, 100) == b"stays\n"
    os.close(reader)
