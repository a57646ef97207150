"""The sentiment in force, and the signal by the thresholds of the settings."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lib.dashboard.log_lines import TimedEvent
from lib.dashboard.news import NewsCourse
from lib.settings import StrategySettings
from tests.log_lines import made


def line(event: str, **facts) -> TimedEvent:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return TimedEvent(at.timestamp(), "info", made(event, by="strategy", **facts))


@pytest.mark.parametrize(
    ("sentiment", "signal"), [(61, 1), (60, 0), (50, 0), (40, 0), (39, -1), (0, -1), (100, 1)]
)
def test_only_beyond_a_threshold_there_is_a_signal(sentiment, signal):
    news = NewsCourse(StrategySettings())
    news.take(line("news_applied", sentiment=sentiment))
    assert news.signal == news.view().signal == signal
    assert news.view().sentiment == sentiment


@pytest.mark.parametrize("event", ["news_silent", "started", "stopped"])
def test_without_news_there_is_none_and_the_course_stays(event):
    news = NewsCourse(StrategySettings())
    assert news.view().sentiment is None
    news.take(line("news_applied", sentiment=70))
    news.take(line(event))
    assert (news.signal, news.view().sentiment, news.view().course) == (0, None, [70])


def test_news_are_missed_when_a_strategy_says_so_or_has_had_none_since_it_evaluates():
    settings = StrategySettings()
    news = NewsCourse(settings)
    at = line("started").at

    def in_force(after_s: float = 0.0) -> bool | None:
        return news.is_in_force(at + after_s)

    assert in_force() is None
    news.take(line("news_applied", sentiment=70))
    assert in_force() is True
    news.take(line("evaluation_started"))
    assert in_force(1e6) is True
    news.take(line("news_silent"))
    assert in_force() is False
    news.take(line("started"))
    assert in_force(1e6) is None
    news.take(line("evaluation_started"))
    assert in_force(settings.news_timeout - 0.1) is None
    assert in_force(settings.news_timeout) is False
    news.take(line("news_applied", sentiment=70))
    assert in_force() is True
    news.end()
    assert in_force(1e6) is None
