"""What follows from the log after a cut: times, limits, and what counts as missed."""

from __future__ import annotations

from random import Random

import pytest

from chaos.cut_connection import (
    AT_ONCE_NS,
    LEAST_NS,
    MOST_BYTES,
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
from chaos.faults.connection_faults import (
    Blackhole,
    Close,
    ConnectionFault,
    Direction,
    HalfOpen,
    Reset,
)
from chaos.faults.proxy import can_vanish
from chaos.lab.experiment import GOAL_ROUNDS
from chaos.lab.figures import ROLE_CONNECTIONS
from chaos.lab.recorder import Event
from tests.log_lines import recorded

PRICE, NEWS, ORDERS = ROLE_CONNECTIONS
CUT_NS = 1000 * LEAST_NS


def logged(at_ns: int, role: str, name: str, stream: str | None = None) -> Event:
    return recorded(at_ns, role, name, {"stream": stream} if stream else {})


def after(looks: float) -> int:
    """The time of this many recorder polls after the cut."""
    return CUT_NS + round(looks * LEAST_NS)


def outcome(detection: int, reconnection: int | None, unnoticeable: int) -> CutOutcome:
    """An outcome with times in recorder polls."""
    back_ns = None if reconnection is None else reconnection * LEAST_NS
    return CutOutcome(detection * LEAST_NS, back_ns, unnoticeable * LEAST_NS)


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


def test_close_cuts_after_some_bytes_where_bytes_flow_and_at_once_where_none_do() -> None:
    random = Random(1)
    notified = Case(PRICE, Close, Direction.TO_CLIENT).fault(random)
    silent = Case(PRICE, Close, Direction.TO_SERVER).fault(random)
    assert isinstance(notified, Close)
    assert 1 <= notified.after_bytes <= MOST_BYTES
    assert silent == Close(to=Direction.TO_SERVER, after_bytes=0)


def test_times_count_from_the_cut_and_only_of_the_connection_that_was_cut() -> None:
    events = [
        logged(CUT_NS - 1, "orderbook", "disconnected", "price"),
        logged(after(5), "strategy", "disconnected", "news"),
        logged(after(6), "orderbook", "connected", "price"),
        logged(after(10), "orderbook", "disconnected", "price"),
        logged(after(30), "orderbook", "connected", "price"),
    ]
    case = Case(PRICE, Reset, Direction.BOTH)
    assert measure_cut(case, CUT_NS, events) == outcome(10, 30, 0)
    assert measure_cut(case, CUT_NS, events[:-1]) == outcome(10, None, 0)
    assert measure_cut(case, CUT_NS, events[:3]) == CutOutcome(None, None, 0)


ORDERS_LOST = [
    logged(after(100), "strategy", "order_sent"),
    logged(after(150), "strategy", "order_sent"),
    logged(after(400), "strategy", "disconnected", "orders"),
    logged(after(410), "strategy", "connected", "orders"),
]


@pytest.mark.parametrize(
    ("kind", "vanishes", "expected"),
    [
        (Blackhole, False, outcome(300, 310, 100)),
        (HalfOpen, True, outcome(300, 310, 100)),
        (Reset, False, outcome(400, 410, 0)),  # it needs no order to notice it
    ],
)
def test_silence_counts_from_the_first_order_that_is_owed_an_answer(
    kind: type[ConnectionFault], vanishes: bool, expected: CutOutcome
) -> None:
    case = Case(ORDERS, kind, Direction.BOTH, vanishes)
    assert measure_cut(case, CUT_NS, ORDERS_LOST) == expected


def test_a_time_below_the_resolution_of_the_recorder_is_as_long_as_that() -> None:
    events = [
        logged(after(100), "strategy", "order_sent"),
        logged(after(100.001), "strategy", "disconnected", "orders"),
        logged(after(100.002), "strategy", "connected", "orders"),
    ]
    case = Case(ORDERS, HalfOpen, Direction.BOTH, vanishes=True)
    assert measure_cut(case, CUT_NS, events) == outcome(1, 1, 100)


AN_ORDER = logged(after(1), "strategy", "order_sent")
NEVER = "not connected again within 15 s"


@pytest.mark.parametrize(
    ("case", "cut_ns", "events", "why"),
    [
        (Case(ORDERS, Close, Direction.BOTH), None, [], NO_BYTE),
        (Case(ORDERS, HalfOpen, Direction.BOTH), CUT_NS, [], NO_ORDER),
        (Case(ORDERS, HalfOpen, Direction.BOTH, vanishes=True), CUT_NS, [], NO_ORDER),
        (Case(ORDERS, HalfOpen, Direction.BOTH), CUT_NS, [AN_ORDER], NEVER),
        (Case(ORDERS, Reset, Direction.BOTH), CUT_NS, [], NEVER),  # it needs no order
        (Case(PRICE, Blackhole, Direction.BOTH), CUT_NS, [], NEVER),
    ],
)
def test_a_cut_without_reconnection_says_why(
    case: Case, cut_ns: int | None, events: list[Event], why: str
) -> None:
    found = outcome_of_cut(case, cut_ns, events)
    [reason] = unmet_expectations(case, [found])
    assert reason.endswith(f"cut 1: {why}")


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


def test_a_cut_that_did_not_end_as_expected_is_named() -> None:
    must, need_not = Case(PRICE, Reset, Direction.BOTH), Case(NEWS, Blackhole, Direction.TO_SERVER)
    noticed, unnoticed = CutOutcome(1, 2, 0), CutOutcome(None, None, 0)
    assert unmet_expectations(must, [noticed, unnoticed]) == [
        "price reset both, cut 2: not connected again within 15 s"
    ]
    assert unmet_expectations(need_not, [unnoticed, noticed]) == [
        "news blackhole to server, cut 2: the connection was given up for no reason"
    ]
