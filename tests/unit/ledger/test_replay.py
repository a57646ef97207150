"""The positions that fills lead to, also where some of them are missing."""

from __future__ import annotations

from lib.ledger.positions import Position
from lib.ledger.replay import replay
from tests.ledgers import orders, positions

FILLS = [order for order in orders() if order.status == "FILLED"]


def test_all_fills_lead_to_the_positions_as_they_are_booked():
    assert replay(FILLS) == {
        (p.client_id, p.symbol): Position(p.position, p.cost, p.realised_profit)
        for p in positions(orders())
    }


def test_the_last_fills_lead_to_the_quantities_that_all_lead_to():
    whole = replay(FILLS)
    for first in range(len(FILLS)):
        last = replay(FILLS[first:])
        assert {key: p.quantity for key, p in last.items()} == {
            key: p.quantity for key, p in whole.items() if key in last
        }


def test_what_is_missing_between_two_fills_is_taken_at_the_price_of_the_second():
    first, _, second = [fill for fill in FILLS if fill.client_id == "alice"][:3]
    position = replay([first, second])["alice", "AAPL"]
    assert position == (
        Position()
        .after(first.signed_quantity, first.price)
        .after(5, second.price)
        .after(second.signed_quantity, second.price)
    )
    assert position.quantity == second.position
