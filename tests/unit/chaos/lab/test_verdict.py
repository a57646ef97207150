"""What counts as a loss after an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from chaos.judge.records import BookedTick, PlayedTick, Records
from chaos.lab import verdict
from chaos.lab.figures import OrderCounts, TickCounts
from chaos.lab.recorder import StackRecording
from chaos.lab.target import TargetStack
from chaos.lab.verdict import Totals, count_totals, last_to_arrive, losses, not_judged
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


@pytest.mark.parametrize(("looks", "lost"), [([[], [7]], 0), ([[]], 1)])
def test_an_order_that_was_sent_last_has_a_bounded_time_to_be_booked(
    monkeypatch: pytest.MonkeyPatch, looks: list[list[int]], lost: int
) -> None:
    target = TargetStack(load_settings())
    client_id = target.settings.strategy.client_id
    left = list(looks)

    @contextmanager
    def read_ledger(_path: Path) -> Iterator[SimpleNamespace]:
        numbers = left.pop(0) if len(left) > 1 else left[0]
        rows = [SimpleNamespace(client_id=client_id, order_id=n, status="FILLED", sent_ns=None,
                                tape="T", tick_sequence=n)
                for n in numbers]  # fmt: skip
        yield SimpleNamespace(orders=lambda: rows)

    monkeypatch.setattr(verdict, "read_ledger", read_ledger)
    monkeypatch.setattr(verdict, "SETTLE_S", 10.0 if len(looks) > 1 else 0.0)
    sent = {"order_id": 7, "tape": "T", "tick_sequence": 7}
    recording = StackRecording(events=[recorded(1, "strategy", "order_sent", sent)])
    assert count_totals(target, recording, {}).orders == OrderCounts(1, lost, 0, 0, 0)


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


def test_what_is_not_compared_with_the_rules_is_said() -> None:
    records = Records(("AAPL",), 2, 4, 60, 40, 10)
    assert not_judged(records) == ""
    for incomplete in ({"whole": False}, {"settled": False}):
        assert not_judged(replace(records, **incomplete)).startswith("no order is compared")
