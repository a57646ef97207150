"""The progress of the bench: its steps, and the time left by how long the earlier ones took."""

from __future__ import annotations

import io

import pytest

from bench import progress
from bench.progress import BenchProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "begin", "end"),
    [
        pytest.param(io.StringIO(), "[  0%] about 7 min left: this\n", "\n", id="a line a step"),
        pytest.param(Terminal(), "  0%  about 7 min left  this", " \r", id="a bar"),
    ],
)
def test_the_time_left_follows_from_how_long_the_rest_took(stream, begin, end, monkeypatch) -> None:
    now_s = iter([0.0, 200.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now_s))
    bar = BenchProgress(stream, 400.0)
    bar.begin("this")
    assert begin in stream.getvalue()
    bar.end(100.0)
    bar.begin("that")
    assert "25%" in stream.getvalue()
    assert "about 10 min left" in stream.getvalue()
    bar.close()
    assert stream.getvalue().endswith(end)
