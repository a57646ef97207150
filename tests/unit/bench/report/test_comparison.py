"""Programs stand beside the stack with the median of their rounds."""

from __future__ import annotations

from msgspec.structs import replace

from bench.report.comparison import (
    FLOOR,
    ZEROMQ,
    Spread,
    count_rounds,
    with_best_batching,
    with_one_message_a_tick,
)
from tests.recordings import OTHER, ROUNDS, recording


def test_the_stack_comes_first_then_the_floor_and_the_alternatives_from_the_fastest_on():
    rows = with_one_message_a_tick(recording())

    assert [row.label for row in rows] == ["**Tradewire**", FLOOR, ZEROMQ, OTHER]
    assert [row.ticks_a_message for row in rows] == [None, 1, 1, 1]
    assert rows[2].p50_ns == Spread(201e3, 200e3, 202e3, ROUNDS)
    assert rows[2].p99_ns == Spread(402e3, 400e3, 404e3, ROUNDS)
    assert rows[2].ticks_per_s == Spread(0.4e6, 0.39e6, 0.41e6, ROUNDS)
    assert [row.stack_over_it for row in rows] == [1, None, 20, 80]


def test_in_batches_each_program_stands_with_what_it_has_lost():
    hops = recording().hops
    lossy = [replace(hop, missing=2) if hop.name == ZEROMQ else hop for hop in hops]

    rows = with_best_batching(recording(hops=lossy))

    assert [row.label for row in rows] == ["**Tradewire**", ZEROMQ, OTHER]
    assert (rows[1].ticks_a_message, rows[1].stack_over_it, rows[1].missing) == (1024, 2, 6)
    assert rows[1].p50_ns is None


def test_a_round_that_failed_is_in_no_figure_and_is_counted():
    hops = recording().hops
    left = [hop for hop in hops if not (hop.name == ZEROMQ and hop.round == ROUNDS - 1)]

    made = recording(hops=left)

    assert count_rounds(made) == ROUNDS
    rows = {row.label: row.p50_ns for row in with_one_message_a_tick(made)}
    assert rows[ZEROMQ] == Spread(200.5e3, 200e3, 201e3, ROUNDS - 1)
    assert rows[OTHER] == Spread(600e3, 599e3, 601e3, ROUNDS)
