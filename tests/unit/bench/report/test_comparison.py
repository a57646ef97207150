"""Programs stand beside the stack with the median of their rounds, at the size that suits them."""

from __future__ import annotations

from msgspec.structs import replace

from bench.report.comparison import (
    FLOOR,
    STACK,
    ZEROMQ,
    Spread,
    contenders,
    fastest_alternative,
    with_best_batching,
    with_one_message_a_tick,
)
from tests.recordings import OTHER, hops, recording


def test_the_stack_comes_first_then_the_floor_and_the_alternatives_from_the_fastest_on():
    rows = with_one_message_a_tick(recording()).rows

    assert [row.label for row in rows] == ["**Tradewire**", FLOOR, ZEROMQ, OTHER]
    assert rows[2].latencies == (Spread(201e3, 200e3, 202e3), Spread(402e3, 400e3, 404e3))
    assert rows[2].ticks_per_s == Spread(0.4e6, 0.39e6, 0.41e6)


def test_latencies_in_batches_are_those_of_the_size_that_is_fastest():
    made = recording()
    slower = hops(ZEROMQ, 2e3, figure=900, ticks_a_message=64)
    fastest = hops(ZEROMQ, 2e3, figure=500, ticks_a_message=1024, missing=2)

    batched = with_best_batching(replace(made, hops=(*made.hops, *slower, *fastest)))

    best = next(row for row in batched.rows if row.label == ZEROMQ)
    assert (best.ticks_a_message, best.stack_over_it, best.missing) == (1024, 2, 6)
    assert best.latencies[0] == Spread(500e3, 499e3, 501e3)


def test_the_stack_is_never_taken_for_an_alternative():
    only_stack = [one for one in contenders(recording(), 0.0) if one.name == STACK]

    assert fastest_alternative(only_stack) is None
