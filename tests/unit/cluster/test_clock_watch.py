"""Clocks of two hosts that differ: nothing is traded on a wrong age, and one line says so."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.cluster.clock_watch import MAX_APART_NS, WINDOW_NS, ClockWatch, believed_ns
from lib.cluster.writer_watch import WORD_NS

NOW_NS = 7200 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS


@pytest.mark.parametrize(
    ("ahead_ns", "age_ns"),
    [
        (-HOUR_NS, HOUR_NS),
        (-5, 5),
        (0, 0),
        (MAX_APART_NS, 0),
        (MAX_APART_NS + 1, MAX_APART_NS + 1),
        (HOUR_NS, HOUR_NS),
    ],
)
def test_what_is_far_ahead_counts_as_old(ahead_ns: int, age_ns: int) -> None:
    assert NOW_NS - believed_ns(NOW_NS + ahead_ns, NOW_NS) == age_ns


@pytest.mark.parametrize("ahead_ns", [-HOUR_NS, HOUR_NS])
def test_a_host_that_was_started_a_minute_ago_has_no_time_below_zero(ahead_ns: int) -> None:
    """A message with a time below 0 would end the connection of each client."""
    now_ns = 60 * SECOND_NS
    assert believed_ns(now_ns + ahead_ns, now_ns) == 1


def lines(words: list[tuple[int, int]]) -> list[float]:
    """Return the differences that are logged, of words: when each comes, how far it is ahead."""
    watch = ClockWatch("TW_PRICE")
    with capture_logs() as logged:
        for at_ns, ahead_ns in words:
            watch.heard(at_ns + ahead_ns, at_ns)
    assert {line["event"] for line in logged} <= {"clocks_differ"}
    return [line["ahead_s"] for line in logged]


def words(count: int, ahead_ns: int, first_ns: int = 0) -> list[tuple[int, int]]:
    return [(first_ns + number * WORD_NS, ahead_ns) for number in range(count)]


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_an_hour_apart_are_one_line(hours: int) -> None:
    assert lines(words(100, hours * HOUR_NS)) == [3600.0 * hours]


def test_clocks_that_agree_are_none() -> None:
    assert lines(words(100, -SECOND_NS // 100)) == []


def test_words_that_have_waited_do_not_make_a_clock_differ() -> None:
    """The role stood still for ten seconds: what was sent meanwhile comes at once."""
    late = [(10 * SECOND_NS, number * WORD_NS - 10 * SECOND_NS) for number in range(20)]
    assert lines([*words(4, 0), *late, *words(9, 0, 10 * SECOND_NS)]) == []


def test_a_clock_that_is_set_and_goes_wrong_again_is_logged_again() -> None:
    wrong, span_ns = HOUR_NS, 3 * WINDOW_NS
    count = span_ns // WORD_NS
    times = [words(count, wrong), words(count, 0, span_ns), words(count, wrong, 2 * span_ns)]
    assert lines([word for part in times for word in part]) == [3600.0, 3600.0]
