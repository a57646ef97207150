"""The plan of a refill: the ticks that fill the windows when a strategy attaches. Pure.

The ticks that are in the ring at that moment fill the windows and are not traded on. New ticks wait
until the refill is over. So the pace of the signal is judged after JUDGE_REFILL_NS; if the whole
refill would take longer than MAX_REFILL_NS, it begins again with the latest ticks only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lib.clock import SECOND_NS

JUDGE_REFILL_NS: Final = 1 * SECOND_NS
"""How long a refill runs before its total time is estimated."""
MAX_REFILL_NS: Final = 5 * SECOND_NS
"""How long a refill may take: the longer it lasts, the more ticks wait, and are too old to trade on
when they are evaluated. A signal that is too slow for the whole ring gets the latest part."""
LOG_REFILL_NS: Final = 5 * SECOND_NS
"""How often the progress of a long refill is logged."""


@dataclass(slots=True)
class Refill:
    """The ticks of a price book that fill the windows, and its progress. Times are monotonic ns."""

    begin: int
    """A position of the book. Ticks up to it are passed over."""
    end: int
    """The position of the newest tick when the strategy attached: later ones are evaluated."""
    began_ns: int
    filled: int = 0
    """How many ticks the signal has seen."""
    log_ns: int = field(init=False)
    """When to log the progress next."""

    def __post_init__(self) -> None:
        self.log_ns = self.began_ns + LOG_REFILL_NS

    @property
    def ticks(self) -> int:
        """How many ticks fill the windows, in all."""
        return self.end - self.begin

    def can_be_judged(self, now_ns: int) -> bool:
        """Whether it has lasted long enough to know the pace of the signal."""
        return now_ns >= self.began_ns + JUDGE_REFILL_NS

    def tick_ns(self, now_ns: int) -> float:
        """How long the signal takes a tick, in the mean; only once it has seen some."""
        return (now_ns - self.began_ns) / self.filled

    def left_s(self, now_ns: int) -> float:
        """How long the rest will take at this pace, in seconds; only once some are filled."""
        took_s = (now_ns - self.began_ns) / SECOND_NS
        return took_s * (self.ticks - self.filled) / self.filled

    def log_again(self, now_ns: int) -> None:
        """The progress has been logged: the next time is LOG_REFILL_NS from now."""
        self.log_ns = now_ns + LOG_REFILL_NS
