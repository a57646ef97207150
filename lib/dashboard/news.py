"""The sentiment in force and its recent course, from the strategy's log. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from lib.dashboard.log_lines import TimedEvent
from lib.dashboard.view import NewsView
from lib.process.log_events import EvaluationStarted, NewsApplied, NewsSilent, Started, Stopped
from lib.settings import StrategySettings

KEPT: Final = 240
"""How many sentiments are kept: two minutes at two a second."""


class NewsCourse:
    """The sentiments in the log of a strategy."""

    def __init__(self, settings: StrategySettings) -> None:
        self._settings = settings
        self._course: deque[tuple[float, int]] = deque(maxlen=KEPT)
        self._sentiment: int | None = None
        self._missed_at: float | None = None
        """From when on the strategy misses the news, in seconds since 1970; None if it has one, or
        its log does not say."""

    def take(self, line: TimedEvent) -> None:
        """A line was written."""
        match line.event:
            case NewsApplied(sentiment):
                self._sentiment, self._missed_at = sentiment, None
                self._course.append((line.at, sentiment))
            case NewsSilent():
                self._sentiment, self._missed_at = None, line.at
            case EvaluationStarted() if self._sentiment is None and self._missed_at is None:
                self._missed_at = line.at + self._settings.news_timeout
            case Started() | Stopped():
                self.end()

    def end(self) -> None:
        """No sentiment is in force, and none is missed: the strategy has ended or begins."""
        self._sentiment = self._missed_at = None

    @property
    def sentiment(self) -> int | None:
        """The sentiment in force; None if there is none."""
        return self._sentiment

    def is_in_force(self, at: float) -> bool | None:
        """Return whether the strategy has a sentiment at this time; None if it is not known."""
        if self._sentiment is not None:
            return True
        return None if self._missed_at is None or at < self._missed_at else False

    @property
    def latest_at(self) -> float | None:
        """When the latest one came into force, in seconds since 1970; None if none is known."""
        return self._course[-1][0] if self._course else None

    @property
    def signal(self) -> int:
        """The news signal: 1 buy, -1 sell, 0 none."""
        if self._sentiment is None:
            return 0
        return (self._sentiment > self._settings.bullish_threshold) - (
            self._sentiment < self._settings.bearish_threshold
        )

    def view(self) -> NewsView:
        """Return what a page shows of it."""
        return NewsView(
            sentiment=self._sentiment,
            signal=self.signal,
            bullish_threshold=self._settings.bullish_threshold,
            bearish_threshold=self._settings.bearish_threshold,
            at=[at for at, _ in self._course],
            course=[sentiment for _, sentiment in self._course],
        )
