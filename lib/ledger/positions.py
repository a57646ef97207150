"""A position with its cost and its profit, moved by fills. Pure and exact.

Money is counted in whole units of 1e-8, as prices are, so amounts may have many digits: integers
inside, exact decimals as text.

The method is average cost. Opening adds the price paid to the cost. Closing removes a proportional
share of the cost; the proceeds beyond that share are realised profit.
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A client's position in one symbol with its realised profit. Money in units of 1e-8.

    `realised - cost` always equals the cash flow of all fills: minus the sum of signed quantity
    times price. So the profit of a flat position, whose cost is 0, is exact. While a position is
    open, only the split between cost and profit is rounded (half to even), by at most half a unit
    each time that a part is closed.
    """

    quantity: int = 0
    """The net quantity: above zero long, below zero short."""
    cost: int = 0
    """What was paid for the open position; below zero for a short one: what was received."""
    realised: int = 0
    """The profit of what was closed, below zero for a loss."""

    def after(self, signed_quantity: int, price: int) -> Position:
        """Return the position after a fill; `signed_quantity` is above zero for a buy."""
        held, cost, realised = self
        quantity = held + signed_quantity
        if held * signed_quantity > 0:
            return Position(quantity, cost + signed_quantity * price, realised)
        if held * quantity > 0:
            released = _rounded_quotient(cost * -signed_quantity, held)
            realised -= signed_quantity * price + released
            return Position(quantity, cost - released, realised)
        # The whole position is closed, and the rest of the fill opens a new one at its price.
        return Position(quantity, quantity * price, realised + held * price - cost)

    @property
    def average_price(self) -> int | None:
        """Cost per share, in units of 1e-8, rounded half to even; None when flat."""
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
