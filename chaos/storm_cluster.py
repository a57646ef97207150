"""A storm over a cluster: random faults of hosts, roles and brokers, while it trades.

Market and order hosts are killed and frozen as a whole, the strategy host is frozen, the roles of
all of them are killed and frozen, and brokers are killed and frozen, one at a time: with two of
three down nothing goes on, which break_cluster.py shows. Faults of different hosts overlap. A fault
is skipped, and counted as skipped, if its host is down or its role does not run. Expected: no tick
is missed at the book, no order is lost or doubled, each ledger is what the stream says, and the
cluster is whole again afterwards.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.cluster_experiment import ClusterExperiment
from chaos.faults.cluster_faults import (
    BrokersFrozen,
    BrokersKilled,
    ClusterFault,
    HostFrozen,
    HostKilled,
    RoleFrozen,
    RoleKilled,
)
from chaos.lab.cluster_target import MARKET_HOSTS, ORDER_HOSTS, STRATEGY_HOST
from chaos.lab.experiment import RoundContext, command_line, run_experiment
from chaos.lab.figures import STRATEGY
from chaos.lab.target import TargetError
from chaos.storm import Stretch, evaluated_per_s, minutes, orders_per_s, stale_stretches
from chaos.storms.planned_faults import deal
from lib.clock import SECOND_NS
from lib.process.log_events import (
    DOWNLINK,
    GATEWAY,
    ORDER_MANAGER,
    ORDER_RELAY,
    ORDERBOOK,
    UPLINK,
)
from lib.stack.brokers import NAMES as BROKERS

MEAN_GAP_S: Final = 4.0
"""Mean time from the start of one planned fault to the start of the next."""
LONGEST_GAP_S: Final = 10.0
SHORTEST_S: Final = 1.0
LONGEST_S: Final = 8.0
"""The longest time that a host or a broker is down, and longer than `takeover_after`."""
READ_S: Final = 30.0
"""How often the streams are read: ticks are kept for five minutes."""
LOOK_S: Final = 0.05


class Kind(StrEnum):
    """Fault kinds. The value is the human-readable name, the member name is what is recorded."""

    HOST_KILLED = "SIGKILL of a host"
    HOST_FROZEN = "freeze of a host"
    ROLE_KILLED = "SIGKILL of a role"
    ROLE_FROZEN = "freeze of a role"
    BROKER_KILLED = "SIGKILL of a broker"
    BROKER_FROZEN = "freeze of a broker"


ROLES: Final = (
    *((host, role) for host in MARKET_HOSTS for role in (UPLINK, GATEWAY)),
    *((STRATEGY_HOST, role) for role in (DOWNLINK, ORDERBOOK, STRATEGY, ORDER_RELAY)),
    *((host, role) for host in ORDER_HOSTS for role in (ORDER_MANAGER, ORDER_RELAY, DOWNLINK)),
)
"""The roles that are hit, each with its host."""
_WRITERS: Final = tuple((host,) for host in (*MARKET_HOSTS, *ORDER_HOSTS))
_BROKERS: Final = tuple((name,) for name in BROKERS)
VICTIMS: Final[dict[Kind, tuple[tuple[str, ...], ...]]] = {
    Kind.HOST_KILLED: _WRITERS,
    Kind.HOST_FROZEN: (*_WRITERS, (STRATEGY_HOST,)),
    Kind.ROLE_KILLED: ROLES,
    Kind.ROLE_FROZEN: ROLES,
    Kind.BROKER_KILLED: _BROKERS,
    Kind.BROKER_FROZEN: _BROKERS,
}
"""What a fault of each kind can hit: a host or broker, and a role of the host."""
FAULTS: Final[dict[Kind, Callable[..., ClusterFault]]] = {
    Kind.HOST_KILLED: HostKilled,
    Kind.HOST_FROZEN: HostFrozen,
    Kind.ROLE_KILLED: RoleKilled,
    Kind.ROLE_FROZEN: RoleFrozen,
    Kind.BROKER_KILLED: BrokersKilled,
    Kind.BROKER_FROZEN: BrokersFrozen,
}


class Planned(NamedTuple):
    """One fault in the plan of a storm."""

    at_s: float
    """Time since the start of the storm."""
    kind: Kind
    victim: tuple[str, ...]
    lasts_s: float
    """When the lab undoes it, unless supervisord or the watchdog has ended it before."""


def plan_cluster_storm(random: Random, length_minutes: float) -> list[Planned]:
    """Plan the faults of a storm. The same random numbers give the same plan. Pure."""
    decks = {kind: deal(random, VICTIMS[kind]) for kind in Kind}
    planned: list[Planned] = []
    at_s = 0.0
    for kind in deal(random, tuple(Kind)):
        at_s += min(LONGEST_GAP_S, random.expovariate(1 / MEAN_GAP_S))
        if at_s >= length_minutes * 60:
            break
        lasts_s = random.uniform(SHORTEST_S, LONGEST_S)
        planned.append(Planned(at_s, kind, next(decks[kind]), lasts_s))
    return planned


@dataclass
class Injected:
    """A planned fault that was injected. Times are monotonic."""

    planned: Planned
    fault: ClusterFault
    begin_ns: int
    end_ns: int | None = None
    """When the lab has undone it; None: not yet."""


@dataclass
class Outcome:
    """What happened in one storm. Times are monotonic, except in `stale`."""

    planned: list[Planned]
    begin_ns: int
    last_fault_ns: int = 0
    """When the last fault was undone."""
    end_ns: int = 0
    """When the cluster was whole again."""
    injected: list[Injected] = field(default_factory=list)
    skipped: list[Planned] = field(default_factory=list)
    stale: list[Stretch] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    orders: list[int] = field(default_factory=list)


class StormCluster(ClusterExperiment):
    """Runs `times` storms, each with its own plan."""

    name = "storm_cluster"
    hypothesis = (
        "under any mix of faults no tick is missed at the book, no order is lost or doubled, each "
        "ledger is what the stream says, and the cluster is whole again afterwards"
    )
    roles = (STRATEGY,)

    def __init__(self, length_minutes: float, times: int) -> None:
        self.title = f"a storm of {length_minutes:g} min over a cluster, {times} times"
        self.rounds = times
        self.outcomes: list[Outcome] = []
        self._minutes = length_minutes
        self._active: list[Injected] = []
        self._read_s = 0.0

    def run_round(self, context: RoundContext, number: int) -> None:
        """Run one storm."""
        self.cluster.wait_until_steady()
        self.cluster.judge_streams()
        planned = plan_cluster_storm(context.random, self._minutes)
        outcome = Outcome(planned, begin_ns := time.monotonic_ns())
        self.outcomes.append(outcome)
        self._read_s = time.monotonic() + READ_S
        try:
            for place, one in enumerate(planned, 1):
                what = f"fault {place} of {len(planned)}: {one.kind} of {' '.join(one.victim)}"
                while time.monotonic_ns() < begin_ns + one.at_s * SECOND_NS:
                    self._pass()
                context.show_progress(what, (place - 1) / len(planned))
                self._begin(outcome, one)
            context.show_progress("the storm is over: waiting until the cluster is whole", 1.0)
            while self._active:
                self._pass()
            outcome.last_fault_ns = time.monotonic_ns()
            self.cluster.wait_until_steady()
        finally:
            self.put_back()
            end_ns = outcome.end_ns = time.monotonic_ns()
            recording = context.recorder.recording
            events, evaluated = list(recording.events), list(recording.evaluated)
            outcome.stale = stale_stretches(evaluated, begin_ns, end_ns)
            outcome.evaluated = evaluated_per_s(events, evaluated, begin_ns, end_ns)
            outcome.orders = orders_per_s(events, begin_ns, end_ns)

    def put_back(self) -> None:
        """Undo the faults of the current storm."""
        while self._active:
            self._active[-1].fault.undo(self.cluster)
            self._active.pop()

    def _pass(self) -> None:
        """Undo what is due; read the streams now and then, while all brokers are up."""
        time.sleep(LOOK_S)
        now_ns = time.monotonic_ns()
        for one in list(self._active):
            if now_ns >= one.begin_ns + one.planned.lasts_s * SECOND_NS:
                one.fault.undo(self.cluster)
                one.end_ns = time.monotonic_ns()
                self._active.remove(one)
        has_brokers = not any(one.planned.victim in _BROKERS for one in self._active)
        if has_brokers and time.monotonic() >= self._read_s:
            self._read_s = time.monotonic() + READ_S
            with suppress(TargetError):  # an election is under way: the next time
                self.cluster.judge_streams()

    def _begin(self, outcome: Outcome, planned: Planned) -> None:
        """Inject a fault, if its victim can take it now."""
        if self._is_busy(planned):
            outcome.skipped.append(planned)
            return
        fault = FAULTS[planned.kind](*planned.victim)
        one = Injected(planned, fault, time.monotonic_ns())
        self._active.append(one)  # first: Ctrl-C may come at any moment
        try:
            fault.inject(self.cluster)
        except (TargetError, ProcessLookupError):  # it is down, or has just ended
            self._active.remove(one)
            outcome.skipped.append(planned)
        else:
            outcome.injected.append(one)

    def _is_busy(self, planned: Planned) -> bool:
        """Whether the host, or any broker for a fault of one, is under a fault."""
        is_broker = planned.victim in _BROKERS
        return any(
            one.planned.victim[0] == planned.victim[0]
            or (is_broker and one.planned.victim in _BROKERS)
            for one in self._active
        )

    def table(self) -> list[str]:
        """List each fault kind with how often it was injected, and where."""
        lines = [f"{'fault':<28}{'times':>6}{'skipped':>9}  of which"]
        for kind, skipped, victims in fault_rows(
            (one.planned for outcome in self.outcomes for one in outcome.injected),
            (one for outcome in self.outcomes for one in outcome.skipped),
        ):
            shown = ", ".join(f"{victim} {count}" for victim, count in sorted(victims.items()))
            lines.append(f"{kind:<28}{victims.total():>6}{skipped:>9}  {shown}".rstrip())
        stale_ns = [one.length_ns for outcome in self.outcomes for one in outcome.stale]
        return [
            *lines,
            "",
            f"without an evaluated tick: {max(stale_ns, default=0) / SECOND_NS:.1f} s at the "
            f"longest, {sum(stale_ns) / SECOND_NS:.1f} s in all",
            f"orders sent in the storm: {sum(sum(outcome.orders) for outcome in self.outcomes)}",
        ]

    def reasons(self) -> list[str]:
        """Check that enough faults were injected; the frame sees that the cluster is whole."""
        counts = [(len(outcome.injected), len(outcome.skipped)) for outcome in self.outcomes]
        return [
            f"storm {number}: proves little: {done} faults were done, {skipped} skipped"
            for number, (done, skipped) in enumerate(counts, 1)
            if not done or skipped > done
        ]

    def figures(self) -> dict[str, Any]:
        """Return all faults and what the strategy did; times count from the start of the storm."""
        return {"minutes": self._minutes, "storms": [_to_figures(one) for one in self.outcomes]}


def fault_rows(
    injected: Iterable[Planned], skipped: Iterable[Planned]
) -> list[tuple[Kind, int, Counter[str]]]:
    """Return of each kind of fault how often it was skipped, and which victims were hit."""
    done, left_out = list(injected), Counter(one.kind for one in skipped)
    return [
        (kind, left_out[kind], Counter(" ".join(one.victim) for one in done if one.kind is kind))
        for kind in Kind
    ]


def _to_figures(outcome: Outcome) -> dict[str, Any]:
    return {
        "faults": [
            {
                "kind": one.planned.kind.name.lower(),
                "victim": " ".join(one.planned.victim),
                "begin_ns": one.begin_ns - outcome.begin_ns,
                "end_ns": (one.end_ns or outcome.end_ns) - outcome.begin_ns,
            }
            for one in outcome.injected
        ],
        "skipped": dict(Counter(one.kind.name.lower() for one in outcome.skipped)),
        "last_fault_ns": outcome.last_fault_ns - outcome.begin_ns,
        "whole_ns": outcome.end_ns - outcome.begin_ns,
        "stale": [stretch._asdict() for stretch in outcome.stale],
        "evaluated_per_s": outcome.evaluated,
        "orders_per_s": outcome.orders,
    }


def main() -> int:
    """Run the experiment; return the exit code."""
    parser = command_line(StormCluster.name, __doc__, times=1)
    text = "how long each storm lasts (default: 2)"
    parser.add_argument("--minutes", metavar="N", type=minutes, default=2.0, help=text)
    arguments: argparse.Namespace = parser.parse_args()
    return run_experiment(StormCluster(arguments.minutes, arguments.times), arguments)


if __name__ == "__main__":
    sys.exit(main())
