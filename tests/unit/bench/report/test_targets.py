"""A target is reached, missed or not measured, and has its headroom, as the figures say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.report.comparison import FLOOR, STACK, ZEROMQ
from bench.report.targets import Bound, Judgement, Target, judged, stack_ticks_per_s, targets
from bench.results import Recording
from tests.recordings import (
    NOTHING_MEASURED,
    hops,
    recording,
    throughput,
    usages,
    with_hops,
)

AT_2000 = "tick to decision at 2,000 ticks/s, p50"
AT_200000 = "tick to decision at 200,000 ticks/s"


def test_every_target_has_its_limit_and_the_figure_of_the_recording():
    found = targets(recording(at_rest=usages(0.01, 50)))

    assert [(t.wanted, t.measured) for t in found] == [
        ("at least 4 M ticks/s", "8.50 M ticks/s"),
        ("at least 8 M ticks/s", "8.50 M ticks/s"),
        ("at least 10 × the fastest of them", "20.0 × ZeroMQ (8.00 to 0.400 M ticks/s)"),
        ("more than 1 × the fastest of them", "2.00 × ZeroMQ (8.00 to 4.00 M ticks/s)"),
        ("at most 1.3 × the bare floor's", "1.25 × (100 µs to 80.0 µs)"),
        ("at most 0.5 × ZeroMQ's", "0.498 × (100 µs to 201 µs)"),
        ("under 2 ms", "200 µs"),
        ("at most 0", "0 of 2,000,000"),
        ("under 1 µs", "900 ns (4 symbols)"),
        ("under 3 µs", "2.50 µs (4 symbols)"),
        ("under 2 %", "1.00 % (gateway)"),
        ("under 64 MB", "50.0 MB (gateway)"),
        ("under 16 MB", "12.6 MB"),
        ("at least 50,000/s", "57,143/s"),
        ("at most 1 ms", "420 µs"),
    ]
    assert {t.judgement for t in found} == {Judgement.REACHED}


@pytest.mark.parametrize(
    ("bound", "at_limit", "beyond"),
    [
        (Bound.AT_LEAST, 8, 7.99),
        (Bound.MORE_THAN, 8.01, 8),
        (Bound.AT_MOST, 8, 8.01),
        (Bound.UNDER, 7.99, 8),
    ],
)
def test_a_judgement_flips_at_the_limit(bound, at_limit, beyond):
    assert Target("", bound, 8, str, at_limit).judgement is Judgement.REACHED
    assert Target("", bound, 8, str, beyond).judgement is Judgement.MISSED


def test_an_aim_that_is_not_reached_is_no_target_missed():
    slower = recording(throughput=(throughput(100, 1, 7.9e6),))

    aim = the_target(slower, "the same, as an aim", "at least 8 M ticks/s")
    assert aim.judgement is Judgement.MISSED
    assert aim.measured == "7.90 M ticks/s"
    assert aim not in judged(slower, Judgement.MISSED)


def test_what_was_not_measured_is_neither_reached_nor_missed():
    nothing = NOTHING_MEASURED

    assert {target.judgement for target in targets(nothing)} == {Judgement.NOT_MEASURED}
    assert len(targets(nothing)) == len(targets(recording()))
    assert {target.measured for target in targets(nothing)} == {"-"}
    assert {target.headroom for target in targets(nothing)} == {None}


@pytest.mark.parametrize("name", [STACK, FLOOR])
def test_a_ratio_needs_both_of_its_sides(name):
    made = recording()
    without = replace(made, hops=tuple(hop for hop in made.hops if hop.name != name))

    target = the_target(without, AT_2000, "at most 1.3 × the bare floor's")
    assert target.judgement is Judgement.NOT_MEASURED


def test_a_search_that_no_rate_held_is_a_target_missed():
    none_held = recording(throughput=(throughput(100, 1, 0.0),))

    target = the_target(none_held, "end to end, 100 symbols, one strategy, nothing lost")
    assert target.judgement is Judgement.MISSED


def test_a_figure_of_rounds_is_their_median():
    slow = hops(ZEROMQ, 2e3, figure=1000)[0]
    made = recording()
    odd = replace(
        made,
        hops=tuple(
            slow if (hop.name, hop.rate, hop.round) == (ZEROMQ, 2e3, 0) else hop
            for hop in made.hops
        ),
    )

    target = the_target(odd, AT_2000, "at most 0.5 × ZeroMQ's")
    assert target.measured == "0.495 × (100 µs to 202 µs)"


def test_a_stack_that_lost_ticks_at_full_speed_is_judged_by_the_search_instead():
    lossy = with_hops(STACK, 0.0, figure=9, ticks_a_message=0, missing=1)

    assert stack_ticks_per_s(recording()) == 8e6
    assert stack_ticks_per_s(lossy) == 8.5e6
    assert stack_ticks_per_s(replace(lossy, throughput=())) is None


def the_target(made: Recording, what: str, wanted: str = "") -> Target:
    """The one target of these words."""
    [target] = [t for t in targets(made) if t.what == what and wanted in (t.wanted, "")]
    return target


@pytest.mark.parametrize(
    ("bound", "figure", "limit", "headroom"),
    [
        (Bound.AT_LEAST, 8, 4, 2),
        (Bound.MORE_THAN, 1, 2, 0.5),
        (Bound.AT_MOST, 4, 8, 2),
        (Bound.UNDER, 16, 8, 0.5),
        (Bound.AT_MOST, 0, 0, None),
        (Bound.AT_MOST, 3, 0, 0),
    ],
)
def test_headroom_above_one_is_better_whatever_the_direction(bound, figure, limit, headroom):
    assert Target("", bound, limit, str, figure).headroom == headroom
