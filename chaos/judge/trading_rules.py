"""The trading rules once more, in plain Python over exact integers, one tick after the other.

What the stack does is compared with this. So nothing here is shared with what the stack decides
with: no array, no running sum, no code of `lib`. It is slow, and easy to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["BUY", "SELL"]


@dataclass(frozen=True)
class Rules:
    """The rules with their settings. A test changes one to see that a comparison notices."""

    short_window: int
    long_window: int
    bullish_threshold: int
    bearish_threshold: int
    quantity: int

    def signal(self, prices: Sequence[int], sentiment: int | None) -> Side | None:
        """Say what the averages and the news agree on.

        `prices` are the last `long_window` prices of a symbol, the newest last, or fewer if there
        have been fewer; `sentiment` is the news in force, None for none.
        """
        trend = self.trend(prices)
        if sentiment is None or trend is None:
            return None
        if trend == "BUY":
            return "BUY" if sentiment > self.bullish_threshold else None
        return "SELL" if sentiment < self.bearish_threshold else None

    def trend(self, prices: Sequence[int]) -> Side | None:
        """Say whether the short average is above the long one, below it, or neither."""
        if len(prices) < self.long_window:
            return None
        # The two means, both multiplied with both windows: whole numbers only.
        short_mean = sum(prices[-self.short_window :]) * self.long_window
        long_mean = sum(prices) * self.short_window
        if short_mean == long_mean:
            return None
        return "BUY" if short_mean > long_mean else "SELL"

    def order_quantity(self, side: Side, position: int) -> int | None:
        """How much to order when holding `position`; None: there is such a position already."""
        if (position > 0) if side == "BUY" else (position < 0):
            return None
        return abs(self.position_after(side) - position)

    def position_after(self, side: Side) -> int:
        """The position that every order leads to."""
        return self.quantity if side == "BUY" else -self.quantity
