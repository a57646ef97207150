"""Incidents begin, end with a duration, and are listed once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lib.dashboard.incidents import KEPT, Incidents
from lib.dashboard.log_lines import TimedEvent
from tests.log_lines import made

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(event: str, seconds: float = 0.0, **facts: Any) -> TimedEvent:
    at = START + timedelta(seconds=seconds)
    return TimedEvent(at.timestamp(), "info", made(event, **facts))


def test_a_process_that_has_ended_is_going_on_until_its_successor_has_started():
    incidents = Incidents()
    incidents.take("watchdog", line("role_ended", 1.0, program="gateway", pid=7))
    [open_one] = incidents.latest()
    assert (open_one.where, open_one.is_over) == ("gateway", False)
    incidents.take("orderbook", line("started", 1.1))
    incidents.take("gateway", line("started", 1.25))
    [one] = incidents.latest()
    assert (one.where, one.is_over, one.duration_s) == ("gateway", True, 0.25)


def test_a_role_that_hangs_is_one_incident_until_its_successor_has_started():
    incidents = Incidents()
    incidents.take("watchdog", line("role_hung", 2.0, program="strategy", silent_s=2.01))
    incidents.take("watchdog", line("role_ended", 2.1, program="strategy"))
    incidents.take("strategy", line("started", 2.5))
    [one] = incidents.latest()
    assert one.what == "hung for 2.0 s, killed"
    assert round(one.duration_s, 3) == 2.51  # it stood still before it was killed


def test_where_and_in_what_a_role_hung_is_shown():
    incidents = Incidents()
    where, reason = "lib/my_signals.py, line 12, in on_tick", "the signal has had one tick"
    hung = line("role_hung", program="strategy", silent_s=2.01, where=where, reason=reason)
    incidents.take("watchdog", hung)
    [one] = incidents.latest()
    assert one.what == f"hung for 2.0 s at {where}; killed: {reason}"


def test_a_crash_is_shown_with_its_place():
    incidents = Incidents()
    incidents.take("strategy", line("crashed", reason="OSError: no", where="lib/my.py, line 3"))
    [one] = incidents.latest()
    assert one.what == "crashed at lib/my.py, line 3: OSError: no"


def test_a_signal_that_is_too_slow_is_one_incident_which_says_how_it_is_by_now():
    incidents = Incidents()
    incidents.take("strategy", line("signal_too_slow", 1.0, reason="2.0 s behind"))
    incidents.take("strategy", line("signal_too_slow", 11.0, reason="5.0 s behind"))
    [one] = incidents.latest()
    assert (one.what, one.is_over) == ("too slow: 5.0 s behind", False)
    incidents.take("strategy", line("signal_keeps_up", 12.0))
    [one] = incidents.latest()
    assert one.duration_s == 11.0


def test_a_start_that_takes_long_is_over_when_it_has_started():
    incidents = Incidents()
    incidents.take("strategy", line("start_takes_long", 5.0, where="lib/mine.py, line 4"))
    [one] = incidents.latest()
    assert (one.what, one.is_over) == ("takes long to start at lib/mine.py, line 4", False)
    incidents.take("strategy", line("started", 7.0))
    assert incidents.latest()[0].is_over


def test_a_refill_that_takes_long_is_over_when_the_strategy_has_attached():
    incidents = Incidents()
    incidents.take("strategy", line("refill_takes_long", 5.0, reason="1 of 3 ticks"))
    incidents.take("strategy", line("refill_takes_long", 10.0, reason="2 of 3 ticks"))
    [one] = incidents.latest()
    assert one.what == "refills its averages: 2 of 3 ticks"
    incidents.take("strategy", line("attached", 15.0))
    assert [one.duration_s for one in incidents.latest()] == [10.0]


def test_a_role_that_is_stopped_stopped_as_asked():
    incidents = Incidents()
    incidents.take("gateway", line("stopped", 1.0))
    incidents.take("watchdog", line("role_ended", 1.1, program="gateway"))
    [one] = incidents.latest()
    assert (one.what, one.is_over) == ("stopped as asked", False)
    incidents.take("gateway", line("started", 3.0))
    assert [one.duration_s for one in incidents.latest()] == [2.0]


def test_a_role_that_is_given_up_stays_so_until_it_starts():
    incidents = Incidents()
    incidents.take("watchdog", line("role_ended", 1.0, program="gateway"))
    incidents.take("watchdog", line("role_gave_up", 9.0, program="gateway", reason="port taken"))
    going_on, over = incidents.latest()
    assert (going_on.what, going_on.is_over) == ("given up: port taken", False)
    assert (over.is_over, over.duration_s) == (True, None)
    incidents.take("gateway", line("started", 60.0))
    assert all(one.is_over for one in incidents.latest())


def test_each_stream_of_a_program_is_lost_and_found_by_itself():
    incidents = Incidents()
    incidents.take("strategy", line("disconnected", 1.0, stream="news", reason="reset"))
    incidents.take("strategy", line("disconnected", 1.1, reason="closed by peer"))
    incidents.take("strategy", line("connected", 1.3, stream="news"))
    orders, news = incidents.latest()
    assert (orders.what, orders.is_over) == (
        "lost the connection for orders: closed by peer",
        False,
    )
    assert (news.what, news.is_over) == ("lost the connection for news: reset", True)
    assert round(news.duration_s, 3) == 0.3


def test_ticks_that_are_gone_take_no_time():
    incidents = Incidents()
    incidents.take("orderbook", line("ticks_missed", first=5, last=1004, where="gateway"))
    [one] = incidents.latest()
    assert (one.what, one.is_over, one.duration_s) == ("1,000 ticks missed (gateway)", True, None)


def test_clients_that_replace_each_other_are_an_incident():
    incidents = Incidents()
    reason = "two clients log on as strategy and replace each other, again and again"
    incidents.take("order_manager", line("client_id_contested", reason=reason))
    [one] = incidents.latest()
    assert (one.where, one.is_over) == ("order_manager", True)
    assert one.what.endswith(reason)


def test_a_halt_is_over_when_trading_resumes():
    incidents = Incidents()
    incidents.take("order_manager", line("trading_halted", 1.0))
    incidents.take("order_manager", line("trading_resumed", 4.0))
    [one] = incidents.latest()
    assert one.duration_s == 3.0


def test_what_goes_well_is_no_incident():
    incidents = Incidents()
    for event in ("started", "connected", "listening", "order_filled", "attached"):
        incidents.take("strategy", line(event))
    assert incidents.latest() == []


@pytest.mark.parametrize("event", ["ledger_failed", "trading_halted", "price_book_unusable"])
def test_who_starts_anew_has_none_of_its_predecessors_troubles(event):
    incidents = Incidents()
    incidents.take("order_manager", line(event, 1.0))
    incidents.take("strategy", line("started", 2.0))
    assert not incidents.latest()[0].is_over
    incidents.take("order_manager", line("started", 3.0))
    assert [one.duration_s for one in incidents.latest()] == [2.0]


def test_a_silent_supervisord_has_no_duration_as_its_answer_is_not_logged():
    incidents = Incidents()
    incidents.take("watchdog", line("supervisord_silent", 1.0, reason="timed out"))
    [one] = incidents.latest()
    assert (one.what, one.is_over) == ("supervisord does not answer: timed out", True)


def test_what_goes_on_is_kept_however_much_is_over():
    incidents = Incidents()
    incidents.take("order_manager", line("trading_halted", 0.0))
    for number in range(KEPT + 1):
        incidents.take("strategy", line("crashed", 1.0 + number, reason=str(number)))
    first, *others = incidents.latest()
    assert (first.what, first.is_over) == ("trading is halted", False)
    assert [one.what for one in others[:2]] == [f"crashed: {KEPT}", f"crashed: {KEPT - 1}"]
    assert len(others) == KEPT


def test_of_a_program_that_is_no_more_nothing_goes_on():
    incidents = Incidents()
    incidents.take("second_strategy", line("stopped", 1.0))
    incidents.take("gateway", line("stopped", 2.0))
    incidents.end_others({"gateway", "strategy"})
    assert [(one.where, one.is_over, one.duration_s) for one in incidents.latest()] == [
        ("gateway", False, None),
        ("second_strategy", True, None),
    ]
