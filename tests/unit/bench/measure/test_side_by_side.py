"""Every program gets the same loads, in every round."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from bench.measure.side_by_side import (
    BELOW_HELD,
    RIVALS,
    WARM_UP_S,
    Rival,
    loads_of,
    lossless_rate,
    measure_rival,
)
from bench.plan import SideBySide
from bench.report.comparison import FLOOR
from bench.results import Throughput, Trial
from bench.rivals.load import Load
from bench.rivals.rival import RivalResult
from tests.recordings import recording

PLAN = SideBySide(rounds=1, paced_s=0.5, unpaced_s=0.25, rate=2_000.0, symbols=100)


def test_every_program_has_the_paced_load_and_all_but_the_floor_two_unpaced_ones() -> None:
    for rival in RIVALS:
        paced, *fast = loads_of(rival, PLAN)
        assert paced == Load(2_000.0, 0.5 + WARM_UP_S, 1, 100)
        assert fast == [
            Load(0.0, 0.25, ticks, 100) for ticks in (1, rival.best_batch) if rival.best_batch
        ]
        assert loads_of(rival, replace(PLAN, unpaced_s=0.0)) == [paced]
    assert [rival.name for rival in RIVALS if rival.best_batch is None] == [FLOOR, f"{FLOOR} in C"]


def test_what_comes_of_a_load_is_recorded_with_it_without_the_latencies_of_the_warm_up() -> None:
    warm_up = round(WARM_UP_S * PLAN.rate)

    def measure(load: Load) -> RivalResult:
        latencies_ns = np.array([9000] * warm_up + [1000, 2000, 3000])
        return RivalResult(warm_up + 3, 3, 0.25, latencies_ns)

    recorded = recording(hops=[])
    measure_rival(Rival("pigeon", measure, 64), PLAN, 4, recorded)
    found = recorded.hops
    assert [(h.name, h.round, h.missing) for h in found] == [("pigeon", 4, 3)] * 3
    assert [(h.rate, h.ticks_a_message) for h in found] == [(2_000.0, 1), (0.0, 1), (0.0, 64)]
    assert [h.ticks_per_s for h in found] == [4 * (warm_up + 3)] * 3
    assert [h.latency and h.latency.max_ns for h in found] == [3000, None, None]


def throughput(symbols: int, strategies: int, *trials: tuple[float, bool]) -> Throughput:
    made = tuple(Trial(rate, 1.0, 1, 1, held, "") for rate, held in trials)
    return Throughput(symbols, strategies, float(trials[-1][1]), made, ())


def test_a_stack_without_loss_is_paced_just_below_the_rate_that_was_confirmed() -> None:
    found = [
        throughput(4, 1, (9e6, True)),
        throughput(100, 4, (8e6, True)),
        throughput(100, 1, (4e6, True), (5e6, True), (5e6, False), (4e6, True)),
    ]
    assert lossless_rate(found, 100) == BELOW_HELD * 4e6
    assert lossless_rate([throughput(100, 1, (5e6, False))], 100) is None
