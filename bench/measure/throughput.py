"""The highest rate that a stack holds from end to end without a tick lost or lapped.

The first guess comes from a run with `rate = 0`, where the gateway goes as fast as the orderbook
takes the ticks. Then paced rates are tried, and the interval between the highest rate that held and
the lowest that did not is halved. A trial that can no longer hold ends at once, so that most of the
time goes into those that do. A rate at which a daemon gets so little time that the watchdog kills
it does not hold either; with many strategies on few cores that is the dashboard.

Published ticks are read from the gateway's state, evaluated ones from the decision logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace

from bench.errors import BenchError, RoleEndedError
from bench.measure.measured_stack import (
    MeasuredStack,
    Published,
    UsageMeter,
    measured_stack,
    settings_for,
)
from bench.plan import ThroughputRun
from bench.results import Recording, Throughput, Trial, Usage
from lib.clock import SECOND_NS
from lib.process.log_events import GATEWAY, ScheduleShifted
from lib.settings import MAX_RATE, Settings
from lib.stack.observer import EventFollower
from lib.trading.decision_log import DecisionReader

RING_TICKS: Final = 1 << 22
"""The size of the ring: half a second at 8 million ticks/s. The default ring lasts 33 ms at that
rate, so that any pause of the machine would lap a strategy."""
LOOK_S: Final = 0.05
WARM_UP_S: Final = 1.0
"""The time from the start of a schedule to the measurement."""
SETTLE_S: Final = 5.0
"""How long the remaining ticks of the previous trial may take to be evaluated."""
CATCH_UP_S: Final = 1.0
"""How long after a trial its last tick may take to be evaluated."""
END_LAG_S: Final = 0.25
"""How far, in seconds of ticks, a strategy may be behind at the end of a trial: one that is further
behind falls back and would be lapped later."""
PUBLISHED_SHARE: Final = 0.995
"""The least share of rate x time that the gateway must publish; ticks due at the ends may be
missing."""
RESOLUTION: Final = 1.05
"""The search ends when the lowest failed rate is at most this many times the highest held one."""
CONFIRMATIONS: Final = 3
"""How many rates are tried after the search, at most: those that held, then lower ones."""
STEP: Final = 1.2
"""The factor up or down while the search has no bound on that side; each step down is larger."""
UNPACED_S: Final = 2.0
"""How long `rate = 0` is measured for the first guess."""
FIRST_SHARE: Final = 0.85
"""The first guess as a share of the unpaced rate: a schedule leaves no room for a pause."""

Try = Callable[[float], "Attempt"]


class Attempt(NamedTuple):
    """A trial with the rate that was measured in it."""

    trial: Trial
    ticks_per_s: float
    """The rate of the slowest strategy, up to its last decision."""
    usage: tuple[Usage, ...]


class StrategyProgress(NamedTuple):
    """The progress of one strategy through the ticks of a trial."""

    evaluated: int
    last: int
    """The last evaluated tick."""
    gaps: int
    """How many ticks it left out up to `last`."""
    seconds: float
    """From the start of the count to the decision of `last`; 0 before there is one."""


class EvaluationCounter:
    """Counts the ticks that one strategy evaluates from a position of the tape on."""

    def __init__(self, reader: DecisionReader, begin: Published, begin_ns: int) -> None:
        """Count the ticks that come after `begin`, from `begin_ns` on.

        Raises BenchError if the strategy evaluates another tape.
        """
        if reader.tape != begin.tape:
            raise BenchError("a strategy evaluates another tape than the gateway's")
        self._reader = reader
        self._after = self._last = begin.last
        self._count = 0
        self._began_ns = self._ended_ns = begin_ns
        self.unseen = 0
        """How many records the bench itself was too slow to read."""

    def read(self) -> StrategyProgress:
        """Count what has been decided since the last call."""
        first, last, decided_ns, missed = self._reader.read()
        self.unseen += missed
        begin = int(np.searchsorted(last, self._after, "right"))
        if begin < len(last):
            begins = np.maximum(first[begin:], self._after + 1)
            self._count += int((last[begin:] - begins + 1).sum())
            self._last = int(last[-1])
            self._ended_ns = int(decided_ns[-1])
        gaps = self._last - self._after - self._count
        seconds = (self._ended_ns - self._began_ns) / SECOND_NS
        return StrategyProgress(self._count, self._last, gaps, seconds)


def count_from_now(stack: MeasuredStack) -> tuple[Published, list[EvaluationCounter]]:
    """Return the gateway's position, and a counter from there on for each strategy."""
    readers = stack.decision_readers()
    begin, begin_ns = stack.published(), time.monotonic_ns()
    return begin, [EvaluationCounter(reader, begin, begin_ns) for reader in readers]


def measure_throughput(run: ThroughputRun, found: Recording) -> None:
    """Search on a separate stack. Raises BenchError."""
    settings = unpaced(fast_settings(run.symbols))
    with measured_stack(settings, run.strategies) as stack:
        found.throughput.append(highest_rate(stack, run, found.gaps))


def unpaced(settings: Settings) -> Settings:
    """Return settings with which the gateway goes as fast as it can."""
    return replace(settings, gateway=replace(settings.gateway, rate=0.0))


def highest_rate(stack: MeasuredStack, run: ThroughputRun, gaps: list[str]) -> Throughput:
    """Search on a running stack, which is unpaced. If no rate holds, `gaps` says so.

    Raises BenchError.
    """
    time.sleep(WARM_UP_S)
    guess = evaluated_per_s(stack, UNPACED_S)

    def try_rate(rate: float) -> Attempt:
        return attempt(stack, rate, run.seconds)

    attempts = list(search(guess * FIRST_SHARE, run.trials, try_rate))
    attempts += confirm(attempts, try_rate)
    best = attempts[-1]
    trials = tuple(attempt.trial for attempt in attempts)
    if best.trial.held:
        return Throughput(run.symbols, run.strategies, best.ticks_per_s, trials, best.usage)
    where = f"throughput with {run.symbols} symbols and {run.strategies} strategies"
    gaps.append(f"{where}: no rate held twice")
    return Throughput(run.symbols, run.strategies, 0.0, trials, ())


def fast_settings(symbols: int) -> Settings:
    """Return settings for high rates: with a ring of RING_TICKS."""
    settings = settings_for(symbols)
    return replace(settings, price_book=replace(settings.price_book, ring_capacity=RING_TICKS))


def search(first: float, trials: int, try_rate: Try) -> Iterator[Attempt]:
    """Try rates, `first` to begin with, and close in on the highest that holds. Pure."""
    held, failed, down = 0.0, float("inf"), STEP
    rate = min(first, MAX_RATE)
    for _ in range(trials):
        found = try_rate(rate)
        yield found
        if found.trial.held:
            held = rate
        else:
            failed = rate
        if failed <= held * RESOLUTION or held == MAX_RATE:
            return
        if not held:
            rate = failed / down  # on a busy machine, the rate may be far below the guess
            down *= down
        elif failed == float("inf"):
            rate = min(held * STEP, MAX_RATE)
        else:
            rate = (held + failed) / 2


def confirm(attempts: list[Attempt], try_rate: Try) -> Iterator[Attempt]:
    """Try the rates that held once more, the highest first, until one holds again.

    Only that one counts: on a disturbed machine, a rate may hold once by luck. A lower one counts
    as well, because a higher one has held before it. Pure.
    """
    rates = sorted({a.trial.rate for a in attempts if a.trial.held}, reverse=True)
    if rates:
        rates += [rates[-1] / STEP**steps for steps in range(1, CONFIRMATIONS)]
    for rate in rates[:CONFIRMATIONS]:
        again = try_rate(rate)
        yield again
        if again.trial.held:
            return


def evaluated_per_s(stack: MeasuredStack, seconds: float) -> float:
    """Return the ticks/s of the slowest strategy of a stack, however far it is behind.

    Raises BenchError if it evaluates nothing.
    """
    readers = stack.decision_readers()
    anywhere = stack.published()._replace(last=0)
    counts = [EvaluationCounter(reader, anywhere, time.monotonic_ns()) for reader in readers]
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        time.sleep(LOOK_S)
        progress = [count.read() for count in counts]
    slowest = min(progress, key=lambda one: one.evaluated)
    if slowest.seconds <= 0:
        raise BenchError("nothing is evaluated")
    return slowest.evaluated / slowest.seconds


def attempt(stack: MeasuredStack, rate: float, seconds: float) -> Attempt:
    """Try one rate on a running stack. Raises BenchError."""
    stack.set_rate(rate)
    # The strategies catch up with the gateway first.
    _, counts = count_from_now(stack)
    give_up_s = time.monotonic() + SETTLE_S
    while time.monotonic() < give_up_s:
        time.sleep(LOOK_S)
        lag = stack.published().last - min(count.read().last for count in counts)
        if lag < rate * LOOK_S:
            break
    time.sleep(WARM_UP_S)
    with closing(EventFollower(stack.gateway_var_dir, [GATEWAY])) as log:
        try:
            return _attempt(stack, rate, seconds, log)
        except RoleEndedError as error:  # a rate holds only if it leaves every daemon time to run
            return Attempt(Trial(rate, seconds, 0, 0, held=False, why=str(error)), 0.0, ())


def _attempt(stack: MeasuredStack, rate: float, seconds: float, log: EventFollower) -> Attempt:
    meter = UsageMeter(stack)
    log.read()  # what was before the trial
    (_, begin), counts = count_from_now(stack)
    begin_ns = time.monotonic_ns()
    progress = [count.read() for count in counts]
    why = ""
    while (elapsed_s := (time.monotonic_ns() - begin_ns) / SECOND_NS) < seconds and not why:
        time.sleep(min(LOOK_S, seconds - elapsed_s))
        progress = [count.read() for count in counts]
        why = reason_not_held(progress, stack.published().last, rate)
        if any(count.unseen for count in counts):
            why = "the bench itself was too slow"
        if any(isinstance(seen.line.event, ScheduleShifted) for seen in log.read()):
            why = "the gateway was too late and shifted its schedule"
    end = stack.published().last
    behind = end - min(one.last for one in progress)
    if not why and behind > rate * END_LAG_S:
        why = f"{behind:,} ticks behind at the end"
    elapsed_s = (time.monotonic_ns() - begin_ns) / SECOND_NS
    usage = meter.read()
    if not why and end - begin < PUBLISHED_SHARE * rate * elapsed_s:
        why = f"the gateway published {(end - begin) / elapsed_s:,.0f} ticks/s only"
    give_up_s = time.monotonic() + CATCH_UP_S
    while not why and min(one.last for one in progress) < end:
        progress = [count.read() for count in counts]
        why = reason_not_held(progress, end, rate)
        if time.monotonic() > give_up_s:
            why = f"not all is evaluated {CATCH_UP_S:g} s later"
        time.sleep(LOOK_S)
    slowest = min(progress, key=lambda one: one.evaluated)
    trial = Trial(
        rate=rate,
        seconds=elapsed_s,
        published=end - begin,
        evaluated=min(slowest.evaluated, end - begin),
        held=not why,
        why=why,
    )
    ticks_per_s = slowest.evaluated / slowest.seconds if slowest.seconds > 0 else 0.0
    return Attempt(trial, ticks_per_s, usage)


def reason_not_held(progress: list[StrategyProgress], published: int, rate: float) -> str:
    """Return why a trial can no longer hold; "" if it can. Pure."""
    gaps = max(one.gaps for one in progress)
    if gaps > 0:
        return f"{gaps:,} ticks were lost or lapped"
    behind = published - min(one.last for one in progress)
    if behind > rate * CATCH_UP_S:
        return f"{behind:,} ticks behind"
    return ""
