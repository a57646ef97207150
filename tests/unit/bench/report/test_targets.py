"""A target is reached, missed or not measured as the figures of the recording say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.report.comparison import FLOOR, STACK, ZEROMQ
from bench.report.targets import Judgement, Target, missed, stack_ticks_per_s, targets
from bench.results import CallCost, OrderFigures, Recording
from tests.recordings import (
    RING,
    hops,
    latency,
    recording,
    segment,
    throughput,
    tick_to_decision,
    usages,
    with_hops,
)

AT_2000 = "tick to decision at 2,000 ticks/s, p50"
AT_200000 = "tick to decision at 200,000 ticks/s"


def test_a_recording_may_reach_every_target():
    judgements = {target.judgement for target in targets(recording())}

    assert judgements == {Judgement.REACHED, Judgement.AIM, Judgement.NO_TARGET}


@pytest.mark.parametrize(
    ("what", "wanted", "at_limit", "beyond"),
    [
        (
            "end to end, 100 symbols, one strategy, nothing lost",
            "at least 4 M ticks/s",
            recording(throughput=(throughput(100, 1, 4e6),)),
            recording(throughput=(throughput(100, 1, 3.99e6), throughput(4, 1, 9e6))),
        ),
        (
            "full speed, alternatives with one message a tick",
            "at least 10 × the fastest of them",
            with_hops(ZEROMQ, 0.0, figure=0.8),
            with_hops(ZEROMQ, 0.0, figure=0.801),
        ),
        (
            "full speed, alternatives with their best batching",
            "more than 1 × the fastest of them",
            with_hops("NATS", 0.0, figure=7.99, ticks_a_message=64),
            with_hops("NATS", 0.0, figure=8, ticks_a_message=64),
        ),
        (
            AT_2000,
            "at most 1.3 × the bare floor's",
            with_hops(STACK, 2e3, figure=104, ticks_a_message=0),
            with_hops(STACK, 2e3, figure=104.1, ticks_a_message=0),
        ),
        (
            AT_2000,
            "at most 0.5 × ZeroMQ's",
            with_hops(ZEROMQ, 2e3, figure=200),
            with_hops(ZEROMQ, 2e3, figure=199.9),
        ),
        (
            f"{AT_200000}, p99",
            "under 2 ms",
            recording(tick_to_decision=(tick_to_decision(2e5, from_sent=latency(100, 1999)),)),
            recording(tick_to_decision=(tick_to_decision(2e5, from_sent=latency(100, 2000)),)),
        ),
        (
            f"{AT_200000}, ticks lost",
            "at most 0",
            recording(),
            recording(tick_to_decision=(tick_to_decision(2e5, missed=1),)),
        ),
        (
            "`SharedPriceBook.read`, per call",
            "under 1 µs",
            recording(calls=(CallCost("read", 4, 999.0),)),
            recording(calls=(CallCost("read", 4, 999.0), CallCost("read", 5000, 1000.0))),
        ),
        (
            "`SharedPriceBook.update`, per call",
            "under 3 µs",
            recording(calls=(CallCost("update", 4, 2999.0),)),
            recording(calls=(CallCost("update", 4, 3000.0),)),
        ),
        (
            "each daemon at 200 ticks/s, of a core",
            "under 2 %",
            recording(at_rest=usages(0.0199)),
            recording(at_rest=usages(0.02)),
        ),
        (
            "each daemon after the ring has gone round, resident",
            "under 64 MB",
            recording(at_rest=usages(resident_mb=63.9)),
            recording(at_rest=usages(resident_mb=64)),
        ),
        (
            "shared memory at default settings",
            "under 16 MB",
            recording(segments=(replace(segment(4, RING), measured_bytes=15_999_999),)),
            recording(segments=(replace(segment(4, RING), measured_bytes=16_000_000),)),
        ),
        (
            "durable orders from 4 clients",
            "at least 50,000/s",
            recording(orders=(OrderFigures(4, 100, 50_000, 1.0, latency(1)),)),
            recording(orders=(OrderFigures(4, 100, 49_999, 1.0, latency(1)),)),
        ),
        (
            "answer to one lonely order, median",
            "at most 1 ms",
            recording(orders=(OrderFigures(1, 1, 50_000, 1.0, latency(1000)),)),
            recording(orders=(OrderFigures(1, 1, 50_000, 1.0, latency(1000.1)),)),
        ),
    ],
)  # fmt: skip
def test_a_judgement_flips_at_the_limit(what, wanted, at_limit, beyond):
    assert judged(at_limit, what, wanted).judgement is Judgement.REACHED
    assert judged(beyond, what, wanted).judgement is Judgement.MISSED
    assert judged(beyond, what, wanted) in missed(beyond)


def test_an_aim_that_is_not_reached_is_no_target_missed():
    slower = recording(throughput=(throughput(100, 1, 7.9e6),))

    aim = judged(slower, "the same, as an aim", "at least 8 M ticks/s")
    assert aim.judgement is Judgement.BELOW_AIM
    assert aim.measured == "7.90 M ticks/s"
    assert aim not in missed(slower)


def test_what_was_not_measured_is_neither_reached_nor_missed():
    nothing = recording(
        tick_to_decision=(), throughput=(), calls=(), orders=(), at_rest=(), segments=(), hops=()
    )

    assert {target.judgement for target in targets(nothing)} == {Judgement.NOT_MEASURED}
    assert len(targets(nothing)) == len(targets(recording()))
    assert {target.measured for target in targets(nothing)} == {"-"}


@pytest.mark.parametrize("name", [STACK, FLOOR])
def test_a_ratio_needs_both_of_its_sides(name):
    made = recording()
    without = replace(made, hops=tuple(hop for hop in made.hops if hop.name != name))

    target = judged(without, AT_2000, "at most 1.3 × the bare floor's")
    assert target.judgement is Judgement.NOT_MEASURED


def test_a_search_that_no_rate_held_is_a_target_missed():
    none_held = recording(throughput=(throughput(100, 1, 0.0),))

    assert judged(none_held, "end to end, 100 symbols, one strategy, nothing lost").judgement is (
        Judgement.MISSED
    )


def test_the_fastest_alternative_is_the_one_that_counts_with_its_fastest_batch():
    one, best = targets(recording())[2:4]

    assert one.measured == "20.0 × ZeroMQ (8.00 to 0.400 M ticks/s)"
    assert best.measured == "2.00 × ZeroMQ (8.00 to 4.00 M ticks/s)"
    assert one.ratio == pytest.approx(2)


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

    target = judged(odd, AT_2000, "at most 0.5 × ZeroMQ's")
    assert target.measured == "0.495 × (100 µs to 202 µs)"


def test_a_stack_that_lost_ticks_at_full_speed_is_judged_by_the_search_instead():
    lossy = with_hops(STACK, 0.0, figure=9, ticks_a_message=0, missing=1)

    assert stack_ticks_per_s(recording()) == 8e6
    assert stack_ticks_per_s(lossy) == 8.5e6
    assert stack_ticks_per_s(replace(lossy, throughput=())) is None


def test_the_daemon_that_is_judged_is_named():
    assert judged(recording(), "each daemon at 200 ticks/s, of a core").measured == (
        "1.00 % (gateway)"
    )


def judged(made: Recording, what: str, wanted: str = "") -> Target:
    """The one target of these words."""
    [target] = [t for t in targets(made) if t.what == what and wanted in (t.wanted, "")]
    return target
