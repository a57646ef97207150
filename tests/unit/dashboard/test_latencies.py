"""Ticks meet their decisions, whichever look brought them, and quantiles are of the last minute."""

from __future__ import annotations

import numpy as np

from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.dashboard.latencies import HISTOGRAM_NS, MAX_WAITING, WINDOW_S, Latencies
from lib.trading.decision_log import Decided

START_NS = 10**15


def decided(*records: tuple[int, int, int]) -> Decided:
    """(first, last, decided_ns) each."""
    first, last, decided_ns = np.array(records, np.int64).reshape(-1, 3).T
    return Decided(first, last, decided_ns, 0)


def ticks(first: int, last: int, sent_ns: int) -> tuple[np.ndarray, np.ndarray]:
    sequences = np.arange(first, last + 1)
    return sequences, np.full(len(sequences), sent_ns)


def test_each_tick_counts_once_with_the_time_to_its_decision():
    latencies = Latencies()
    sent_ns = START_NS - 300 * MICROSECOND_NS
    latencies.take(decided((1, 10, START_NS)), *ticks(1, 10, sent_ns), START_NS)
    assert latencies.ticks(START_NS) == 10
    assert sum(latencies.histogram) == 10
    assert latencies.histogram[HISTOGRAM_NS.index(500 * MICROSECOND_NS)] == 10
    assert round(latencies.sum_s, 6) == 0.003
    for quantile in (0.001, 0.5, 0.999, 1.0):
        assert 300 <= latencies.quantile_ns(quantile, START_NS) / MICROSECOND_NS <= 315


def test_a_tick_may_be_decided_in_a_later_look():
    latencies = Latencies()
    latencies.take(decided(), *ticks(1, 10, START_NS), START_NS)
    assert latencies.ticks(START_NS) == 0
    latencies.take(decided((1, 4, START_NS + 50_000)), *ticks(11, 12, START_NS), START_NS)
    assert latencies.ticks(START_NS) == 4
    latencies.take(decided((5, 12, START_NS + 50_000)), *ticks(13, 13, START_NS), START_NS)
    assert latencies.ticks(START_NS) == 12


def test_ticks_that_the_strategy_left_out_or_of_another_tape_are_forgotten():
    latencies = Latencies()
    latencies.take(decided((8, 10, START_NS + 1)), *ticks(1, 10, START_NS), START_NS)
    latencies.take(decided((1, 7, START_NS + 2)), *ticks(11, 20, START_NS), START_NS)
    assert latencies.ticks(START_NS) == 3
    latencies.forget_ticks()
    latencies.take(decided((1, 20, START_NS + 1)), *ticks(1, 1, START_NS), START_NS)
    assert latencies.ticks(START_NS) == 4


def test_what_was_more_than_a_minute_ago_counts_in_the_histogram_only():
    latencies = Latencies()
    latencies.take(decided((1, 10, START_NS + 1000)), *ticks(1, 10, START_NS), START_NS)
    later_ns = START_NS + (WINDOW_S - 1) * SECOND_NS
    assert latencies.ticks(later_ns) == 10
    assert latencies.ticks(later_ns + SECOND_NS) == 0
    assert latencies.quantile_ns(0.5, later_ns + SECOND_NS) is None
    latencies.take(decided(), *ticks(11, 11, later_ns), later_ns + SECOND_NS)
    assert sum(latencies.histogram) == 10


def test_the_tail_is_in_the_quantiles():
    latencies = Latencies()
    latencies.take(
        decided((1, 989, START_NS + 100_000), (990, 1000, START_NS + 5_000_000)),
        *ticks(1, 1000, START_NS),
        START_NS,
    )
    assert latencies.quantile_ns(0.5, START_NS) < 110_000
    assert 4_900_000 < latencies.quantile_ns(0.99, START_NS) < 5_300_000


def test_what_waits_for_a_decision_is_bounded():
    latencies = Latencies()
    for number in range(4):
        first = number * MAX_WAITING // 2 + 1
        latencies.take(decided(), *ticks(first, first + MAX_WAITING // 2 - 1, START_NS), START_NS)
    assert len(latencies._sequences) == MAX_WAITING
