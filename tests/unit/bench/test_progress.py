"""The bar shows what is done and how long it takes, and leaves the terminal as it was."""

from __future__ import annotations

import io

import pytest

from bench import progress
from bench.progress import BenchProgress, time_left


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.0, "under a minute left"), (61.0, "about 2 min left"), (600.0, "about 10 min left")],
)
def test_the_time_left_is_in_minutes(seconds: float, words: str) -> None:
    assert time_left(seconds) == words


def test_the_time_left_follows_from_how_long_the_rest_took(clock) -> None:
    bar = BenchProgress(io.StringIO(), 400.0)
    assert bar.left() == "about 7 min left"
    clock[0] = 200.0
    bar.end(100.0)
    assert bar.left() == "about 10 min left"


def test_without_a_terminal_each_thing_is_a_line(clock) -> None:
    stream = io.StringIO()
    bar = BenchProgress(stream, 10.0)
    bar.begin("this")
    bar.show_detail("a detail")
    bar.end(5.0)
    bar.begin("that")
    bar.close()
    lines = stream.getvalue().splitlines()
    assert [line.partition("left: ")[2] for line in lines] == ["this", "that"]
    assert lines[1].startswith("[ 50%]")


def test_on_a_terminal_the_bar_stays_on_one_line_and_goes_at_the_end(clock, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    bar = BenchProgress(stream, 10.0)
    bar.begin("something with a name that is much too long for such a terminal")
    bar.show_detail("a detail")
    bar.close()
    written = stream.getvalue()
    assert "\n" not in written
    assert max(map(len, written.split("\r"))) < 50
    assert written.endswith("\r")
    assert written.split("\r")[-2].strip() == ""


def test_a_line_that_stays_does_not_mix_with_the_bar(clock) -> None:
    stream = Terminal()
    bar = BenchProgress(stream, 10.0)
    bar.begin("this")
    bar.print_line("not measured: that")
    assert stream.getvalue().split("\r")[-1] == "not measured: that\n"
