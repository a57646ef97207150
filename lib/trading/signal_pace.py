"""The pace of a signal: how many ticks fit into a pass, and whether it keeps up with them. Pure.

A user's code may be slow, or become slow, and the loop must keep running all the same, for the
heartbeat, orders, news and SIGTERM. If the signal takes one tick after the other, a pass ends
between two ticks when its time is up (`lib.trading.trader`). A batch cannot be interrupted, so it
needs the right size: `PassSize`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from lib.clock import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS

PASS_NS: Final = 50 * MILLISECOND_NS
"""How long a pass may take; then it ends, after the tick or the batch that it has begun."""
FIRST_PASS_TICKS: Final = 16
"""The size of a pass while the pace of the signal is not known."""
SINGLE_TICKS_A_PASS: Final = 1_024
"""The size of a pass of a signal that takes one tick after the other. Ticks that it does not get to
are read again in the next pass."""
MOST_GROWTH: Final = 4
"""The factor by which a pass may be larger than the one before."""
OVERRUN_NS: Final = 2 * PASS_NS
"""A pass of a signal that takes batches, if it took longer, is assumed to have met a slow tick.

A process that was stopped for so long looks the same. It then gets single ticks for a while, which
costs a microsecond a tick, and only if ticks wait. Without this assumption, a signal that needs a
second for one tick in a hundred would get large batches again and again, and be killed for each."""

WINDOW_NS: Final = SECOND_NS
BEHIND_NS: Final = SECOND_NS
"""How old the newest evaluated tick may be before the signal counts as behind."""
LOG_AGAIN_NS: Final = 10 * SECOND_NS


class PassSize:
    """How many ticks the next pass reads. One a process of a strategy.

    It grows and shrinks with the duration of the last pass. A signal that takes batches and has
    overrun gets single ticks, with the same results, until it has taken `most` ticks without
    another overrun: some ticks are slow for it, and a batch may hold many of them.
    """

    def __init__(self, *, takes_batches: bool, most: int, most_single: int) -> None:
        """`most` ticks a pass at most; up to `most_single` of them are not passed as a batch."""
        self._adapts = takes_batches
        self._most = most
        self._most_single = most_single
        self._single_for = 0  # ticks to come
        self.ticks = FIRST_PASS_TICKS if takes_batches else SINGLE_TICKS_A_PASS

    def restart(self) -> None:
        """Forget the pace: the next ticks may take another time than those before."""
        if self._adapts:
            self.ticks = min(self.ticks, FIRST_PASS_TICKS)

    def passed(self, ticks: int, took_ns: int) -> None:
        """Take the duration of a pass over so many ticks."""
        if not self._adapts:
            return
        fit = ticks * PASS_NS // max(1, took_ns)
        if took_ns > OVERRUN_NS:
            self._single_for = self._most
        elif self._single_for:
            self._single_for = max(0, self._single_for - ticks)
        most = self._most_single if self._single_for else self._most
        self.ticks = max(1, min(fit, self.ticks * MOST_GROWTH, most))


class TooSlow(NamedTuple):
    """The pace of a signal that is too slow, and that of its ticks. `str()` is human-readable."""

    signal_ns: int
    """Mean time of the signal a tick."""
    tick_interval_ns: int
    """Mean time between the ticks that wait."""
    behind_ns: int
    """How old the newest tick was when it was evaluated."""

    def __str__(self) -> str:
        catches_up = "catching up, " if self.signal_ns < self.tick_interval_ns else ""
        return (
            f"the signal takes {duration_text(self.signal_ns)} a tick, "
            f"ticks come every {duration_text(self.tick_interval_ns)}: "
            f"{catches_up}{self.behind_ns / SECOND_NS:.1f} s behind"
        )


class SignalPace:
    """Whether a signal keeps up with its ticks, window by window. One a strategy.

    It does not if ticks wait, the newest evaluated tick is over BEHIND_NS old, and the signal was
    busy for at least half of the window.
    """

    def __init__(self, count_waiting: Callable[[], int]) -> None:
        """`count_waiting()` returns how many ticks have not been evaluated yet."""
        self.too_slow: TooSlow | None = None
        """The pace that was logged last; None while the signal keeps up."""
        self._count_waiting = count_waiting
        self._begin_ns = 0
        """When the window began; 0 before the first pass."""
        self._ticks = 0
        self._busy_ns = 0
        self._log_ns = 0

    def evaluated(self, ticks: int, began_ns: int, ended_ns: int, newest_sent_ns: int) -> bool:
        """Take a pass. Returns whether it ends a window after which `too_slow` is to be logged."""
        if not self._begin_ns:
            self._begin_ns = began_ns
        self._ticks += ticks
        self._busy_ns += ended_ns - began_ns
        if ended_ns - self._begin_ns < WINDOW_NS:
            return False
        signal_ns = self._busy_ns // self._ticks
        is_busy = 2 * self._busy_ns >= ended_ns - self._begin_ns
        self._begin_ns, self._ticks, self._busy_ns = ended_ns, 0, 0
        behind_ns = ended_ns - newest_sent_ns
        waiting = self._count_waiting() if behind_ns > BEHIND_NS else 0
        if not waiting:
            return self.caught_up()
        if not is_busy or ended_ns < self._log_ns:
            return False
        self._log_ns = ended_ns + LOG_AGAIN_NS
        self.too_slow = TooSlow(signal_ns, behind_ns // waiting, behind_ns)
        return True

    def caught_up(self) -> bool:
        """Note that no tick waits. Returns whether to log that the signal keeps up again."""
        was_slow, self.too_slow = self.too_slow is not None, None
        return was_slow


def duration_text(ns: int) -> str:
    """Return "312 µs" or "4.20 ms": three figures, in the largest unit below the duration."""
    units = (("s", SECOND_NS), ("ms", MILLISECOND_NS), ("µs", MICROSECOND_NS))
    unit, unit_ns = next((one for one in units if ns >= one[1]), units[-1])
    value = ns / unit_ns
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f} {unit}"
