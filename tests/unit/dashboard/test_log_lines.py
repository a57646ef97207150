"""Lines of any kind are read or passed over."""

from __future__ import annotations

import pytest

from lib.dashboard.log_lines import read_line
from lib.process.log_events import Started

HEAD = b'{"timestamp":"2026-01-02T03:04:05.000006Z","level":"info","role":"gateway","event":'


def test_a_line_has_its_time_and_what_is_known_of_it():
    line = read_line(HEAD + b'"started","pid":7,"something_else":[1]}')
    assert (line.event, line.level) == (Started(pid=7), "info")
    assert line.at == 1767323045.000006


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Traceback (most recent call last):",
        b"{}",
        b"\xff",
        HEAD + b"3}",
        b"[" * 5000,
        HEAD,
        (HEAD + b'"x"}').replace(b"Z", b""),
    ],
)
def test_what_is_no_event_is_none(raw):
    assert read_line(raw) is None
