"""What is reported of a storm: stale times, ticks and orders by second, the verdict."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import cast

import pytest

from chaos.faults.connection_faults import Direction, Reset
from chaos.lab.recorder import SeenEvaluation
from chaos.storm import (
    ENOUGH_PLANNED,
    MIN_MINUTES,
    STALE_NS,
    Storm,
    StormOutcome,
    Stretch,
    count_victims,
    evaluated_per_s,
    minutes,
    orders_per_s,
    stale_stretches,
)
from chaos.storms.planned_faults import LONGEST_GAP_S, QUIET_BEFORE_ALL_S, FaultKind, PlannedFault
from chaos.storms.runner import InjectedFault, StormRunner
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


def test_a_storm_in_which_nothing_was_evaluated_is_one_stale_time() -> None:
    assert stale_stretches([], BEGIN_NS, BEGIN_NS + SECOND_NS) == [Stretch(0, SECOND_NS)]
    assert stale_stretches([], BEGIN_NS, BEGIN_NS + STALE_NS) == []


def test_evaluated_ticks_are_counted_in_the_second_in_which_they_were_seen() -> None:
    seen = [evaluated(-1, 5), evaluated(0.1, 8), evaluated(0.9, 10), evaluated(2.5, 30)]
    assert evaluated_per_s([], seen, BEGIN_NS, BEGIN_NS + 3 * SECOND_NS) == [5, 0, 20]


def test_what_the_strategy_missed_in_its_absence_was_not_evaluated() -> None:
    begun = {"tape": "tape", "first_evaluated": 50, "last_evaluated": 10}
    events = [recorded(BEGIN_NS, "strategy", "evaluation_started", begun)]
    seen = [evaluated(0.1, 8), evaluated(0.2, 10), evaluated(0.5, 52)]
    assert evaluated_per_s(events, seen, BEGIN_NS, BEGIN_NS + SECOND_NS) == [2 + 3]


def test_another_tape_begins_its_own_count() -> None:
    seen = [evaluated(0.1, 900, "old"), evaluated(0.2, 3, "new"), evaluated(0.3, 4, "new")]
    assert evaluated_per_s([], seen, BEGIN_NS, BEGIN_NS + SECOND_NS) == [1]


def test_orders_are_counted_by_second_while_the_storm_lasts() -> None:
    times_s = (-0.1, 0.2, 0.3, 1.9, 2.0)
    events = [
        recorded(BEGIN_NS + round(at_s * SECOND_NS), "strategy", "order_sent", {"order_id": 1})
        for at_s in times_s
    ]
    assert orders_per_s(events, BEGIN_NS, BEGIN_NS + 2 * SECOND_NS) == [2, 1]


def test_victims_are_counted() -> None:
    assert count_victims(["b", "a", "b"]) == "a 1, b 2"


def storm_with(outcome: StormOutcome) -> Storm:
    storm = Storm(minutes=1, times=1)
    storm.outcomes.append(outcome)
    return storm


def test_a_storm_after_which_the_stack_is_steady_in_time_holds() -> None:
    storm = storm_with(StormOutcome([DONE.planned], 0, injected_faults=[DONE]))
    limit_ns = storm.recovery_limit_ns
    storm.outcomes[0].end_ns = limit_ns
    assert storm.reasons() == []
    storm.outcomes[0].end_ns = limit_ns + SECOND_NS
    assert storm.reasons() == ["storm 1: steady 16 s after the last fault, the limit is 15 s"]


def test_a_strategy_that_stands_still_for_too_long_is_named() -> None:
    storm = storm_with(StormOutcome([DONE.planned], 0, injected_faults=[DONE]))
    storm.outcomes[0].stale = [Stretch(SECOND_NS, storm.stale_limit_ns)]
    assert storm.reasons() == []
    storm.outcomes[0].stale.append(Stretch(9 * SECOND_NS, 30 * SECOND_NS))
    assert storm.reasons() == [
        "storm 1: from 9 s on the strategy evaluated no tick for 30 s, the limit is 17.5 s"
    ]


def test_skipped_faults_are_counted_and_a_kind_that_was_never_injected_is_named() -> None:
    planned_fault = PlannedFault(1.0, FaultKind.FREEZE, ("gateway",))
    some = ENOUGH_PLANNED - 1
    outcome = StormOutcome(
        [planned_fault] * some, 0, injected_faults=[DONE] * 9, skipped=[planned_fault] * some
    )
    storm = storm_with(outcome)
    assert storm.reasons() == []
    outcome.planned.append(planned_fault)
    outcome.skipped.append(planned_fault)
    assert storm.reasons() == [f"freeze: planned {ENOUGH_PLANNED} times, and never done"]
    assert storm.figures()["storms"][0]["skipped"] == {"freeze": ENOUGH_PLANNED}
    assert storm.table()[1].split() == ["freeze", "0", str(ENOUGH_PLANNED)]
    outcome.skipped.pop()
    outcome.injected_faults.append(InjectedFault(planned_fault, "gateway", 0))
    assert storm.reasons() == []


@pytest.mark.parametrize(
    ("done", "skipped", "proves_little"),
    [(0, 0, True), (0, 1, True), (2, 3, True), (1, 1, False)],
)
def test_a_storm_that_did_nothing_or_little_of_its_plan_proves_little(
    done: int, skipped: int, proves_little: bool
) -> None:
    skips = [DONE.planned] * skipped
    storm = storm_with(StormOutcome([], 0, injected_faults=[DONE] * done, skipped=skips))
    text = f"storm 1: proves little: {done} faults were done, {skipped} skipped"
    assert storm.reasons() == ([text] if proves_little else [])


def test_put_back_undoes_the_faults_of_a_storm_and_does_nothing_without_one() -> None:
    storm = Storm(minutes=1, times=1)
    storm.put_back()
    undone: list[str] = []
    storm._runner = cast("StormRunner", SimpleNamespace(undo=lambda: undone.append("undone")))
    storm.put_back()
    assert undone == ["undone"]


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


def test_minutes_are_a_number_within_reason() -> None:
    assert minutes("0.5") == 0.5
    for text in ("0", "-1", "0.01", "nan", "inf", "many", "1e9"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"from 0\.2 to 1440"):
            minutes(text)


def test_the_shortest_storm_is_longer_than_the_longest_wait_for_the_first_fault() -> None:
    assert MIN_MINUTES * 60 > LONGEST_GAP_S + QUIET_BEFORE_ALL_S
