"""What the pages show of the bench, where the recorded figures do not show it themselves."""

from __future__ import annotations

from bench.report.figures import (
    by_watcher,
    other_latencies,
    segment_formula,
    stages,
    usual_latencies,
)
from bench.results import SegmentSize, StageCost
from tests.recordings import RING, recorded_bench, recording, tick_to_decision


def test_latencies_with_more_strategies_stand_apart():
    alone, four = tick_to_decision(2e3), tick_to_decision(2e3, strategies=4)
    made = recording(tick_to_decision=(four, alone))

    assert (usual_latencies(made), other_latencies(made)) == ([alone], [four])


def test_a_stage_has_its_figures_by_symbols():
    made = recording(stages=(*recording().stages, StageCost("x", 4, 64, 2.0)))

    assert stages(made) == {("encode", 4096): {4: 40.0, 100: 50.0}, ("x", 64): {4: 2.0}}


def test_the_formula_gives_the_size_that_was_measured_or_there_is_none():
    made = recording()
    formula = segment_formula(made)

    assert formula
    for one in made.segments:
        size = formula.fixed + formula.a_symbol * one.symbols + formula.a_tick * one.ring_capacity
        assert size == one.measured_bytes
    other = SegmentSize(4, RING, 1_000_000, 1_000_000)
    assert segment_formula(recording(segments=(other,))) is None


def test_rounds_with_the_same_watchers_stand_together():
    rounds = by_watcher(recorded_bench().watched.rounds)

    assert [one.number for one in rounds] == [1, 2, 1]
