"""The averages over arrays, which need no ZeroMQ, and the real processes, for a moment."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.report.comparison import OTHER_WORK, Contender, fastest_alternative
from bench.results import ProgramRound
from bench.rivals.alternatives import zeromq_arrays
from bench.rivals.alternatives.zeromq_arrays import ArrayAverages
from bench.rivals.rival import Averages, Load, RivalTape
from tests.rivals import SECONDS, check_all_arrived, measured


@given(
    symbols=st.lists(st.integers(0, 2), min_size=1, max_size=400),
    steps=st.randoms(use_true_random=False),
    cut=st.integers(1, 120),
)
def test_sums_over_arrays_decide_as_a_tick_at_a_time_does(symbols, steps, cut):
    prices = [steps.randrange(100, 104) for _ in symbols]
    plain, arrays = Averages(3), ArrayAverages(3)
    for first in range(0, len(symbols), cut):
        message = symbols[first : first + cut], prices[first : first + cut]
        assert arrays.decide(*map(np.array, message)) == plain.decide(*message)


def test_every_tick_arrives_in_order_and_is_decided():
    load = Load(2000, SECONDS, symbols=3)
    outcome = measured(zeromq_arrays.measure, load)
    check_all_arrived(load, outcome)
    tape = RivalTape(load)
    ticks = slice(outcome.ticks)
    expected = ArrayAverages(3).decide(tape.symbols[ticks], tape.cents[ticks])
    assert outcome.above == expected > 0


def test_as_fast_as_it_goes_nothing_is_lost():
    outcome = measured(zeromq_arrays.measure, Load(0, SECONDS, zeromq_arrays.BEST_BATCH))
    assert outcome.ticks > 0
    assert outcome.missing == 0


def test_nothing_is_judged_by_what_does_other_work():
    assert zeromq_arrays.NAME in OTHER_WORK
    fast, fastest = (
        Contender(name, 64, 0.0, (ProgramRound(name, 0, 0.0, 64, 4, ticks, 0, 1.0, None),))
        for name, ticks in (("ZeroMQ", 1000), (zeromq_arrays.NAME, 9000))
    )
    assert fastest_alternative([fast, fastest]) == fast
