"""Every program gets the same loads, in every round."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.side_by_side import (
    BELOW_HELD,
    RIVALS,
    STACK,
    Rival,
    loads_of,
    lossless_rate,
    rival_hops,
)
from bench.plan import FULL, SideBySide
from bench.results import Throughput, Trial
from bench.rivals.load import Load
from bench.rivals.rival import RivalResult

PLAN = SideBySide(rounds=1, paced_s=0.5, unpaced_s=0.25, rate=2_000.0, symbols=100)


def test_the_floor_is_paced_and_the_others_go_as_fast_as_they_can_too() -> None:
    floor = [rival for rival in RIVALS if rival.best_batch is None]
    assert [len(loads_of(rival, PLAN)) for rival in floor] == [1] * 4
    for rival in RIVALS:
        paced, *fast = loads_of(rival, PLAN)
        assert paced == Load(2_000.0, 0.5, 1, 100)
        assert [(load.rate, load.seconds, load.symbols) for load in fast] == [
            (0.0, 0.25, 100) for _ in fast
        ]


def test_what_goes_as_fast_as_it_can_may_be_left_out() -> None:
    assert {len(loads_of(rival, PLAN._replace(unpaced_s=0.0))) for rival in RIVALS} == {1}


def test_their_names_differ_and_none_is_called_as_the_stack_is() -> None:
    assert len({STACK, *(rival.name for rival in RIVALS)}) == len(RIVALS) + 1


def test_there_are_at_least_five_rounds_in_a_full_run() -> None:
    assert FULL.side_by_side.rounds >= 5


def test_what_comes_of_a_load_is_recorded_with_it() -> None:
    asked = []

    def measure(load: Load) -> RivalResult:
        asked.append(load)
        return RivalResult(100, 3, 0.25, np.array([1000, 2000, 3000]))

    rival = Rival("pigeon", measure, 64)
    found = list(rival_hops(rival, PLAN, 4))
    assert asked == loads_of(rival, PLAN)
    assert [(h.name, h.round, h.ticks, h.missing) for h in found] == [("pigeon", 4, 100, 3)] * 3
    assert [(h.rate, h.ticks_a_message) for h in found] == [(2_000.0, 1), (0.0, 1), (0.0, 64)]
    assert [h.latency and h.latency.p50_ns for h in found] == [2000, None, None]


def throughput(symbols: int, strategies: int, *trials: tuple[float, bool]) -> Throughput:
    made = tuple(Trial(rate, 1.0, 1, 1, held, "") for rate, held in trials)
    return Throughput(symbols, strategies, float(trials[-1][1]), made, ())


@pytest.mark.parametrize("found", [[], [throughput(100, 1, (5e6, False))]])
def test_where_no_rate_held_it_is_not_known_how_fast_a_stack_goes_without_loss(found) -> None:
    assert lossless_rate(found, 100) is None


def test_a_stack_without_loss_is_paced_just_below_the_rate_that_was_confirmed() -> None:
    found = [
        throughput(4, 1, (9e6, True)),
        throughput(100, 4, (8e6, True)),
        throughput(100, 1, (4e6, True), (5e6, True), (5e6, False), (4e6, True)),
    ]
    assert lossless_rate(found, 100) == BELOW_HELD * 4e6
