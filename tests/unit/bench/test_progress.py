"""The progress of the bench: its steps, and the time left by how long the earlier ones took."""

from __future__ import annotations

import io

import pytest

from bench import progress
from bench.progress import BenchProgress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_follows_from_how_long_the_rest_took(clock) -> None:
    bar = BenchProgress(io.StringIO(), 400.0)
    assert bar.left() == "about 7 min left"
    clock[0] = 200.0
    bar.end(100.0)
    assert bar.left() == "about 10 min left"


def test_without_a_terminal_each_step_is_a_line(clock) -> None:
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


def test_on_a_terminal_a_step_and_its_details_are_in_the_bar(clock) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = BenchProgress(stream, 10.0)
    bar.begin("this")
    bar.show_detail("a detail")
    bar.close()
    assert "left  this: a detail" in stream.getvalue()
    assert "\n" not in stream.getvalue()
