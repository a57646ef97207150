"""Ticks, decisions and orders that belong together are joined, and no others."""

from __future__ import annotations

import numpy as np

from bench.measure.observer import (
    LoggedSchedule,
    decided_by_all,
    join_decisions,
    to_report_ns,
)
from lib.trading.decision_log import Decided


def decisions(*records: tuple[int, int, int]) -> Decided:
    """(first, last, decided_ns) each."""
    first, last, decided_ns = np.array(records, np.int64).reshape(-1, 3).T
    return Decided(first, last, decided_ns, 0)


def test_with_several_strategies_the_last_one_counts_and_all_must_have_decided() -> None:
    sequences = np.array([1, 2, 3])
    quick = decisions((1, 2, 100), (3, 3, 110))
    slow = decisions((1, 1, 90), (2, 2, 500))
    assert decided_by_all(sequences, [quick, slow]).tolist() == [100, 500, 0]


def test_what_several_looks_brought_is_put_together_in_order() -> None:
    looks = [decisions((1, 2, 7), (3, 4, 8)), decisions((5, 9, 9))._replace(missed=2)]
    found = join_decisions(looks)
    assert found.first.tolist() == [1, 3, 5]
    assert found.last.tolist() == [2, 4, 9]
    assert found.decided_ns.tolist() == [7, 8, 9]
    assert found.missed == 2


def test_the_n_th_tick_is_due_n_periods_after_the_start() -> None:
    schedule = LoggedSchedule(rate=2_000.0, start_ns=10**12, first=501)
    due_ns = schedule.intended_ns(np.array([501, 502, 2500]))
    assert (due_ns - 10**12).tolist() == [500_000, 1_000_000, 10**9]
    odd = LoggedSchedule(rate=3_000.0, start_ns=10**15, first=1)  # does not drift
    assert (odd.intended_ns(np.array([3 * 10**8])) - 10**15).tolist() == [10**5 * 10**9]


def test_an_order_takes_from_the_sending_of_its_tick_to_its_answer() -> None:
    sequences, sent_ns = np.array([5, 7]), np.array([50, 70])
    ordered = {1: 4, 2: 5, 3: 7, 4: 7, 5: 8, 6: 6}  # ticks 4, 6 and 8 were not observed
    answered = {1: 1000, 2: 1050, 3: 2070, 5: 1, 6: 100, 7: 1}  # order 4 is not answered
    assert to_report_ns(sequences, sent_ns, ordered, answered).tolist() == [1000, 2000]
    nothing = np.empty(0, np.int64)
    assert to_report_ns(nothing, nothing, {1: 6}, {1: 100}).tolist() == []
