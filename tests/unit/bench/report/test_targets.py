"""A target is reached, missed or not measured, and has its headroom, as the figures say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.measure.side_by_side import STACK
from bench.report.comparison import FLOOR, ZEROMQ
from bench.report.targets import (
    Bound,
    Judgement,
    LatencyComparison,
    Target,
    beside_alternatives,
    judged,
    targets,
)
from tests.recordings import (
    NOTHING_MEASURED,
    OTHER,
    hops,
    latency,
    recording,
    throughput,
    usages,
)


def test_every_target_has_its_limit_and_the_figure_of_the_recording():
    found = targets(recording(at_rest=usages(0.01, 50)))

    assert [(t.wanted, t.measured) for t in found] == [
        ("at least 4 M ticks/s", "8.50 M ticks/s"),
        ("at least 8 M ticks/s", "8.50 M ticks/s"),
        ("at least 10 × the fastest of them", "20.0 × ZeroMQ (8.00 M ticks/s to 0.400 M ticks/s)"),
        ("at least 1 × the fastest of them", "2.00 × ZeroMQ (8.00 M ticks/s to 4.00 M ticks/s)"),
        ("at least 0.9 × the random walk's", "0.950 × (7.60 M ticks/s to 8.00 M ticks/s)"),
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


def test_what_was_not_measured_is_neither_reached_nor_missed():
    found = targets(NOTHING_MEASURED)

    assert len(found) == len(targets(recording()))
    assert {(target.judgement, target.measured, target.headroom) for target in found} == {
        (Judgement.NOT_MEASURED, "-", None)
    }


HOPS = recording().hops
SLOWER, NONE_HELD = ((throughput(100, 1, speed),) for speed in (7.9e6, 0.0))
LOSSY = [replace(hop, missing=1) if hop.name == STACK else hop for hop in HOPS]


@pytest.mark.parametrize(
    ("changed", "wanted", "judgement"),
    [
        ({"throughput": SLOWER}, "at least 8 M ticks/s", Judgement.MISSED),
        ({"throughput": NONE_HELD}, "at least 4 M ticks/s", Judgement.MISSED),
        ({"hops": LOSSY}, "at least 10 × the fastest of them", Judgement.NOT_MEASURED),
        ({"hops": LOSSY}, "at most 0.5 × ZeroMQ's", Judgement.NOT_MEASURED),
        *(
            (
                {"hops": [hop for hop in HOPS if hop.name != name]},
                "at most 1.3 × the bare floor's",
                Judgement.NOT_MEASURED,
            )
            for name in (STACK, FLOOR)
        ),
    ],
)
def test_a_figure_that_falls_short_is_missed_and_one_that_is_none_is_not_measured(
    changed, wanted, judgement
):
    made = recording(**changed)
    [target] = [t for t in targets(made) if t.wanted == wanted]

    assert target.judgement is judgement
    counts = judgement is Judgement.MISSED and not target.is_aim
    assert (target in judged(targets(made), Judgement.MISSED)) == counts
    assert target.is_aim == (changed == {"throughput": SLOWER})


def test_a_program_that_failed_in_a_round_is_shown_with_the_rounds_that_held():
    held = [hop for hop in HOPS if hop.name != STACK or hop.rate or hop.round]

    found = {target.wanted: target.measured for target in targets(recording(hops=held))}

    assert found["at least 1 × the fastest of them"].endswith(
        "(8.01 M ticks/s in the 2 of 3 rounds that held to 4.00 M ticks/s)"
    )
    assert found["at most 0.5 × ZeroMQ's"].endswith("(100 µs to 201 µs)")


def test_the_stack_stands_beside_the_fastest_alternative_at_each_quantile():
    slow_tail = latency(150, 1_000)
    theirs = [replace(hop, latency=slow_tail) for hop in hops(ZEROMQ, 2e3, figure=1)]
    ours = [hop for hop in HOPS if hop.name != ZEROMQ and (hop.name, hop.rate) != (OTHER, 2e3)]
    pigeons = [replace(hop, latency=latency(160, 190)) for hop in hops(OTHER, 2e3, figure=1)]

    assert beside_alternatives(recording(hops=[*ours, *theirs, *pigeons])) == [
        LatencyComparison("p50", 100e3, ZEROMQ, 150e3, 0, 2),
        LatencyComparison("p99", 200e3, OTHER, 190e3, 1, 2),
    ]
    assert beside_alternatives(recording(hops=LOSSY)) == []
    assert beside_alternatives(recording(hops=[hop for hop in HOPS if hop.name == STACK])) == []


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
