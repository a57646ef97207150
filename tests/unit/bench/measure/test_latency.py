"""What was observed becomes figures: nothing is hidden, nothing that was not seen is in them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import BenchError
from bench.measure.latency import WARM_UP_S, judge, latency_settings, warm_up_s
from bench.measure.observer import LoggedSchedule, Observation
from bench.plan import LatencyRun
from bench.results import TickToDecision
from lib.settings import Settings

START_NS = 10**12
SENT_NS = START_NS + np.array([1_005_000, 2_005_000, 3_005_000])


def judged(sent_ns=SENT_NS, **changes) -> tuple[TickToDecision, list[str]]:
    """Ticks 11 to 13, each sent 5 µs late and decided 100 µs after that; and the gaps."""
    made = Observation(
        published=3,
        seconds=0.003,
        sequences=np.array([11, 12, 13])[: len(sent_ns)],
        sent_ns=sent_ns,
        decided_ns=sent_ns + 100_000,
        schedule=LoggedSchedule(1_000.0, START_NS, 11),
        shifted_ns=0,
        to_report_ns=np.array([700_000]),
        unanswered=0,
    )
    gaps: list[str] = []
    run = LatencyRun(rate=1_000.0, seconds=0.003)
    return judge(run, made._replace(**changes), (), gaps), gaps


def test_the_latencies_are_from_the_sending_and_from_when_it_was_due() -> None:
    found, gaps = judged()
    assert (found.ticks, found.missed, gaps) == (3, 0, [])
    assert (found.from_sent.p50_ns, found.from_intended.p50_ns) == (100_000, 105_000)
    assert found.to_report
    assert found.to_report.max_ns == 700_000


def test_a_stall_of_the_gateway_shows_in_all_ticks_that_were_due_meanwhile() -> None:
    found, _ = judged(START_NS + np.array([3_005_000] * 3))
    assert found.from_sent.max_ns == 100_000
    assert (found.from_intended.curve_ns[0], found.from_intended.max_ns) == (105_000, 2_105_000)


def test_what_was_not_seen_is_missed_or_a_gap() -> None:
    nothing = np.empty(0, np.int64)
    found, gaps = judged(published=10, to_report_ns=nothing, unanswered=3, shifted_ns=1_500_000_000)
    assert (found.missed, found.to_report) == (7, None)
    assert all(gap.startswith("tick to decision at 1,000 ticks/s: ") for gap in gaps)
    found_in = zip(("7 ticks", "3 orders", "late by 1.5 s"), gaps, strict=True)
    assert all(what in gap for what, gap in found_in)
    with pytest.raises(BenchError, match="not a single tick"):
        judged(nothing)


def test_with_many_symbols_no_tick_counts_before_their_windows_are_full() -> None:
    assert warm_up_s(LatencyRun(2_000.0, 1.0)) == WARM_UP_S
    long_window = Settings().strategy.long_window
    assert warm_up_s(LatencyRun(2_000.0, 1.0, symbols=5_000)) == 2.5 * long_window


def test_the_stack_has_the_rate_and_the_symbols() -> None:
    settings = latency_settings(LatencyRun(2_000.0, 1.0, symbols=100))
    assert (settings.gateway.rate, len(set(settings.symbols))) == (2_000.0, 100)
    assert latency_settings(LatencyRun(2_000.0, 1.0, 4)).symbols == Settings().symbols
