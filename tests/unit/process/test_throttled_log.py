"""Every fault is counted, and the counts are logged once a second, not a line each."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.process.log_events import MalformedFrames, UnknownSymbols
from lib.process.throttled_log import LOG_EVERY_NS, MAX_EXAMPLES, MAX_KNOWN_KINDS, ThrottledLog


@pytest.fixture
def throttled_log() -> ThrottledLog:
    return ThrottledLog(stream="price", peer="127.0.0.1:5001")


def run_until(throttled_log: ThrottledLog, now_ns: int) -> list[int]:
    """Do as the event loop does. Returns the times of the log lines."""
    times = []
    while (deadline_ns := throttled_log.next_deadline_ns()) is not None and deadline_ns <= now_ns:
        times.append(deadline_ns)
        throttled_log.on_time(deadline_ns)
    return times


def test_the_first_fault_is_logged_at_once_with_its_context_and_the_next_one_a_second_later(
    throttled_log,
):
    assert throttled_log.next_deadline_ns() is None
    throttled_log.add(MalformedFrames, 10 * SECOND_NS, [17, 19])
    assert throttled_log.next_deadline_ns() == 10 * SECOND_NS
    with capture_logs() as lines:
        run_until(throttled_log, 10 * SECOND_NS)
    assert throttled_log.next_deadline_ns() is None
    throttled_log.add(MalformedFrames, 10 * SECOND_NS + 1, [21])
    assert throttled_log.next_deadline_ns() == 10 * SECOND_NS + LOG_EVERY_NS
    assert lines == [
        {
            "event": "malformed_frames",
            "log_level": "warning",
            "count": 2,
            "examples": [17, 19],
            "stream": "price",
            "peer": "127.0.0.1:5001",
        }
    ]


def test_an_example_of_a_kind_says_how_many_there_were_and_a_line_has_a_bounded_number_of_kinds(
    throttled_log,
):
    described = []

    def describe(symbol: str) -> dict[str, str]:
        described.append(symbol)
        return {"symbol": symbol}

    with capture_logs() as lines:
        throttled_log.add_by_kind(UnknownSymbols, 0, {"A": 2, "B": 1}, describe)
        throttled_log.add_by_kind(UnknownSymbols, 0, {"A": 3}, describe)
        run_until(throttled_log, 0)
        others = {str(number): 1 for number in range(1000)}
        throttled_log.add_by_kind(UnknownSymbols, SECOND_NS, {"A": 1, **others}, describe)
        run_until(throttled_log, SECOND_NS)
    first, second = lines
    assert (first["count"], second["count"]) == (6, 1001)
    assert first["examples"] == [{"symbol": "A", "count": 5}, {"symbol": "B", "count": 1}]
    assert second["examples"][0] == {"symbol": "A", "count": 1}
    assert len(second["examples"]) == MAX_EXAMPLES
    assert len(described) == 2 + MAX_EXAMPLES


def test_a_line_is_a_warning_where_it_shows_a_kind_for_the_first_time(throttled_log):
    with capture_logs() as lines:
        for second, kinds in enumerate(["A", "A", "AB", "AB"]):
            throttled_log.add_by_kind(
                UnknownSymbols, second * SECOND_NS, dict.fromkeys(kinds, 1), lambda _: {}
            )
            run_until(throttled_log, second * SECOND_NS)
        throttled_log.add(MalformedFrames, 9 * SECOND_NS, [1])
        run_until(throttled_log, 9 * SECOND_NS)
    levels = [line["log_level"] for line in lines]
    assert levels == ["warning", "info", "warning", "info", "warning"]


def test_so_many_kinds_and_no_more_are_remembered(throttled_log):
    with capture_logs() as lines:
        for second in range(2 * MAX_KNOWN_KINDS // MAX_EXAMPLES):
            kinds = {f"{second} {number}": 1 for number in range(MAX_EXAMPLES)}
            throttled_log.add_by_kind(UnknownSymbols, second * SECOND_NS, kinds, lambda _: {})
            run_until(throttled_log, second * SECOND_NS)
    assert len(throttled_log._known_kinds) == MAX_KNOWN_KINDS
    assert [lines[0]["log_level"], lines[-1]["log_level"]] == ["warning", "info"]
