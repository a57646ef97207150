"""What is reported of a storm: stale times, ticks and orders by second, the verdict."""

from __future__ import annotations

from chaos.faults.connection_faults import Direction, Reset
from chaos.lab.recorder import SeenEvaluation
from chaos.storm import (
    ENOUGH_PLANNED,
    STALE_NS,
    Storm,
    StormOutcome,
    Stretch,
    evaluated_per_s,
    orders_per_s,
    stale_stretches,
)
from chaos.storms.planned_faults import FaultKind, PlannedFault
from chaos.storms.runner import InjectedFault
from lib.clock import SECOND_NS
from tests.log_lines import recorded

DONE = InjectedFault(PlannedFault(1.0, FaultKind.KILL, ("gateway",)), "gateway", 0)
BEGIN_NS = 100 * SECOND_NS


def evaluated(at_s: float, sequence: int, tape: str = "tape") -> SeenEvaluation:
    return SeenEvaluation(BEGIN_NS + round(at_s * SECOND_NS), tape, sequence)


def test_a_time_without_a_tick_is_recorded_with_its_place_in_the_storm() -> None:
    seen = [evaluated(-1, 1), evaluated(0.05, 2), evaluated(2, 3), evaluated(2.1, 4)]
    stretches = stale_stretches(seen, BEGIN_NS, BEGIN_NS + 3 * SECOND_NS)
    assert stretches == [
        Stretch(SECOND_NS // 20, 39 * SECOND_NS // 20),
        Stretch(21 * SECOND_NS // 10, 9 * SECOND_NS // 10),
    ]
    # One in which nothing was evaluated is one stale time.
    assert stale_stretches([], BEGIN_NS, BEGIN_NS + SECOND_NS) == [Stretch(0, SECOND_NS)]
    assert stale_stretches([], BEGIN_NS, BEGIN_NS + STALE_NS) == []


def test_evaluated_ticks_are_counted_in_the_second_in_which_they_were_seen() -> None:
    seen = [evaluated(-1, 5), evaluated(0.1, 8), evaluated(0.9, 10), evaluated(2.5, 30)]
    seen += [evaluated(2.7, 3, "new"), evaluated(2.8, 4, "new")]  # a count of its own
    assert evaluated_per_s([], seen, BEGIN_NS, BEGIN_NS + 3 * SECOND_NS) == [5, 0, 21]
    begun = {"tape": "tape", "first_evaluated": 25, "last_evaluated": 10}  # it missed 14
    events = [recorded(BEGIN_NS, "strategy", "evaluation_started", begun)]
    assert evaluated_per_s(events, seen, BEGIN_NS, BEGIN_NS + 3 * SECOND_NS) == [5, 0, 7]


def test_orders_are_counted_by_second_while_the_storm_lasts() -> None:
    times_s = (-0.1, 0.2, 0.3, 1.9, 2.0)
    events = [
        recorded(BEGIN_NS + round(at_s * SECOND_NS), "strategy", "order_sent", {"order_id": 1})
        for at_s in times_s
    ]
    events.append(events[1]._replace(source="strategy-2"))  # of another strategy: not counted
    assert orders_per_s(events, BEGIN_NS, BEGIN_NS + 2 * SECOND_NS) == [2, 1]


def storm_with(outcome: StormOutcome) -> Storm:
    storm = Storm(minutes=1, times=1)
    storm.outcomes.append(outcome)
    return storm


def test_a_storm_holds_if_the_stack_was_steady_and_no_time_stale_within_the_limits() -> None:
    storm = storm_with(StormOutcome([DONE.planned], 0, injected_faults=[DONE]))
    [outcome] = storm.outcomes
    outcome.end_ns = storm.recovery_limit_ns
    outcome.stale = [Stretch(SECOND_NS, storm.stale_limit_ns)]
    assert storm.reasons() == []
    outcome.end_ns += SECOND_NS
    outcome.stale.append(Stretch(9 * SECOND_NS, 30 * SECOND_NS))
    assert sorted(storm.reasons()) == [
        "storm 1: from 9 s on the strategy evaluated no tick for 30 s, the limit is 17.5 s",
        "storm 1: steady 16 s after the last fault, the limit is 15 s",
    ]


def test_skipped_faults_are_counted_and_a_kind_that_was_never_injected_is_named() -> None:
    freeze = PlannedFault(1.0, FaultKind.FREEZE, ("gateway",))
    planned = [freeze] * ENOUGH_PLANNED
    outcome = StormOutcome(planned, 0, injected_faults=[DONE] * 9, skipped=list(planned))
    storm = storm_with(outcome)
    assert storm.reasons() == [f"freeze: planned {ENOUGH_PLANNED} times, and never done"]
    assert storm.figures()["storms"][0]["skipped"] == {"freeze": ENOUGH_PLANNED}
    outcome.injected_faults += [InjectedFault(freeze, on, 0) for on in ("strategy", "gateway")]
    assert storm.reasons() == []
    del outcome.planned[0], outcome.injected_faults[-2:]  # too few to say
    assert storm.reasons() == []


def test_a_storm_that_did_nothing_or_little_of_its_plan_proves_little() -> None:
    for done, skipped, is_enough in ((0, 0, False), (2, 3, False), (1, 1, True)):
        skips = [DONE.planned] * skipped
        storm = storm_with(StormOutcome([], 0, injected_faults=[DONE] * done, skipped=skips))
        text = f"storm 1: proves little: {done} faults were done, {skipped} skipped"
        assert storm.reasons() == ([] if is_enough else [text])


def test_every_fault_is_recorded_with_its_time_and_one_that_is_not_over_lasts_to_the_end() -> None:
    cut = PlannedFault(1.0, FaultKind.RESET, ("price",), 0.0, Reset(to=Direction.TO_CLIENT))
    freeze = PlannedFault(2.0, FaultKind.FREEZE, ("gateway",))
    outcome = StormOutcome([cut, freeze], 100, 180, 200)
    outcome.injected_faults += [
        InjectedFault(cut, "news", 110, 111),
        InjectedFault(freeze, "gateway", 120),
    ]
    [storm] = storm_with(outcome).figures()["storms"]
    assert storm["gusts"] == [
        {"kind": "reset", "victim": "news", "to": "to_client", "begin_ns": 10, "end_ns": 11},
        {"kind": "freeze", "victim": "gateway", "to": None, "begin_ns": 20, "end_ns": 100},
    ]
    assert (storm["last_gust_ns"], storm["steady_ns"]) == (80, 100)
