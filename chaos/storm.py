"""A storm: random faults of all kinds, one after another and overlapping, while the stack trades.

The long test. Roles are killed, asked to end, frozen and paused, one at a time and all at once;
clients stop reading or send garbage; connections are reset, closed, left half-open, silenced,
slowed down and cut into single bytes, in one direction or in both. A role younger than 2 s is not
hit, nor one that is under another fault of its process: such a gust is skipped and counted.
Expected: no tick missed, no order lost or doubled, and the stack is steady again afterwards.

Where a stack runs, it is done to that one, without the faults that need a proxy in a connection;
else to a private one, with all of them. Left to other experiments are wrong bytes, as a plausible
wrong price cannot be told from a right one (corrupt_feed.py), and the end of supervisord, from
which nobody recovers by himself (kill_everything.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.proxied_stack import proxied
from chaos.faults.proxy import Proxy
from chaos.lab.experiment import RECOVERY_S, Experiment, RoundContext, command_line, run
from chaos.lab.figures import STRATEGY
from chaos.lab.recorder import Event, SeenEvaluation, StackRecording
from chaos.lab.target import TargetStack, known_roles
from chaos.storms.planned_faults import (
    PLAIN_KINDS,
    PROXY_KINDS,
    FaultKind,
    PlannedFault,
    RoleInstances,
    plan,
)
from chaos.storms.runner import InjectedFault, StormRunner
from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns
from lib.streams.client import SILENCE_LIMIT_NS

DEFAULT_MINUTES: Final = 2.0
MIN_MINUTES: Final = 0.2
"""Longer than it can take until the first gust, whatever the seed."""
MAX_MINUTES: Final = 24 * 60.0
STALE_NS: Final = 100 * MILLISECOND_NS
"""A longer time without an evaluated tick is told, with its place in the storm."""
LONG_STALE_NS: Final = SECOND_NS
"""A longer one is counted in the table."""
STALE_MARGIN_NS: Final = 15 * SECOND_NS
"""How long the strategy may stand still beyond the times in which a freeze and a silence are
noticed. Generous: what one gust has stopped, the next one may stop before it has recovered."""
ENOUGH_GUSTS: Final = 3
"""A kind that was planned so often must have been done: not each of them was skipped."""


class Stretch(NamedTuple):
    """A time in which the strategy evaluated no tick."""

    begin_ns: int
    """From the beginning of the storm."""
    length_ns: int


@dataclass
class StormOutcome:
    """What a storm came to. Times are monotonic but for those of `stale`."""

    planned: list[PlannedFault]
    begin_ns: int
    last_gust_ns: int = 0
    """When the last gust was over, or had begun where others see to its end."""
    end_ns: int = 0
    """When the stack was steady again."""
    hits: list[InjectedFault] = field(default_factory=list)
    skipped: list[PlannedFault] = field(default_factory=list)
    stale: list[Stretch] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    """Ticks, in each second."""
    orders: list[int] = field(default_factory=list)
    """Sent, in each second."""


class Storm(Experiment):
    """`times` storms, each with a plan of its own."""

    name = "storm"
    hypothesis = (
        "whatever comes, and however much at once: no tick is missed, no order is lost or doubled, "
        "and the stack is steady again afterwards"
    )
    roles = known_roles()

    def __init__(self, minutes: float, times: int) -> None:
        self.title = f"a storm of {minutes:g} min, {times} times"
        self.rounds = times
        self.outcomes: list[StormOutcome] = []
        self._minutes = minutes
        self._hang_after_ns = 0
        self._weather: StormRunner | None = None
        self._proxies: dict[str, Proxy] = {}

    @contextmanager
    def prepared(self, target: TargetStack) -> Iterator[None]:
        """Give a private stack a proxy in each connection; another one is left as it is."""
        self._hang_after_ns = to_ns(target.settings.watchdog.hang_after)
        if not target.private:
            print("no proxy is in its connections: without the faults of these", flush=True)
            yield
            return
        with proxied(target) as self._proxies:
            yield

    def round(self, stage: RoundContext, number: int) -> None:
        """One storm."""
        pids = {role: p.pid for role, p in stage.target.wait_until_steady().items()}
        kinds = (*PLAIN_KINDS, *(PROXY_KINDS if self._proxies else ()))
        planned = plan(stage.random, self._minutes, kinds, sorted(pids))
        weather = self._weather = StormRunner(stage, self._proxies, RoleInstances(pids))
        outcome = StormOutcome(
            planned, time.monotonic_ns(), hits=weather.hits, skipped=weather.skipped
        )
        self.outcomes.append(outcome)
        try:
            weather.blow(planned)
            outcome.last_gust_ns = weather.last_ns
            weather.calm_down(self.recovery_limit_ns)
            stage.target.wait_until_steady()
        finally:
            weather.undo()
            outcome.end_ns = time.monotonic_ns()
            take_figures(outcome, stage.recorder.recording)

    def put_back(self) -> None:
        """End the storm that is going on, if one is."""
        if self._weather:
            self._weather.undo()

    @property
    def recovery_limit_ns(self) -> int:
        """How long after the last gust the stack may take to be steady again."""
        return self._hang_after_ns + to_ns(RECOVERY_S)

    @property
    def stale_limit_ns(self) -> int:
        """How long the strategy may evaluate nothing."""
        return self._hang_after_ns + SILENCE_LIMIT_NS + STALE_MARGIN_NS

    def table(self) -> list[str]:
        """Each kind with how often it was done, and to whom."""
        lines = [f"{'fault':<28}{'times':>6}{'skipped':>9}  of which"]
        hits = [hit for outcome in self.outcomes for hit in outcome.hits]
        skipped = Counter(gust.kind for outcome in self.outcomes for gust in outcome.skipped)
        for kind in self._planned():
            victims = [hit.victim for hit in hits if hit.gust.kind is kind]
            lines.append(f"{kind:<28}{len(victims):>6}{skipped[kind]:>9}  {whom(victims)}".rstrip())
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
        """It was steady again in time, never stood still for too long, and enough was done."""
        reasons = []
        for number, outcome in enumerate(self.outcomes, 1):
            done, skipped = len(outcome.hits), len(outcome.skipped)
            if not done or skipped > done:
                reasons.append(
                    f"storm {number}: proves little: {done} faults were done, {skipped} skipped"
                )
            recovery_ns = outcome.end_ns - outcome.last_gust_ns
            if recovery_ns > self.recovery_limit_ns:
                reasons.append(
                    f"storm {number}: steady {_s(recovery_ns)} after the last gust, the limit is "
                    f"{_s(self.recovery_limit_ns)}"
                )
            reasons += [
                f"storm {number}: from {_s(stretch.begin_ns)} on the strategy evaluated no tick "
                f"for {_s(stretch.length_ns)}, the limit is {_s(self.stale_limit_ns)}"
                for stretch in outcome.stale
                if stretch.length_ns > self.stale_limit_ns
            ]
        kinds = {hit.gust.kind for outcome in self.outcomes for hit in outcome.hits}
        return reasons + [
            f"{kind}: planned {count} times, and never done"
            for kind, count in self._planned().items()
            if count >= ENOUGH_GUSTS and kind not in kinds
        ]

    def _planned(self) -> dict[FaultKind, int]:
        """How often each kind was planned."""
        counts = Counter(gust.kind for outcome in self.outcomes for gust in outcome.planned)
        return {kind: counts[kind] for kind in FaultKind if kind in counts}

    def figures(self) -> dict[str, Any]:
        """Return all gusts, and what the strategy did; times count from the storm's beginning."""
        return {
            "minutes": self._minutes,
            "storms": [
                {
                    "gusts": [_to_figures(hit, outcome) for hit in outcome.hits],
                    "skipped": dict(Counter(g.kind.name.lower() for g in outcome.skipped)),
                    "last_gust_ns": outcome.last_gust_ns - outcome.begin_ns,
                    "steady_ns": outcome.end_ns - outcome.begin_ns,
                    "stale": [stretch._asdict() for stretch in outcome.stale],
                    "evaluated_per_s": outcome.evaluated,
                    "orders_per_s": outcome.orders,
                }
                for outcome in self.outcomes
            ],
        }


def take_figures(outcome: StormOutcome, recording: StackRecording) -> None:
    """See what the strategy did while the storm blew."""
    begin_ns, end_ns = outcome.begin_ns, outcome.end_ns
    events, evaluated = list(recording.events), list(recording.evaluated)
    outcome.stale = stale_stretches(evaluated, begin_ns, end_ns)
    outcome.evaluated = evaluated_per_s(events, evaluated, begin_ns, end_ns)
    outcome.orders = orders_per_s(events, begin_ns, end_ns)


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
    """Return how many ticks the strategy evaluated in each second; those of its absence it did not.

    Its file shows only the last one, so a step in it that goes beyond the beginning of a life is
    shorter by what that life says it has missed.
    """
    firsts: dict[str, list[int]] = {}
    missed: dict[str, list[int]] = {}
    for event in events:
        if (event.source, event.name) == (STRATEGY, "evaluation_started"):
            tape, first = event.details["tape"], event.details["first_evaluated"]
            last = event.details["last_evaluated"] or first - 1
            firsts.setdefault(tape, []).append(first)
            missed.setdefault(tape, []).append(first - last - 1)
    counts = [0] * _seconds(begin_ns, end_ns)
    for a, b in pairwise(evaluated):
        if a.tape == b.tape and begin_ns <= b.at_ns < end_ns:
            lives = firsts.get(b.tape, [])
            begun = slice(bisect_right(lives, a.sequence), bisect_right(lives, b.sequence))
            count = b.sequence - a.sequence - sum(missed.get(b.tape, [])[begun])
            counts[(b.at_ns - begin_ns) // SECOND_NS] += count
    return counts


def orders_per_s(events: Iterable[Event], begin_ns: int, end_ns: int) -> list[int]:
    """Return how many orders the strategy sent in each second."""
    counts = [0] * _seconds(begin_ns, end_ns)
    for event in events:
        is_order = (event.source, event.name) == (STRATEGY, "order_sent")
        if is_order and begin_ns <= event.at_ns < end_ns:
            counts[(event.at_ns - begin_ns) // SECOND_NS] += 1
    return counts


def whom(victims: Collection[str]) -> str:
    """Count victims, for people: "gateway 2, strategy 1"."""
    return ", ".join(f"{victim} {count}" for victim, count in sorted(Counter(victims).items()))


def _to_figures(hit: InjectedFault, outcome: StormOutcome) -> dict[str, Any]:
    gust = hit.gust
    to = gust.fault.to.name if gust.fault else None
    end_ns = outcome.end_ns if hit.end_ns is None else hit.end_ns
    return {
        "kind": gust.kind.name.lower(),
        "victim": hit.victim,
        "to": to.lower() if to else None,
        "begin_ns": hit.begin_ns - outcome.begin_ns,
        "end_ns": end_ns - outcome.begin_ns,
    }


def _seconds(begin_ns: int, end_ns: int) -> int:
    return -(-(end_ns - begin_ns) // SECOND_NS)


def _s(duration_ns: int) -> str:
    return f"{duration_ns / SECOND_NS:.3g} s"


def minutes(text: str) -> float:
    """Read how long a storm lasts. Raises ArgumentTypeError."""
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
    parser.add_argument(
        "--minutes",
        metavar="N",
        type=minutes,
        default=DEFAULT_MINUTES,
        help=f"how long each storm lasts (default: {DEFAULT_MINUTES:g})",
    )
    arguments = parser.parse_args()
    return run(Storm(arguments.minutes, arguments.times), arguments)


if __name__ == "__main__":
    sys.exit(main())
