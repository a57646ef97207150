"""Incidents begin, end with a duration, and are listed once."""

from __future__ import annotations

from typing import Any

import pytest

from lib.dashboard.incidents import KEPT, Incidents
from lib.dashboard.log_lines import TimedEvent
from tests.log_lines import made


class Log(Incidents):
    """Takes what a program logs, at so many seconds."""

    def log(self, at_s: float, program: str, event: str, /, **facts: Any) -> None:
        self.take(program, TimedEvent(at_s, "info", made(event, **facts)))

    def shown(self) -> list[tuple[str, str, bool, float | None]]:
        return [
            (one.where, one.what, one.is_over, one.duration_s and round(one.duration_s, 3))
            for one in self.latest()
        ]


@pytest.fixture
def incidents() -> Log:
    return Log()


ENDED = (2.1, "watchdog", "role_ended", {"program": "strategy"})
STARTED = (3.0, "strategy", "started", {})
OTHER_STARTED = (2.5, "gateway", "started", {})


def hung(**facts: object) -> tuple[float, str, str, dict[str, object]]:
    return 2.0, "watchdog", "role_hung", {"program": "strategy", "silent_s": 1.51, **facts}


def logs(at_s: float, event: str, **facts: object) -> tuple[float, str, str, dict[str, object]]:
    return at_s, "strategy", event, facts


@pytest.mark.parametrize(
    ("lines", "end", "what", "duration_s"),
    [
        ([ENDED, OTHER_STARTED], STARTED, "its process has ended", 0.9),
        # It stood still before it was killed.
        ([hung(), ENDED], STARTED, "hung for 1.5 s, killed", 2.51),
        ([hung(where="x", reason="y")], STARTED, "hung for 1.5 s at x; killed: y", 2.51),
        ([logs(1, "stopped"), ENDED], STARTED, "stopped as asked", 2),
        ([logs(1, "start_takes_long", where="x")], STARTED, "takes long to start at x", 2),
        (
            [logs(1, "signal_too_slow", reason="2.0 s"), logs(9, "signal_too_slow", reason="5 s")],
            logs(10, "signal_keeps_up"),
            "too slow: 5 s",
            9,
        ),
        (
            [logs(1, "refill_takes_long", reason="1")],
            logs(11, "attached"),
            "refills its averages: 1",
            10,
        ),
        ([logs(1, "trading_halted")], logs(4, "trading_resumed"), "trading is halted", 3),
        ([logs(1, "trading_halted"), OTHER_STARTED], STARTED, "trading is halted", 2),
        (
            [logs(1, "heartbeat_failed", reason="full")],
            logs(4, "heartbeat_recovered"),
            "cannot write its heartbeat: full",
            3,
        ),
        ([logs(1, "ledger_failed")], STARTED, "the ledger cannot be written", 2),
        (
            [logs(1, "ledger_failed"), logs(2, "ledger_lost", reason="x")],
            logs(9, "ledger_recovered"),
            "the ledger is lost: x",
            8,
        ),
        ([logs(1, "price_book_unusable")], STARTED, "the price book cannot be used", 2),
        (
            [logs(1, "no_price_book", reason="x")],
            logs(5, "attached"),
            "has no price book: x",
            4,
        ),
        (
            [logs(1, "no_majority", stream="TW_LEDGER")],
            logs(21, "majority_back", stream="TW_LEDGER"),
            "no majority of the brokers can be reached: TW_LEDGER has no leader",
            20,
        ),
    ],
)
def test_an_incident_goes_on_until_its_end(incidents, lines, end, what, duration_s):
    for at_s, program, event, facts in lines:
        incidents.log(at_s, program, event, **facts)
    assert incidents.shown() == [("strategy", what, False, None)]
    at_s, program, event, facts = end
    incidents.log(at_s, program, event, **facts)
    assert incidents.shown() == [("strategy", what, True, duration_s)]


@pytest.mark.parametrize(
    ("event", "facts", "what"),
    [
        ("crashed", {"reason": "OSError: no", "where": "x"}, "crashed at x: OSError: no"),
        (
            "ticks_missed",
            {"first": 5, "last": 1004, "where": "gateway"},
            "1,000 ticks missed (gateway)",
        ),
        ("client_id_contested", {"reason": "again"}, "a client_id is contested: again"),
        ("price_book_lost", {"reason": "removed"}, "the price book is lost: removed"),
        ("ledger_begun", {"reason": "x"}, "a new ledger begins: x"),
        ("supervisord_silent", {"reason": "slow"}, "supervisord does not answer: slow"),
        ("state_refused", {"reason": "planted"}, "its state was refused: planted"),
        ("file_lost", {"file": "/v/x.state", "reason": "put back"}, "x.state was lost: put back"),
        ("log_reopened", {"file": "/v/x.out"}, "x.out was lost: it is written again"),
        ("alert_failed", {"reason": "exit status 1"}, "an alert could not be sent: exit status 1"),
        ("alerts_ended", {"reason": "signal 9"}, "the process of the alerts has ended: signal 9"),
        (
            "stream_claimed",
            {"stream": "TW_PRICE", "host": "b", "former": "a"},
            "b writes TW_PRICE now, in place of a",
        ),
        (
            "stream_overtaken",
            {"stream": "TW_PRICE"},
            "another host has claimed TW_PRICE: this one is a standby again",
        ),
        (
            "stream_lost",
            {"stream": "TW_LEDGER", "last": 1000},
            "the brokers have lost what TW_LEDGER had up to message 1,000",
        ),
    ],
)
def test_what_takes_no_time_or_whose_end_is_not_logged_has_no_duration(
    incidents, event, facts, what
):
    incidents.log(1, "orderbook", event, **facts)
    assert incidents.shown() == [("orderbook", what, True, None)]


@pytest.mark.parametrize("former", ["", "b"])
def test_a_claim_that_takes_the_stream_from_no_other_host_is_no_incident(incidents, former):
    incidents.log(1, "uplink", "stream_claimed", stream="TW_PRICE", host="b", former=former)
    assert incidents.shown() == []


def test_a_role_that_is_given_up_stays_so_until_it_starts(incidents):
    incidents.log(1, "watchdog", "role_ended", program="gateway")
    incidents.log(9, "watchdog", "role_gave_up", program="gateway", reason="port taken")
    going_on, over = incidents.shown()
    assert going_on == ("gateway", "given up: port taken", False, None)
    assert over[2:] == (True, None)
    incidents.log(60, "gateway", "started")
    assert all(one.is_over for one in incidents.latest())


def test_each_stream_of_a_program_is_lost_and_found_by_itself(incidents):
    incidents.log(1, "strategy", "disconnected", stream="news", reason="reset")
    incidents.log(1.1, "strategy", "disconnected", reason="closed by peer")
    incidents.log(1.3, "strategy", "connected", stream="news")
    assert incidents.shown() == [
        ("strategy", "lost the connection for orders: closed by peer", False, None),
        ("strategy", "lost the connection for news: reset", True, 0.3),
    ]


def test_what_goes_on_is_kept_however_much_is_over_and_what_goes_well_is_no_incident(incidents):
    incidents.log(0, "order_manager", "trading_halted")
    for number in range(KEPT + 1):
        incidents.log(1 + number, "strategy", "crashed", reason=str(number))
    incidents.log(1, "strategy", "order_filled")
    first, *others = incidents.latest()
    assert (first.what, first.is_over) == ("trading is halted", False)
    assert [one.what for one in others[:2]] == [f"crashed: {KEPT}", f"crashed: {KEPT - 1}"]
    assert len(others) == KEPT


def test_of_a_program_that_is_no_more_nothing_goes_on(incidents):
    incidents.log(1, "second_strategy", "stopped")
    incidents.log(2, "gateway", "stopped")
    incidents.end_others({"gateway", "strategy"})
    assert [(one.where, one.is_over, one.duration_s) for one in incidents.latest()] == [
        ("gateway", False, None),
        ("second_strategy", True, None),
    ]


def test_each_client_at_its_loss_limit_is_an_incident_of_its_own(incidents):
    for at_s, client_id in ((1, "one"), (2, "two")):
        facts = {"client_id": client_id, "loss": 7.5, "limit": 5.0}
        incidents.log(at_s, "order_manager", "loss_limit_reached", **facts)
    incidents.log(4, "order_manager", "loss_limit_lifted", client_id="one")
    assert incidents.shown() == [
        ("order_manager", "two has reached its loss limit", False, None),
        ("order_manager", "one has reached its loss limit", True, 3),
    ]
