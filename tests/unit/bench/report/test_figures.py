"""The formula for the size of a price book is the one that was measured."""

from __future__ import annotations

from bench.report.figures import segment_formula
from bench.results import SegmentSize
from tests.recordings import RING, recording


def test_the_formula_gives_the_size_that_was_measured_or_there_is_none():
    made = recording()
    formula = segment_formula(made)

    assert formula
    for one in made.segments:
        size = formula.fixed + formula.a_symbol * one.symbols + formula.a_tick * one.ring_capacity
        assert size == one.measured_bytes
    other = SegmentSize(4, RING, 1_000_000, 1_000_000)
    assert segment_formula(recording(segments=(other,))) is None
