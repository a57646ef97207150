"""What follows from the log after a cut: times, limits, and what counts as missed."""

from __future__ import annotations

import pytest

from chaos.cut_connection import (
    AT_ONCE_NS,
    LEAST_NS,
    NO_BYTE,
    NO_ORDER,
    SILENCE_NS,
    Case,
    CutConnection,
    CutOutcome,
    measure_cut,
    outcome_of_cut,
    unmet_expectations,
)
from chaos.faults.connection_faults import Blackhole, Close, Direction, HalfOpen, Reset
from chaos.faults.proxy import can_vanish
from chaos.lab.experiment import GOAL_ROUNDS
from chaos.lab.figures import ROLE_CONNECTIONS
from chaos.lab.recorder import Event
from tests.log_lines import recorded

PRICE, NEWS, ORDERS = ROLE_CONNECTIONS
CUT_NS = 1000 * LEAST_NS


def logged(looks: float, role: str, name: str, stream: str | None = None) -> Event:
    """What is logged so many recorder polls after the cut."""
    at_ns = CUT_NS + round(looks * LEAST_NS)
    return recorded(at_ns, role, name, {"stream": stream} if stream else {})


def outcome(detection: int | None, reconnection: int | None, unnoticeable: int = 0) -> CutOutcome:
    """An outcome with times in recorder polls."""
    lost_ns, back_ns = (
        None if looks is None else looks * LEAST_NS for looks in (detection, reconnection)
    )
    return CutOutcome(lost_ns, back_ns, unnoticeable * LEAST_NS)


@pytest.mark.parametrize(
    ("case", "limit_ns"),
    [
        (Case(PRICE, Reset, Direction.TO_CLIENT), AT_ONCE_NS),
        (Case(PRICE, Reset, Direction.TO_SERVER), SILENCE_NS),
        (Case(NEWS, HalfOpen, Direction.TO_SERVER), SILENCE_NS),
        (Case(NEWS, Blackhole, Direction.TO_SERVER), None),
        (Case(PRICE, Close, Direction.TO_SERVER), None),
        (Case(ORDERS, Close, Direction.TO_SERVER), AT_ONCE_NS),
        (Case(ORDERS, Blackhole, Direction.TO_SERVER), SILENCE_NS),
        # A peer that really vanished resets a client that sends to it.
        (Case(ORDERS, HalfOpen, Direction.BOTH), SILENCE_NS),
        (Case(ORDERS, HalfOpen, Direction.BOTH, vanishes=True), AT_ONCE_NS),
        (Case(ORDERS, HalfOpen, Direction.TO_CLIENT, vanishes=True), AT_ONCE_NS),
        (Case(ORDERS, HalfOpen, Direction.TO_SERVER, vanishes=True), SILENCE_NS),
        (Case(PRICE, HalfOpen, Direction.BOTH, vanishes=True), SILENCE_NS),
    ],
)
def test_a_notified_client_comes_back_at_once_and_another_one_after_the_silence_limit(
    case: Case, limit_ns: int | None
) -> None:
    assert case.limit_ns == limit_ns


def test_times_count_from_the_cut_and_only_of_the_connection_that_was_cut() -> None:
    events = [
        logged(-1, "orderbook", "disconnected", "price"),
        logged(5, "strategy", "disconnected", "news"),
        logged(6, "orderbook", "connected", "price"),
        logged(10, "orderbook", "disconnected", "price"),
        logged(30, "orderbook", "connected", "price"),
    ]
    case = Case(PRICE, Reset, Direction.BOTH)
    assert measure_cut(case, CUT_NS, events) == outcome(10, 30)
    assert measure_cut(case, CUT_NS, events[:-1]) == outcome(10, None)
    assert measure_cut(case, CUT_NS, events[:3]) == outcome(None, None)


VANISHED = Case(ORDERS, HalfOpen, Direction.BOTH, vanishes=True)


@pytest.mark.parametrize(
    ("case", "lost", "back", "expected"),
    [
        (Case(ORDERS, Blackhole, Direction.BOTH), 400, 410, outcome(300, 310, 100)),
        (VANISHED, 400, 410, outcome(300, 310, 100)),
        (Case(ORDERS, Reset, Direction.BOTH), 400, 410, outcome(400, 410)),  # it needs no order
        (VANISHED, 100.001, 100.002, outcome(1, 1, 100)),  # less than the recorder can resolve
    ],
)
def test_silence_counts_from_the_first_order_that_is_owed_an_answer(
    case: Case, lost: float, back: float, expected: CutOutcome
) -> None:
    events = [
        logged(100, "strategy", "order_sent"),
        logged(150, "strategy", "order_sent"),
        logged(lost, "strategy", "disconnected", "orders"),
        logged(back, "strategy", "connected", "orders"),
    ]
    assert measure_cut(case, CUT_NS, events) == expected


AN_ORDER = logged(1, "strategy", "order_sent")
NEVER = "not connected again within 15 s"


@pytest.mark.parametrize(
    ("case", "cut_ns", "events", "why"),
    [
        (Case(ORDERS, Close, Direction.BOTH), None, [], NO_BYTE),
        (Case(ORDERS, HalfOpen, Direction.BOTH), CUT_NS, [], NO_ORDER),
        (VANISHED, CUT_NS, [], NO_ORDER),
        (Case(ORDERS, HalfOpen, Direction.BOTH), CUT_NS, [AN_ORDER], NEVER),
        (Case(ORDERS, Reset, Direction.BOTH), CUT_NS, [], NEVER),  # it needs no order
        (Case(PRICE, Blackhole, Direction.BOTH), CUT_NS, [], NEVER),
    ],
)
def test_a_cut_without_reconnection_says_why(
    case: Case, cut_ns: int | None, events: list[Event], why: str
) -> None:
    found = outcome_of_cut(case, cut_ns, events)
    [reason] = unmet_expectations(case, [CutOutcome(1, 2, 0), found])
    assert reason.endswith(f"cut 2: {why}")


def test_a_connection_that_was_given_up_for_no_reason_is_named() -> None:
    case = Case(NEWS, Blackhole, Direction.TO_SERVER)
    assert unmet_expectations(case, [outcome(None, None), outcome(1, 2)]) == [
        "news blackhole to server, cut 2: the connection was given up for no reason"
    ]


def test_goals_are_judged_over_all_cuts_that_have_the_same() -> None:
    experiment = CutConnection(GOAL_ROUNDS)
    notified = Case(PRICE, Reset, Direction.BOTH, can_vanish())
    silent = Case(NEWS, HalfOpen, Direction.BOTH, can_vanish())
    experiment.outcomes[notified] += [CutOutcome(1, AT_ONCE_NS, 0)] * GOAL_ROUNDS
    experiment.outcomes[silent] += [CutOutcome(1, SILENCE_NS, 0)] * GOAL_ROUNDS
    assert experiment.reasons() == []
    experiment.outcomes[notified] += [CutOutcome(1, AT_ONCE_NS + 10**5, 0)] * (GOAL_ROUNDS + 1)
    assert experiment.reasons() == [
        "reconnection after RST or FIN: 50.1 ms is the median of 41, the goal is 50 ms"
    ]
