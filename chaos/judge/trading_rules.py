"""An independent implementation of the trading rules, in plain Python over exact integers.

The stack's orders are compared with it. So it shares nothing with the stack: no array, no running
sum, no code of `lib`. It is slow and easy to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["BUY", "SELL"]


@dataclass(frozen=True)
class Rules:
    """The trading rules with their settings."""

    short_window: int
    long_window: int
    bullish_threshold: int
    bearish_threshold: int
    quantity: int

    def signal(self, prices: Sequence[int], sentiment: int | None) -> Side | None:
        """Return the side on which the averages and the news agree; None if they do not.

        `prices` are the last `long_window` prices of a symbol, newest last, or all if there are
        fewer; `sentiment` is the current news, None for none.
        """
        trend = self.trend(prices)
        if sentiment is None or trend is None:
            return None
        if trend == "BUY":
            return "BUY" if sentiment > self.bullish_threshold else None
        return "SELL" if sentiment < self.bearish_threshold else None

    def trend(self, prices: Sequence[int]) -> Side | None:
        """Return BUY if the short average is above the long one, SELL if below, else None."""
        if len(prices) < self.long_window:
            return None
        # Both means multiplied by both windows, so that they stay integers.
        short_mean = sum(prices[-self.short_window :]) * self.long_window
        long_mean = sum(prices) * self.short_window
        if short_mean == long_mean:
            return None
        return "BUY" if short_mean > long_mean else "SELL"

    def order_quantity(self, side: Side, position: int) -> int | None:
        """Return the quantity to order at this position; None if it is on that side already."""
        if (position > 0) if side == "BUY" else (position < 0):
            return None
        return abs(self.position_after(side) - position)

    def position_after(self, side: Side) -> int:
        """Return the position after an order of this side."""
        return self.quantity if side == "BUY" else -self.quantity
