"""A storm: random faults of all kinds, one after another and overlapping, while the stack trades.

The long test. Roles are killed, terminated, frozen and paused, one at a time and all at once;
clients stop reading or send garbage; connections are reset, closed, left half-open, blackholed,
slowed down and cut into single bytes. A fault is skipped, and counted as skipped, if its role has
only just started or is already under a process fault. Expected: no tick is missed at the book,
no order is lost or doubled, and the stack is steady afterwards.

A storm over a running stack leaves out the faults that need a proxy in a connection. Wrong bytes
(corrupt_feed.py) and the death of supervisord (kill_everything.py) have experiments of their own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.proxy import Proxy, proxied
from chaos.lab.experiment import RECOVERY_S, Experiment, RoundContext, command_line, run_experiment
from chaos.lab.figures import STRATEGY
from chaos.lab.recorder import Event, SeenEvaluation
from chaos.lab.target import TargetStack, known_roles
from chaos.storms.planned_faults import (
    PLAIN_KINDS,
    PROXY_KINDS,
    FaultKind,
    PlannedFault,
    plan_storm,
)
from chaos.storms.runner import InjectedFault, StormRunner
from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns
from lib.process.log_events import EvaluationStarted, OrderSent
from lib.streams.stream_client import SILENCE_LIMIT_NS

MIN_MINUTES: Final = 0.2
"""Longer than the longest wait for the first planned fault, whatever the seed."""
MAX_MINUTES: Final = 24 * 60.0
STALE_NS: Final = 100 * MILLISECOND_NS
"""A time without an evaluated tick that is longer than this is recorded as stale."""
LONG_STALE_NS: Final = SECOND_NS
"""The table counts the stale times that are longer than this."""
STALE_MARGIN_NS: Final = 15 * SECOND_NS
"""How long the strategy may evaluate nothing, on top of the time to detect a freeze and a silent
connection. Generous: the next fault may hit a role before it has recovered from the last one."""
ENOUGH_PLANNED: Final = 3
"""A fault kind that was planned this often must have been injected at least once."""


class Stretch(NamedTuple):
    """A time in which the strategy evaluated no tick."""

    begin_ns: int
    """Time since the start of the storm."""
    length_ns: int


@dataclass
class StormOutcome:
    """What happened in one storm. Times are monotonic, except in `stale`."""

    planned: list[PlannedFault]
    begin_ns: int
    last_fault_ns: int = 0
    """When the lab last began or ended a fault."""
    end_ns: int = 0
    """When the stack was steady again."""
    injected_faults: list[InjectedFault] = field(default_factory=list)
    skipped: list[PlannedFault] = field(default_factory=list)
    stale: list[Stretch] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    """Ticks evaluated in each second of the storm."""
    orders: list[int] = field(default_factory=list)
    """Orders sent in each second of the storm."""


class Storm(Experiment):
    """Runs `times` storms, each with its own plan."""

    name = "storm"
    hypothesis = (
        "under any mix of faults no tick is missed at the book, no order is lost or doubled, and "
        "the stack is steady again afterwards"
    )
    roles = known_roles()

    def __init__(self, minutes: float, times: int) -> None:
        self.title = f"a storm of {minutes:g} min, {times} times"
        self.rounds = times
        self.outcomes: list[StormOutcome] = []
        self._minutes = minutes
        self._hang_after_ns = 0
        self._runner: StormRunner | None = None
        self._proxies: dict[str, Proxy] = {}

    @contextmanager
    def prepared(self, target: TargetStack) -> Iterator[None]:
        """Put a proxy into each connection of a private stack; change nothing on a running one."""
        self._hang_after_ns = to_ns(target.settings.watchdog.hang_after)
        if not target.private:
            print("no proxy is in its connections: connection faults are left out", flush=True)
            yield
            return
        with proxied(target) as self._proxies:
            yield

    def run_round(self, context: RoundContext, number: int) -> None:
        """Run one storm."""
        pids = {role: p.pid for role, p in context.target.wait_until_steady().items()}
        kinds = (*PLAIN_KINDS, *(PROXY_KINDS if self._proxies else ()))
        planned = plan_storm(context.random, self._minutes, kinds, sorted(pids))
        runner = self._runner = StormRunner(context, self._proxies, pids)
        outcome = StormOutcome(planned, begin_ns := time.monotonic_ns())
        outcome.injected_faults, outcome.skipped = runner.injected_faults, runner.skipped
        self.outcomes.append(outcome)
        try:
            runner.run(planned)
            outcome.last_fault_ns = runner.last_change_ns
            runner.wait_until_over(self.recovery_limit_ns)
            context.target.wait_until_steady()
        finally:
            runner.undo()
            end_ns = outcome.end_ns = time.monotonic_ns()
            recording = context.recorder.recording
            events, evaluated = list(recording.events), list(recording.evaluated)
            outcome.stale = stale_stretches(evaluated, begin_ns, end_ns)
            outcome.evaluated = evaluated_per_s(events, evaluated, begin_ns, end_ns)
            outcome.orders = orders_per_s(events, begin_ns, end_ns)

    def put_back(self) -> None:
        """Undo the faults of the current storm, if there is one."""
        if self._runner:
            self._runner.undo()

    @property
    def recovery_limit_ns(self) -> int:
        """How long the stack may take to be steady again after the last fault."""
        return self._hang_after_ns + to_ns(RECOVERY_S)

    @property
    def stale_limit_ns(self) -> int:
        """The longest time the strategy may go without evaluating a tick."""
        return self._hang_after_ns + SILENCE_LIMIT_NS + STALE_MARGIN_NS

    def table(self) -> list[str]:
        """List each fault kind with how often it was injected, and where."""
        lines = [f"{'fault':<28}{'times':>6}{'skipped':>9}  of which"]
        skipped = Counter(fault.kind for outcome in self.outcomes for fault in outcome.skipped)
        for kind in self._planned():
            on = Counter(f.victim for f in self._injected() if f.planned.kind is kind)
            victims = ", ".join(f"{victim} {count}" for victim, count in sorted(on.items()))
            lines.append(f"{kind:<28}{on.total():>6}{skipped[kind]:>9}  {victims}".rstrip())
        stale_ns = [stretch.length_ns for outcome in self.outcomes for stretch in outcome.stale]
        longer = sum(ns > LONG_STALE_NS for ns in stale_ns)
        return [
            *lines,
            "",
            f"without an evaluated tick: {_s(max(stale_ns, default=0))} at the longest, "
            f"{longer} times more than {_s(LONG_STALE_NS)}",
            f"orders sent in the storm: {sum(sum(outcome.orders) for outcome in self.outcomes)}",
        ]

    def reasons(self) -> list[str]:
        """Check the recovery time, the stale times, and that enough faults were injected."""
        reasons = [
            f"storm {number}: {reason}"
            for number, outcome in enumerate(self.outcomes, 1)
            for reason in self._reasons_of(outcome)
        ]
        done = {fault.planned.kind for fault in self._injected()}
        return reasons + [
            f"{kind}: planned {count} times, and never done"
            for kind, count in self._planned().items()
            if count >= ENOUGH_PLANNED and kind not in done
        ]

    def _reasons_of(self, outcome: StormOutcome) -> Iterator[str]:
        done, skipped = len(outcome.injected_faults), len(outcome.skipped)
        if not done or skipped > done:
            yield f"proves little: {done} faults were done, {skipped} skipped"
        recovery_ns = outcome.end_ns - outcome.last_fault_ns
        if recovery_ns > self.recovery_limit_ns:
            yield (
                f"steady {_s(recovery_ns)} after the last fault, the limit is "
                f"{_s(self.recovery_limit_ns)}"
            )
        for begin_ns, length_ns in outcome.stale:
            if length_ns > self.stale_limit_ns:
                yield (
                    f"from {_s(begin_ns)} on the strategy evaluated no tick for {_s(length_ns)}, "
                    f"the limit is {_s(self.stale_limit_ns)}"
                )

    def _injected(self) -> list[InjectedFault]:
        return [fault for outcome in self.outcomes for fault in outcome.injected_faults]

    def _planned(self) -> dict[FaultKind, int]:
        """Count how often each kind was planned."""
        counts = Counter(fault.kind for outcome in self.outcomes for fault in outcome.planned)
        return {kind: counts[kind] for kind in FaultKind if kind in counts}

    def figures(self) -> dict[str, Any]:
        """Return all faults and what the strategy did; times count from the start of the storm."""
        return {"minutes": self._minutes, "storms": [_to_figures(one) for one in self.outcomes]}


def _to_figures(outcome: StormOutcome) -> dict[str, Any]:
    return {
        "gusts": [
            {
                "kind": fault.planned.kind.name.lower(),
                "victim": fault.victim,
                "to": _direction(fault.planned),
                "begin_ns": fault.begin_ns - outcome.begin_ns,
                "end_ns": (fault.end_ns or outcome.end_ns) - outcome.begin_ns,
            }
            for fault in outcome.injected_faults
        ],
        "skipped": dict(Counter(fault.kind.name.lower() for fault in outcome.skipped)),
        "last_gust_ns": outcome.last_fault_ns - outcome.begin_ns,
        "steady_ns": outcome.end_ns - outcome.begin_ns,
        "stale": [stretch._asdict() for stretch in outcome.stale],
        "evaluated_per_s": outcome.evaluated,
        "orders_per_s": outcome.orders,
    }


def _direction(fault: PlannedFault) -> str | None:
    to = fault.connection_fault.to.name if fault.connection_fault else None
    return to.lower() if to else None


def stale_stretches(
    evaluated: Iterable[SeenEvaluation], begin_ns: int, end_ns: int
) -> list[Stretch]:
    """Return the times without an evaluated tick that are longer than `STALE_NS`."""
    inside = [e.at_ns for e in evaluated if begin_ns < e.at_ns < end_ns]
    return [
        Stretch(a - begin_ns, b - a)
        for a, b in pairwise([begin_ns, *inside, end_ns])
        if b - a > STALE_NS
    ]


def evaluated_per_s(
    events: Iterable[Event], evaluated: Sequence[SeenEvaluation], begin_ns: int, end_ns: int
) -> list[int]:
    """Return how many ticks the strategy evaluated in each second.

    Its state file shows only the last evaluated tick. Where a step in that number spans a restart,
    the ticks that the new instance reports as missed are subtracted.
    """
    missed = {
        (what.tape, what.first_evaluated): what.first_evaluated - what.last_evaluated - 1
        for _, source, what in events
        if source == STRATEGY and isinstance(what, EvaluationStarted) and what.last_evaluated
    }
    counts = [0] * _seconds(begin_ns, end_ns)
    for a, b in pairwise(evaluated):
        if a.tape == b.tape and begin_ns <= b.at_ns < end_ns:
            step = range(a.sequence + 1, b.sequence + 1)
            count = len(step) - sum(missed.get((b.tape, number), 0) for number in step)
            counts[(b.at_ns - begin_ns) // SECOND_NS] += count
    return counts


def orders_per_s(events: Iterable[Event], begin_ns: int, end_ns: int) -> list[int]:
    """Return how many orders the strategy sent in each second."""
    counts = [0] * _seconds(begin_ns, end_ns)
    for at_ns, source, what in events:
        is_order = source == STRATEGY and isinstance(what, OrderSent)
        if is_order and begin_ns <= at_ns < end_ns:
            counts[(at_ns - begin_ns) // SECOND_NS] += 1
    return counts


def _seconds(begin_ns: int, end_ns: int) -> int:
    return -(-(end_ns - begin_ns) // SECOND_NS)


def _s(duration_ns: int) -> str:
    return f"{duration_ns / SECOND_NS:.3g} s"


def minutes(text: str) -> float:
    """Parse the length of a storm in minutes. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not MIN_MINUTES <= number <= MAX_MINUTES:
        raise argparse.ArgumentTypeError(
            f"must be a number from {MIN_MINUTES:g} to {MAX_MINUTES:g}, got {text!r}"
        )
    return number


def main() -> int:
    """Run the experiment; return the exit code."""
    parser = command_line(Storm.name, __doc__, times=1)
    text = "how long each storm lasts (default: 2)"
    parser.add_argument("--minutes", metavar="N", type=minutes, default=2.0, help=text)
    arguments = parser.parse_args()
    return run_experiment(Storm(arguments.minutes, arguments.times), arguments)


if __name__ == "__main__":
    sys.exit(main())
