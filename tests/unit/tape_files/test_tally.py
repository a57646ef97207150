"""What is counted while a tape is read does not depend on the parts it comes in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lib.tape_files.arrow_stream import Numbers
from lib.tape_files.tally import TickTally

SYMBOLS = 3
TICKS = st.lists(
    st.tuples(st.integers(0, SYMBOLS - 1), st.integers(1, 99), st.integers(0, 9)), min_size=1
)


def counted(parts):
    tally = TickTally(SYMBOLS)
    for part in parts:
        symbols, units, times = (np.array(values) for values in zip(*part, strict=True))
        tally.add(
            symbols.astype(np.int32),
            units.astype(np.int64),
            np.zeros(len(units)),
            Numbers(np.ones(len(units), dtype=np.bool_), times.astype(np.int64)),
        )
    return tally


@given(ticks=TICKS, cut=st.integers(0, 50))
def test_counts_are_those_of_a_loop_over_the_ticks_however_they_are_cut(ticks, cut):
    tally = counted([part for part in (ticks[:cut], ticks[cut:]) if part])
    last, last_of = None, {}
    backward = backward_in_symbol = runs = 0
    previous = None
    for symbol, _, time in ticks:
        backward += last is not None and time < last
        backward_in_symbol += symbol in last_of and time < last_of[symbol]
        runs += symbol != previous
        last, previous = time, symbol
        last_of[symbol] = time
    assert tally.count == tally.timed == len(ticks)
    assert (tally.backward, tally.backward_in_symbol, tally.runs) == (
        backward,
        backward_in_symbol,
        runs,
    )
    for symbol in range(SYMBOLS):
        prices = [price for of, price, _ in ticks if of == symbol]
        assert tally.counts[symbol] == len(prices)
        if prices:
            assert (tally.first[symbol], tally.last[symbol]) == (prices[0], prices[-1])
