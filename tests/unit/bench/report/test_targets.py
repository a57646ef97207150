"""A target is reached, missed or not measured, and has its headroom, as the figures say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.measure.side_by_side import STACK
from bench.report.comparison import FLOOR
from bench.report.targets import Bound, Judgement, Target, judged, targets
from bench.results import Recording
from tests.recordings import NOTHING_MEASURED, recording, throughput, usages


def test_every_target_has_its_limit_and_the_figure_of_the_recording():
    found = targets(recording(at_rest=usages(0.01, 50)))

    assert [(t.wanted, t.measured) for t in found] == [
        ("at least 4 M ticks/s", "8.50 M ticks/s"),
        ("at least 8 M ticks/s", "8.50 M ticks/s"),
        ("at least 10 × the fastest of them", "20.0 × ZeroMQ (8.00 M ticks/s to 0.400 M ticks/s)"),
        ("at least 1 × the fastest of them", "2.00 × ZeroMQ (8.00 M ticks/s to 4.00 M ticks/s)"),
        ("at most 1.3 × the bare floor's", "1.25 × three bare processes (100 µs to 80.0 µs)"),
        ("at most 0.5 × ZeroMQ's", "0.498 × ZeroMQ (100 µs to 201 µs)"),
        ("at most 2 ms", "200 µs"),
        ("at most 0", "0 of 2,000,000"),
        ("at most 1 µs", "900 ns (4 symbols)"),
        ("at most 3 µs", "2.50 µs (4 symbols)"),
        ("at most 2 %", "1.00 % (gateway)"),
        ("at most 64 MB", "50.0 MB (gateway)"),
        ("at most 16 MB", "12.6 MB"),
        ("at least 50,000/s", "57,143/s"),
        ("at most 1 ms", "420 µs"),
    ]
    assert {t.judgement for t in found} == {Judgement.REACHED}


def test_an_aim_that_is_not_reached_is_no_target_missed():
    slower = recording(throughput=(throughput(100, 1, 7.9e6),))

    aim = the_target(slower, "at least 8 M ticks/s")
    assert aim.judgement is Judgement.MISSED
    assert aim.measured == "7.90 M ticks/s"
    assert aim not in judged(slower, Judgement.MISSED)


def test_what_was_not_measured_is_neither_reached_nor_missed():
    found = targets(NOTHING_MEASURED)

    assert len(found) == len(targets(recording()))
    assert {(target.judgement, target.measured, target.headroom) for target in found} == {
        (Judgement.NOT_MEASURED, "-", None)
    }


@pytest.mark.parametrize("name", [STACK, FLOOR])
def test_a_ratio_needs_both_of_its_sides(name):
    made = recording()
    without = replace(made, hops=tuple(hop for hop in made.hops if hop.name != name))

    target = the_target(without, "at most 1.3 × the bare floor's")
    assert target.judgement is Judgement.NOT_MEASURED


def test_a_speed_at_which_the_stack_lost_ticks_is_compared_with_nothing():
    made = recording()
    lossy = tuple(replace(hop, missing=1) if hop.name == STACK else hop for hop in made.hops)

    target = the_target(replace(made, hops=lossy), "at least 10 × the fastest of them")
    assert target.judgement is Judgement.NOT_MEASURED


def test_a_search_that_no_rate_held_is_a_target_missed():
    none_held = recording(throughput=(throughput(100, 1, 0.0),))

    target = the_target(none_held, "at least 4 M ticks/s")
    assert target.judgement is Judgement.MISSED


def the_target(made: Recording, wanted: str) -> Target:
    """The one target with this limit."""
    [target] = [t for t in targets(made) if t.wanted == wanted]
    return target


@pytest.mark.parametrize(
    ("bound", "figure", "limit", "headroom", "judgement"),
    [
        (Bound.AT_LEAST, 8, 4, 2, Judgement.REACHED),
        (Bound.AT_LEAST, 2, 2, 1, Judgement.REACHED),
        (Bound.AT_LEAST, 1, 2, 0.5, Judgement.MISSED),
        (Bound.AT_MOST, 4, 8, 2, Judgement.REACHED),
        (Bound.AT_MOST, 8, 8, 1, Judgement.REACHED),
        (Bound.AT_MOST, 16, 8, 0.5, Judgement.MISSED),
        (Bound.AT_MOST, 0, 0, None, Judgement.REACHED),
        (Bound.AT_MOST, 3, 0, 0, Judgement.MISSED),
    ],
)
def test_headroom_above_one_is_better_whatever_the_direction(
    bound, figure, limit, headroom, judgement
):
    target = Target("", bound, limit, str, figure)

    assert (target.headroom, target.judgement) == (headroom, judgement)
