"""What was observed becomes figures: nothing is hidden, nothing that was not seen is in them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import BenchError
from bench.measure.latency import WARM_UP_S, judge, latency_settings, warm_up_s
from bench.measure.observer import LoggedSchedule, Observation
from bench.plan import LatencyRun
from lib.settings import Settings

RUN = LatencyRun(rate=1_000.0, seconds=0.003)
START_NS = 10**12


def observation(**changes) -> Observation:
    """Ticks 11 to 13, each sent 5 µs late and decided 100 µs after that."""
    sent_ns = START_NS + np.array([1_005_000, 2_005_000, 3_005_000])
    made = Observation(
        published=3,
        seconds=0.003,
        sequences=np.array([11, 12, 13]),
        sent_ns=sent_ns,
        decided_ns=sent_ns + 100_000,
        schedule=LoggedSchedule(1_000.0, START_NS, 11),
        shifted_ns=0,
        to_report_ns=np.array([700_000]),
        unanswered=0,
    )
    return made._replace(**changes)


def test_the_latencies_are_from_the_sending_and_from_when_it_was_due() -> None:
    found, gaps = judge(RUN, observation(), ())
    assert (found.ticks, found.missed, gaps) == (3, 0, [])
    assert found.from_sent.p50_ns == 100_000
    assert found.from_intended.p50_ns == 105_000
    assert found.to_report
    assert found.to_report.max_ns == 700_000


def test_a_stall_of_the_gateway_shows_in_all_ticks_that_were_due_meanwhile() -> None:
    stalled = START_NS + np.array([3_005_000] * 3)
    found, _ = judge(RUN, observation(sent_ns=stalled, decided_ns=stalled + 100_000), ())
    assert found.from_sent.max_ns == 100_000
    assert found.from_intended.curve_ns[0] == 105_000
    assert found.from_intended.max_ns == 2_105_000


def test_what_was_not_seen_is_missed_or_not_measured() -> None:
    found, _ = judge(RUN, observation(published=10, to_report_ns=np.empty(0, np.int64)), ())
    assert (found.missed, found.to_report) == (7, None)


def test_orders_without_an_answer_and_a_schedule_that_was_shifted_are_gaps() -> None:
    _, gaps = judge(RUN, observation(unanswered=3, shifted_ns=1_500_000_000), ())
    assert gaps[0].startswith("tick to decision at 1,000 ticks/s: 3 orders had no execution report")
    assert "late by 1.5 s" in gaps[1]


def test_where_nothing_was_seen_there_are_no_figures() -> None:
    empty = np.empty(0, np.int64)
    with pytest.raises(BenchError, match="not a single tick"):
        judge(RUN, observation(sequences=empty, sent_ns=empty, decided_ns=empty), ())


def test_with_many_symbols_no_tick_counts_before_their_windows_are_full() -> None:
    assert warm_up_s(LatencyRun(2_000.0, 1.0)) == WARM_UP_S
    long_window = Settings().strategy.long_window
    assert warm_up_s(LatencyRun(2_000.0, 1.0, symbols=5_000)) == 2.5 * long_window


def test_the_stack_has_the_rate_the_symbols_and_many_orders() -> None:
    settings = latency_settings(LatencyRun(2_000.0, 1.0, symbols=100))
    assert settings.gateway.rate == 2_000.0
    assert settings.gateway.news_interval < 0.5
    assert len(set(settings.symbols)) == 100
    assert latency_settings(LatencyRun(2_000.0, 1.0, 4)).symbols == Settings().symbols
