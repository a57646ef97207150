"""What the pages show of the bench, where the recorded figures do not show it themselves."""

from __future__ import annotations

from msgspec.structs import replace

from bench.report.figures import LEAST_SAMPLES, SHOWN_FUNCTIONS, hot_functions, segment_formula
from bench.results import HotFunction, SegmentSize
from tests.recordings import DAEMON_PROFILE, RING, recording


def test_the_formula_gives_the_size_that_was_measured_or_there_is_none():
    made = recording()
    formula = segment_formula(made)

    assert formula
    for one in made.segments:
        size = formula.fixed + formula.a_symbol * one.symbols + formula.a_tick * one.ring_capacity
        assert size == one.measured_bytes
    other = SegmentSize(4, RING, 1_000_000, 1_000_000)
    assert segment_formula(recording(segments=(other,))) is None


def test_a_function_that_was_seldom_found_is_not_shown_and_never_more_than_the_hottest():
    samples = 300
    functions = tuple(
        HotFunction(f"lib/x.py f{found}", found / samples, "x")
        for found in (LEAST_SAMPLES + 1, LEAST_SAMPLES, LEAST_SAMPLES - 1, 1)
    )
    seldom = replace(DAEMON_PROFILE, samples=samples, functions=functions)
    often = replace(DAEMON_PROFILE, samples=10**6)

    assert hot_functions(seldom) == list(functions[:2])
    assert hot_functions(often) == list(DAEMON_PROFILE.functions[:SHOWN_FUNCTIONS])
