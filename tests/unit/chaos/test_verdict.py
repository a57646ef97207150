"""What counts as a loss, after whatever was broken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.figures import OrderCounts, TickCounts
from chaos.verdict import Totals, losses

FINE = TickCounts(0, 0, 0)
NOTHING_WRONG = Totals(FINE, FINE, OrderCounts(sent=7, lost=0, doubled=0, expired=0))


def test_nothing_lost_and_nothing_twice_is_no_loss() -> None:
    assert losses(NOTHING_WRONG, ["gateway"]) == []


def test_an_order_that_expired_was_answered_and_is_no_loss() -> None:
    totals = replace(NOTHING_WRONG, orders=OrderCounts(sent=7, lost=0, doubled=0, expired=3))
    assert losses(totals, ["gateway"]) == []


@pytest.mark.parametrize(
    ("totals", "reason"),
    [
        (replace(NOTHING_WRONG, book=TickCounts(3, 0, 0)), "3 ticks missed at the book"),
        (replace(NOTHING_WRONG, book=TickCounts(0, 3, 0)), "3 ticks repeated at the book"),
        (replace(NOTHING_WRONG, strategy=TickCounts(3, 0, 0)), "3 ticks missed at the strategy"),
        (
            replace(NOTHING_WRONG, strategy=TickCounts(0, 0, 3)),
            "3 ticks out of order at the strategy",
        ),
        (replace(NOTHING_WRONG, orders=OrderCounts(7, 1, 0, 0)), "1 orders lost"),
        (replace(NOTHING_WRONG, orders=OrderCounts(7, 0, 2, 0)), "2 orders doubled"),
    ],
)
def test_what_is_lost_or_done_twice_is_told(totals: Totals, reason: str) -> None:
    assert losses(totals, ["gateway"]) == [reason]


def test_a_strategy_that_was_hit_itself_may_report_the_ticks_of_its_absence() -> None:
    absent = replace(NOTHING_WRONG, strategy=TickCounts(40, 0, 0))
    assert losses(absent, ["strategy"]) == []
    twice = replace(NOTHING_WRONG, strategy=TickCounts(0, 1, 0))
    assert losses(twice, ["strategy"]) == ["1 ticks repeated at the strategy"]
