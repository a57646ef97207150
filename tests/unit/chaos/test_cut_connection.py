"""What is made of the log after a cut: times, limits, and what counts as missed."""

from __future__ import annotations

from random import Random

import pytest

from chaos.cut_connection import (
    AT_ONCE_NS,
    CASES,
    MOST_BYTES,
    SILENCE_NS,
    Case,
    CutConnection,
    Outcome,
    measure,
    unfulfilled,
)
from chaos.faults import Blackhole, Close, Direction, HalfOpen, Reset
from chaos.figures import LINKS
from chaos.lab import GOAL_ROUNDS
from chaos.recorder import Event

PRICE, NEWS, ORDERS = LINKS
CUT_NS = 1000


def logged(at_ns: int, role: str, name: str, stream: str | None = None) -> Event:
    return Event(at_ns, role, name, {"stream": stream} if stream else {})


def test_every_fault_meets_every_connection_in_every_direction() -> None:
    assert len(set(CASES)) == len(CASES) == 3 * 4 * 3


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
    ],
)
def test_a_client_that_is_told_comes_back_at_once_and_one_that_is_not_after_the_silence(
    case: Case, limit_ns: int | None
) -> None:
    assert case.limit_ns == limit_ns


def test_close_cuts_after_some_bytes_where_bytes_flow_and_at_once_where_none_do() -> None:
    random = Random(1)
    told = Case(PRICE, Close, Direction.TO_CLIENT).fault(random)
    silent = Case(PRICE, Close, Direction.TO_SERVER).fault(random)
    assert isinstance(told, Close)
    assert 1 <= told.after_bytes <= MOST_BYTES
    assert silent == Close(to=Direction.TO_SERVER, after_bytes=0)


def test_times_count_from_the_cut_and_only_of_the_connection_that_was_cut() -> None:
    events = [
        logged(CUT_NS - 1, "orderbook", "disconnected", "price"),
        logged(CUT_NS + 5, "strategy", "disconnected", "news"),
        logged(CUT_NS + 6, "orderbook", "connected", "price"),
        logged(CUT_NS + 10, "orderbook", "disconnected", "price"),
        logged(CUT_NS + 30, "orderbook", "connected", "price"),
    ]
    case = Case(PRICE, Reset, Direction.BOTH)
    assert measure(case, CUT_NS, events) == Outcome(10, 30, 0)
    assert measure(case, CUT_NS, events[:-1]) == Outcome(10, None, 0)
    assert measure(case, CUT_NS, events[:3]) == Outcome(None, None, 0)


def test_silence_on_the_order_connection_counts_from_the_first_order_that_is_owed_an_answer() -> (
    None
):
    events = [
        logged(CUT_NS + 100, "strategy", "order_sent"),
        logged(CUT_NS + 150, "strategy", "order_sent"),
        logged(CUT_NS + 400, "strategy", "disconnected", "orders"),
        logged(CUT_NS + 410, "strategy", "connected", "orders"),
    ]
    assert measure(Case(ORDERS, Blackhole, Direction.BOTH), CUT_NS, events) == Outcome(
        300, 310, 100
    )
    # Who is told of the end needs no order to notice it.
    assert measure(Case(ORDERS, Reset, Direction.BOTH), CUT_NS, events) == Outcome(400, 410, 0)


def test_a_connection_that_does_not_come_back_is_named() -> None:
    case = Case(PRICE, Reset, Direction.BOTH)
    assert unfulfilled(case, [Outcome(1, 2, 0)]) == []
    assert unfulfilled(case, [Outcome(1, 2, 0), Outcome(None, None, 0)]) == [
        "price reset both, cut 2: not connected again within 15 s"
    ]


def test_goals_are_judged_over_all_cuts_that_have_the_same() -> None:
    experiment = CutConnection(GOAL_ROUNDS)
    told, silent = Case(PRICE, Reset, Direction.BOTH), Case(NEWS, HalfOpen, Direction.BOTH)
    experiment.outcomes[told] += [Outcome(1, AT_ONCE_NS, 0)] * GOAL_ROUNDS
    experiment.outcomes[silent] += [Outcome(1, SILENCE_NS, 0)] * GOAL_ROUNDS
    assert experiment.reasons() == []
    experiment.outcomes[told] += [Outcome(1, AT_ONCE_NS + 10**5, 0)] * (GOAL_ROUNDS + 1)
    assert experiment.reasons() == [
        "reconnection after RST or FIN: 50.1 ms is the median of 41, the goal is 50 ms"
    ]


def test_a_connection_that_was_given_up_without_need_is_named() -> None:
    case = Case(NEWS, Blackhole, Direction.TO_SERVER)
    assert unfulfilled(case, [Outcome(None, None, 0)]) == []
    assert unfulfilled(case, [Outcome(5, 9, 0)]) == [
        "news blackhole to server, cut 1: the connection was given up for no reason"
    ]
