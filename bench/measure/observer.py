"""Observes a running stack and joins each tick with the time at which each strategy decided it.

The ticks come from the ring of the price book, the decisions from the strategies' decision logs,
the rest from the roles' logs. All of it is in shared memory or in files, so the stack never waits
for the observer; it only shares the cores with it.

`join_decisions` and the functions below it are pure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.measure.measured_stack import MeasuredStack
from bench.results import LatencyDistribution
from lib.clock import SECOND_NS
from lib.process.log_events import (
    GATEWAY,
    STRATEGY,
    FillReported,
    OrderSent,
    RejectionReported,
    ScheduleShifted,
    ScheduleStarted,
)
from lib.stack.observer import BookFollower, EventFollower
from lib.trading.decision_log import Decided, decided_at

LOOK_S: Final = 0.025
"""How often the stack is read: often enough that neither the ring of the price book nor the
decision logs lap the observer at the highest rate."""
LAST_S: Final = 1.0
"""How long after the observed time its last ticks may take to be decided, and its last orders to be
answered."""


class LoggedSchedule(NamedTuple):
    """The schedule of the gateway, by its event `schedule_started`."""

    rate: float
    start_ns: int
    first: int

    def shifted(self, by_ns: int) -> LoggedSchedule:
        """Return the schedule after a `schedule_shifted`."""
        return self._replace(start_ns=self.start_ns + by_ns)

    def intended_ns(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when each tick was due."""
        periods = sequences - (self.first - 1)
        return self.start_ns + (periods * (SECOND_NS / self.rate)).astype(np.int64)


class Observation(NamedTuple):
    """The ticks that were published during the observed time, with their times."""

    published: int
    seconds: float
    sequences: NDArray[np.int64]
    """The ticks that every strategy has decided; `sent_ns` and `decided_ns` are of these ticks."""
    sent_ns: NDArray[np.int64]
    decided_ns: NDArray[np.int64]
    """When the last strategy decided each tick."""
    schedule: LoggedSchedule
    shifted_ns: int
    """By how much the schedule was shifted during the observation; later ticks are due later."""
    to_report_ns: NDArray[np.int64]
    """The time from SENT_NS of its tick to the execution report, for each order of the first
    strategy."""
    unanswered: int
    """How many orders had no execution report LAST_S after the end."""

    @property
    def missed(self) -> int:
        """How many of the published ticks were not decided by every strategy."""
        return self.published - len(self.sequences)

    @property
    def from_sent(self) -> LatencyDistribution:
        """The times from SENT_NS to the decision. Raises BenchError if there are no ticks."""
        return self._until_decided(self.sent_ns)

    @property
    def from_intended(self) -> LatencyDistribution:
        """The times from when a tick was due to the decision. Raises BenchError as `from_sent`."""
        return self._until_decided(self.schedule.intended_ns(self.sequences))

    def _until_decided(self, from_ns: NDArray[np.int64]) -> LatencyDistribution:
        if not len(self.sequences):
            raise BenchError("not a single tick was seen from its sending to its decision")
        return LatencyDistribution.of(self.decided_ns - from_ns)


def observe(stack: MeasuredStack, seconds: float) -> Observation:
    """Observe a running stack for `seconds`. Raises BenchError."""
    with closing(_TickObserver(stack)) as observer:
        begin, begin_ns = stack.published(), time.monotonic_ns()
        observer.until(begin_ns / SECOND_NS + seconds)
        end, end_ns = stack.published(), time.monotonic_ns()
        if end.tape != begin.tape or end.last == begin.last:
            raise BenchError("the gateway published no tick of the tape that was observed")
        observer.until_settled(end.last)
        return observer.observation(begin.last, end.last, (end_ns - begin_ns) / SECOND_NS, end.tape)


class _TickObserver:
    """Collects ticks, decisions and events until it is closed."""

    def __init__(self, stack: MeasuredStack) -> None:
        """Raises BenchError if the stack has no price book or decision log."""
        self._book = BookFollower(stack.settings.price_book.name)
        if not self._book.attach(time.monotonic_ns(), earlier_ticks=0):
            reason = self._book.problem or "there is none of its name"
            raise BenchError(f"the stack has no price book: {reason}")
        self._decision_readers = stack.decision_readers()
        self._gateway_log = EventFollower(
            stack.gateway_var_dir, [GATEWAY], earlier_bytes=sys.maxsize
        )
        self._strategy_log = EventFollower(stack.settings.var_dir, [STRATEGY])
        self._sequences: list[NDArray[np.int64]] = []
        self._sent_ns: list[NDArray[np.int64]] = []
        self._decisions: list[list[Decided]] = [[] for _ in self._decision_readers]
        self._ticks_missed = 0
        self._decisions_missed = 0
        self._schedule: LoggedSchedule | None = None
        self._shifted_ns = 0
        self._ordered: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._look_at_logs()
        if self._schedule:  # earlier shifts are part of the schedule
            self._schedule = self._schedule.shifted(self._shifted_ns)
        self._shifted_ns = 0

    def until(self, end_s: float) -> None:
        """Observe until this time."""
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left_s))
            self._look()

    def until_settled(self, last: int) -> None:
        """Observe until `last` is decided by all and every order is answered, at most LAST_S."""
        give_up_s = time.monotonic() + LAST_S
        while time.monotonic() < give_up_s:
            self._look()
            newest = [int(parts[-1].last[-1]) if parts else 0 for parts in self._decisions]
            if min(newest) >= last and self._ordered.keys() <= self._answered.keys():
                return
            time.sleep(LOOK_S)

    def observation(self, after: int, last: int, seconds: float, tape: str) -> Observation:
        """Return the observation of the ticks after `after`, up to `last`.

        Raises BenchError if the observer itself missed something, which would look like ticks lost
        by the stack.
        """
        if self._ticks_missed or self._decisions_missed:
            raise BenchError(
                f"the observer itself was too slow for {self._ticks_missed:,} ticks and "
                f"{self._decisions_missed:,} decisions"
            )
        if self._schedule is None:
            raise BenchError("the gateway has not said when its schedule began")
        if any(reader.tape != tape for reader in self._decision_readers):
            raise BenchError("a strategy evaluated another tape than the gateway's")
        decisions = [join_decisions(parts) for parts in self._decisions]
        sequences, sent_ns = _joined(self._sequences), _joined(self._sent_ns)
        inside = (sequences > after) & (sequences <= last)
        sequences, sent_ns = sequences[inside], sent_ns[inside]
        decided_ns = decided_by_all(sequences, decisions)
        known = decided_ns > 0
        return Observation(
            last - after,
            seconds,
            sequences[known],
            sent_ns[known],
            decided_ns[known],
            self._schedule,
            self._shifted_ns,
            to_report_ns(sequences, sent_ns, self._ordered, self._answered),
            len(self._ordered.keys() - self._answered.keys()),
        )

    def _look(self) -> None:
        while True:
            batch = self._book.read()
            if batch.missed:
                self._ticks_missed += batch.missed[1] - batch.missed[0] + 1
            if not len(batch.ticks):
                break
            self._sequences.append(batch.ticks["sequence"].copy())
            self._sent_ns.append(batch.ticks["sent_ns"].copy())
        for reader, parts in zip(self._decision_readers, self._decisions, strict=True):
            decided = reader.read()
            self._decisions_missed += decided.missed
            if len(decided.last):
                parts.append(decided)
        self._look_at_logs()

    def _look_at_logs(self) -> None:
        while seen := (*self._gateway_log.read(), *self._strategy_log.read()):
            for _, _, line in seen:
                match line.event:
                    case ScheduleStarted(stream="price", rate=rate, start_ns=start_ns, first=first):
                        self._schedule = LoggedSchedule(rate, start_ns, first)
                        self._shifted_ns = 0  # the shifts before were of another schedule
                    case ScheduleShifted(stream="price", shift_ns=shift_ns):
                        self._shifted_ns += shift_ns
                    case OrderSent(order_id=order_id, tick_sequence=tick):
                        self._ordered[order_id] = tick
                    case (
                        FillReported(answered_ns=int(at_ns), order_id=order_id)
                        | RejectionReported(answered_ns=int(at_ns), order_id=order_id)
                    ):
                        self._answered[order_id] = at_ns

    def close(self) -> None:
        """Close everything that is read."""
        self._book.let_go()
        self._gateway_log.close()
        self._strategy_log.close()


def join_decisions(parts: Sequence[Decided]) -> Decided:
    """Concatenate the decisions of one strategy from several reads."""
    return Decided(
        _joined([part.first for part in parts]),
        _joined([part.last for part in parts]),
        _joined([part.decided_ns for part in parts]),
        sum(part.missed for part in parts),
    )


def decided_by_all(
    sequences: NDArray[np.int64], strategies: Sequence[Decided]
) -> NDArray[np.int64]:
    """Return when the last strategy decided each tick, 0 if not all strategies did."""
    decided_ns = np.array([decided_at(sequences, decisions) for decisions in strategies])
    latest: NDArray[np.int64] = np.where((decided_ns > 0).all(0), decided_ns.max(0), 0)
    return latest


def to_report_ns(
    sequences: NDArray[np.int64],
    sent_ns: NDArray[np.int64],
    ordered: dict[int, int],
    answered: dict[int, int],
) -> NDArray[np.int64]:
    """Return how long each order took, from the sending of its tick to its answer.

    `ordered` has the tick of each order_id, `answered` the time of its answer. Unanswered orders,
    and orders of other ticks, are left out.
    """
    both = [order_id for order_id in ordered if order_id in answered]
    ticks = np.array([ordered[order_id] for order_id in both], np.int64)
    ends_ns = np.array([answered[order_id] for order_id in both], np.int64)
    if not len(sequences):
        return np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(sequences, ticks), len(sequences) - 1)
    times_ns: NDArray[np.int64] = (ends_ns - sent_ns[at])[sequences[at] == ticks]
    return times_ns


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
