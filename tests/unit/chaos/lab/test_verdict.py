"""What counts as a loss after an experiment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.judge.records import BookedTick, PlayedTick, Records
from chaos.lab import verdict
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.recorder import StackRecording
from chaos.lab.target import TargetStack
from chaos.lab.verdict import (
    Totals,
    count_totals,
    judge_findings,
    last_to_arrive,
    losses,
    not_judged,
)
from lib.settings import load_settings
from tests.log_lines import recorded

FINE = TickCounts(0, 0, 0)
NOTHING_WRONG = Totals(FINE, FINE, OrderCounts(sent=7, lost=0, doubled=0, expired=0, discarded=0))
ABSENT = replace(NOTHING_WRONG, strategy=TickCounts(40, 0, 0), absence=40)
"""Of a strategy that was down while 40 ticks were played."""


def with_orders(**counts: int) -> Totals:
    return replace(NOTHING_WRONG, orders=NOTHING_WRONG.orders._replace(**counts))


@pytest.mark.parametrize(
    ("totals", "hit", "reasons"),
    [
        (NOTHING_WRONG, "gateway", []),
        (with_orders(expired=3), "gateway", []),  # they were answered
        (with_orders(lost=1), "gateway", ["1 orders lost"]),
        (with_orders(doubled=2), "gateway", ["2 orders doubled"]),
        (
            replace(NOTHING_WRONG, book=TickCounts(3, 2, 1)),
            "gateway",
            [
                "3 ticks missed at the book",
                "2 ticks repeated at the book",
                "1 ticks out of order at the book",
            ],
        ),
        (ABSENT, "strategy", []),
        (ABSENT, "gateway", ["40 ticks missed at the strategy"]),
        (  # and it was lapped, too
            replace(ABSENT, strategy=TickCounts(45, 1, 0)),
            "strategy",
            ["5 ticks missed at the strategy", "1 ticks repeated at the strategy"],
        ),
    ],
)
def test_losses_and_duplicates_are_listed_except_the_ticks_of_a_strategy_that_was_hit(
    totals: Totals, hit: str, reasons: list[str]
) -> None:
    assert losses(totals, [hit]) == reasons


def test_ticks_of_an_absence_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "ledger_orders", lambda _: [])
    missed = [
        recorded(1, "strategy", "ticks_missed", {"first": 1, "last": 4, "where": "strategy"}),
        recorded(
            2, "strategy", "ticks_missed", {"first": 9, "last": 9, "where": "ring", "ticks": 1}
        ),
    ]
    totals = count_totals(TargetStack(load_settings()), StackRecording(events=missed), {})
    assert (totals.strategy.missed, totals.absence) == (5, 4)


def test_a_tape_that_was_cut_off_is_complete_to_what_reached_its_book() -> None:
    played = {sequence: PlayedTick("AAPL", 1) for sequence in range(1, 8)}
    booked = [BookedTick("old", sequence, "AAPL", 1) for sequence in range(1, 6)]
    recording = StackRecording(tapes={"old": played}, booked=booked)
    assert last_to_arrive(recording, "old") == 7
    recording.cut_off.add("old")
    assert last_to_arrive(recording, "old") == 5
    recording.booked += [BookedTick("old", sequence, "AAPL", 1) for sequence in range(6, 12)]
    assert last_to_arrive(recording, "old") == 7  # the recorder did not hear the rest


@pytest.mark.parametrize(
    ("whole", "settled", "why"),
    [
        (True, True, ""),
        (True, False, "the stack keeps running"),
        (False, False, "the stack keeps running"),
        (False, True, "price book and log no longer go back to the stack's beginning"),
    ],
)
def test_the_verdict_says_what_is_not_judged_and_why(whole: bool, settled: bool, why: str) -> None:
    records = Records(("AAPL",), 2, 4, 60, 40, 10, whole=whole, settled=settled)
    assert not_judged(records).rpartition(": ")[2] == why


def test_what_cannot_be_judged_of_a_private_stack_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gathered(*_: Any, settled: bool) -> Records:
        return Records(("AAPL",), 2, 4, 60, 40, 10, whole=False, settled=settled)

    monkeypatch.setattr(verdict, "gather_records", gathered)
    for private in (True, False):
        target = SimpleNamespace(private=private, settings=None, left_behind=list)
        findings, unjudged = judge_findings(cast(TargetStack, target), StackRecording(), {})
        assert [finding.partition(":")[0] for finding in findings] == ["not judged"] * private
        assert bool(unjudged) == (not private)
