"""How long the brokers take to acknowledge a message."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

KEPT: Final = 1000
"""How many of the latest times count."""


class AcknowledgementTimes:
    """The times of the latest messages of one writer. Pure."""

    def __init__(self) -> None:
        self._latest_ns: deque[int] = deque(maxlen=KEPT)

    def add(self, took_ns: int) -> None:
        """Count a message that was acknowledged after this time."""
        self._latest_ns.append(took_ns)

    def quantiles_ns(self, *quantiles: float) -> list[int | None]:
        """Return the time that each of these shares of the messages took at most, None if none."""
        in_order = sorted(self._latest_ns)
        if not in_order:
            return [None for _ in quantiles]
        return [in_order[max(0, ceil(one * len(in_order)) - 1)] for one in quantiles]
