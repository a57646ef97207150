"""Positions and profit against plain exact arithmetic, and money as text."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from lib.ledger.positions import Position
from lib.prices import MAX_PRICE
from lib.wire.order_fields import MAX_INTEGER

quantities = st.one_of(st.integers(1, 12), st.integers(1, MAX_INTEGER))
prices = st.one_of(st.integers(1, 9), st.integers(1, MAX_PRICE))
fills = st.lists(st.tuples(st.sampled_from([1, -1]), quantities, prices), max_size=40)


class Account:
    """The same stated plainly: a fill first closes, then opens; fractions are kept or rounded."""

    def __init__(self, *, rounded: bool) -> None:
        self.quantity = 0
        self.cost = self.realised = Fraction(0)
        self.partial_closes = 0
        """Since it was last flat."""
        self._rounded = rounded

    def fill(self, side: int, quantity: int, price: int) -> None:
        closed = min(quantity, abs(self.quantity)) if side * self.quantity < 0 else 0
        if closed:
            share = self.cost * Fraction(closed, abs(self.quantity))
            if self._rounded:
                share = Fraction(round(share))  # of a Fraction: half to even
            self.cost -= share
            self.realised -= side * closed * price + share
            self.quantity += side * closed
            self.partial_closes = self.partial_closes + 1 if self.quantity else 0
        opened = quantity - closed
        self.quantity += side * opened
        self.cost += side * opened * price


@given(fills)
@example([(1, 3, 5), (1, 1, 1), (-1, 1, 9), (-1, 1, 9)])
@example([(1, 1, 1), (1, 1, 2), (-1, 1, 9)])
@example([(-1, 1, 2), (-1, 1, 3), (1, 1, 9)])
def test_positions_and_profit_equal_plain_exact_arithmetic(stream):
    position, rounded, exact = Position(), Account(rounded=True), Account(rounded=False)
    brought_in = 0
    for side, quantity, price in stream:
        position = position.after(side * quantity, price)
        rounded.fill(side, quantity, price)
        exact.fill(side, quantity, price)
        brought_in -= side * quantity * price
        assert position == (rounded.quantity, rounded.cost, rounded.realised)
        assert position.realised - position.cost == brought_in
        bound = Fraction(exact.partial_closes, 2)
        assert abs(position.cost - exact.cost) <= bound
        assert abs(position.realised - exact.realised) <= bound
        if position.quantity == 0:
            assert (position.cost, position.realised) == (0, brought_in)
            assert position.average_price is None
        else:
            assert position.average_price == round(Fraction(position.cost, position.quantity))
            assert position.average_price > 0


def test_a_profit_is_made_by_buying_low_and_selling_high():
    position = Position().after(10, 100).after(10, 200)
    assert position == Position(20, 3000, 0)
    assert position.average_price == 150
    assert position.after(-5, 180) == Position(15, 2250, 150)
    assert position.after(-30, 180) == Position(-10, -1800, 600)
