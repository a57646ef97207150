"""A position with its cost and its profit, moved by fills. Pure and exact.

Money is counted in whole units of 1e-8, as prices are, so it may be a number of 35 digits: pure
integers, and exact decimals where it becomes text.

The method is that of the average cost. What is opened costs what was paid for it. What is closed
takes its share of the cost with it, and what it brought in beyond that share is realised profit.
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """What a client holds of one symbol, and what it has earned with it. Money in units of 1e-8.

    `realised - cost` is always exactly what all fills together have brought in: minus the sum of
    signed quantity times price. So the profit of a flat position, whose cost is 0, is exact. While
    one is open, only the split between its cost and its profit is rounded (half to even), by at
    most half a unit each time that a part is closed.
    """

    quantity: int = 0
    """Net: above zero long, below zero short."""
    cost: int = 0
    """Paid for what is open; below zero for a short position: received for it."""
    realised: int = 0
    """Profit from what is closed, below zero a loss."""

    def after(self, signed_quantity: int, price: int) -> Position:
        """The position after a fill. The quantity is above zero if bought, below zero if sold."""
        held, cost, realised = self
        quantity = held + signed_quantity
        if held * signed_quantity > 0:
            return Position(quantity, cost + signed_quantity * price, realised)
        if held * quantity > 0:
            released = _rounded_quotient(cost * -signed_quantity, held)
            realised -= signed_quantity * price + released
            return Position(quantity, cost - released, realised)
        # All that was held is closed, and what goes beyond zero is opened at the same price.
        return Position(quantity, quantity * price, realised + held * price - cost)

    @property
    def average_price(self) -> int | None:
        """Cost of one, in units of 1e-8, rounded half to even; None when flat."""
        return _rounded_quotient(self.cost, self.quantity) if self.quantity else None


def _rounded_quotient(numerator: int, denominator: int) -> int:
    """Divide, and round half to even."""
    quotient, remainder = divmod(numerator, denominator)
    # The remainder has the denominator's sign, and the quotient is the floor.
    twice = 2 * abs(remainder)
    size = abs(denominator)
    if twice > size or (twice == size and quotient % 2 == 1):
        quotient += 1
    return quotient
