"""What one seed showed."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Result(NamedTuple):
    """Of one world."""

    seed: int
    findings: list[str]
    faults: Counter[str]
    ticks: int
    orders: int
    events: Counter[str]
    trace: str
    """A digest of the history: the same each time."""
