"""The log of a server's clients: each has its line while they are few, and all are counted."""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.client_log import BURST_LINES, LINE_INTERVAL_NS, ClientLog
from lib.process.log_events import ClientLoggedOn
from lib.process.throttled_log import LOG_EVERY_NS

SECONDS = 10
LOGGED_ON = ClientLoggedOn(
    stream="price", peer="a:1", client_id="me", last_order_id=3, positions={"AAPL": 10}
)


class Log(ClientLog):
    """With a clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.now_ns = 10**12
        super().__init__("price", 400, clock=lambda: self.now_ns)

    def wait(self, duration_ns: int) -> None:
        """Do as the event loop does meanwhile."""
        self.now_ns += duration_ns
        due_ns = self.next_deadline_ns()
        if due_ns is not None and due_ns <= self.now_ns:
            self.on_time(self.now_ns)


@pytest.fixture
def log() -> Log:
    return Log()


FLOODS = {
    "client_connected": lambda log: log.connected("a:1", clients=7),
    "client_logged_on": lambda log: log.logged_on(LOGGED_ON),
    "client_disconnected": lambda log: log.disconnected("a:1", "closed by peer", clients=7),
}


@pytest.mark.parametrize("event", FLOODS)
def test_of_a_flood_some_have_a_line_and_the_others_are_counted(log, event):
    with capture_logs() as lines:
        for _ in range(SECONDS * 1000):
            FLOODS[event](log)
            log.wait(MILLISECOND_NS)
        log.wait(LOG_EVERY_NS)
    kinds = Counter(line["event"] for line in lines)
    counted = event.replace("client", "clients")
    assert set(kinds) == {event, counted}
    at_the_rate = SECONDS * SECOND_NS // LINE_INTERVAL_NS
    assert abs(kinds[event] - BURST_LINES - at_the_rate) <= 1
    assert kinds[counted] <= SECONDS + 1
    assert kinds[event] + sum(line.get("count", 0) for line in lines) == SECONDS * 1000
    assert all(example["peer"] == "a:1" for example in lines[-1]["examples"])


def test_refusals_protocol_errors_and_failures_are_counted_from_the_first(log):
    with capture_logs() as lines:
        for _ in range(3):
            log.refused("a:1")
            log.protocol_error("a:2", "a second HELLO")
            log.accept_failed("Too many open files")
        assert lines == []
        log.wait(0)
        log.refused("a:1")
        log.wait(LOG_EVERY_NS - 1)
        assert len(lines) == 3
        log.wait(1)
    logged = [(line["event"], line["log_level"], line["count"]) for line in lines]
    assert logged == [
        ("client_refused", "warning", 3),
        ("protocol_error", "warning", 3),
        ("accept_failed", "warning", 3),
        ("client_refused", "warning", 1),
    ]
    assert lines[0]["examples"][0] == {"peer": "a:1", "reason": "400 clients already"}
    assert lines[1]["examples"][0] == {"peer": "a:2", "reason": "a second HELLO"}
