"""Ticks are decided while a browser shows the dashboard, and the browser is gone afterwards."""

from __future__ import annotations

import io

import pytest

from bench import watched
from bench.plan import BROWSERS, NO_VIEWER, STREAMS, LatencyRun, WatchedRun
from bench.watched import record
from tests.stack import PrivateStack


@pytest.fixture(autouse=True)
def var_dir(monkeypatch: pytest.MonkeyPatch, stack: PrivateStack) -> None:
    monkeypatch.setenv("TRADING_VAR_DIR", str(stack.directory))


PLAN = WatchedRun(
    LatencyRun(2_000.0, 0.5), 1, viewers=((0, NO_VIEWER), (1, STREAMS), (1, BROWSERS))
)


def test_every_tick_is_decided_with_a_page_open_and_without():
    if watched.shutil.which(watched.BROWSER) is None:
        pytest.skip("Chromium is not there: apt-get install chromium")
    found = record(PLAN, io.StringIO())
    assert found.gaps == []
    assert [(one.watched_by, one.missed) for one in found.rounds] == [
        ("no browser", 0),
        ("1 streams, not drawn", 0),
        ("1 browsers", 0),
    ]
    assert all(one.from_sent.count > 100 for one in found.rounds)


def test_without_a_browser_there_is_a_gap(monkeypatch):
    monkeypatch.setattr(watched.shutil, "which", lambda _: None)
    found = record(PLAN, io.StringIO())
    assert found.rounds == []
    assert "apt-get install chromium" in found.gaps[0]
