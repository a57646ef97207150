"""Break a cluster in each way that it must survive: hosts, the writers of its streams, brokers.

A private cluster of three brokers and five hosts trades: two market hosts, a strategy host, two
order hosts. One after the other a host is killed or frozen as a whole, a role is killed, a broker
that leads a stream is killed, and two of three brokers. Expected: whoever was the writer is
succeeded, a writer that was frozen is refused when it wakes, and in the end every tick of the tape
was evaluated once, every order is booked once, and each ledger is what the stream says.

With --fault NAME, only that fault; it may be given several times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.cluster_experiment import ClusterExperiment
from chaos.faults.cluster_faults import (
    BrokersFrozen,
    BrokersKilled,
    ClusterFault,
    HostFrozen,
    HostKilled,
    RoleKilled,
)
from chaos.lab.cluster_target import STRATEGY_HOST, TargetCluster
from chaos.lab.experiment import RoundContext, command_line, run_experiment
from chaos.lab.outage import Expected, Outage, measure_outage, was_refused
from chaos.lab.recovery import figure_times
from chaos.lab.target import TargetError, wait_for
from lib.clock import SECOND_NS, to_ns
from lib.cluster.streams import LEDGER, PRICE
from lib.process.log_events import DOWNLINK, GATEWAY, ORDER_MANAGER, ORDER_RELAY, UPLINK

RECOVERY_S: Final = 60.0
"""How long the cluster may take until it works again: elections take up to 9 s each."""
REFUSED_S: Final = 20.0
"""How long a writer that has woken may take to notice that it was overtaken."""
NO_MAJORITY_S: Final = 6.0
"""How long two brokers are down."""
MAX_WAIT_S: Final = 0.5
"""The longest random wait before a fault."""
TAKEOVER_MARGIN_NS: Final = SECOND_NS
"""Goal for a takeover: `takeover_after`, and this."""
ENOUGH_TAKEOVERS: Final = 5
"""The goal is judged by the median from so many on."""
LOOK_S: Final = 0.05
FIGURES: Final = ("claimed_ns", "stale_ns", "answered_ns")


class Case(NamedTuple):
    """One way to break a cluster."""

    name: str
    title: str
    make: Callable[[TargetCluster], ClusterFault]
    stream: str = ""
    """The stream whose writer is hit."""
    takes_over: bool = False
    """Whether another host must succeed the writer; else a successor on the same host may."""
    wakes: bool = False
    """Whether the writer only stands still, so that it must be refused when it wakes."""
    lasts_s: float = 0.0
    """When the fault is undone; 0: when the cluster works again."""


def _a_follower(cluster: TargetCluster) -> str:
    """Return a broker that leads neither the ledger nor the prices."""
    leaders = {cluster.leader(stream) for stream in (PRICE, LEDGER)}
    return next(name for name in cluster.lab.brokers.processes if name not in leaders)


def _leader_and_another(cluster: TargetCluster) -> list[str]:
    leader = cluster.leader(LEDGER)
    return [leader, next(name for name in cluster.lab.brokers.processes if name != leader)]


CASES: Final = (
    Case(
        "market_host_killed",
        "the market host that publishes, killed as a whole",
        lambda cluster: HostKilled(cluster.writer(PRICE)),
        PRICE,
        takes_over=True,
    ),
    Case(
        "market_host_frozen",
        "the market host that publishes, frozen until it is overtaken",
        lambda cluster: HostFrozen(cluster.writer(PRICE)),
        PRICE,
        takes_over=True,
        wakes=True,
    ),
    Case(
        "uplink_killed",
        "SIGKILL of its uplink",
        lambda cluster: RoleKilled(cluster.writer(PRICE), UPLINK),
        PRICE,
    ),
    Case(
        "gateway_killed",
        "SIGKILL of its gateway",
        lambda cluster: RoleKilled(cluster.writer(PRICE), GATEWAY),
    ),
    Case(
        "order_host_killed",
        "the order host that books, killed as a whole",
        lambda cluster: HostKilled(cluster.writer(LEDGER)),
        LEDGER,
        takes_over=True,
    ),
    Case(
        "order_host_frozen",
        "the order host that books, frozen until it is overtaken",
        lambda cluster: HostFrozen(cluster.writer(LEDGER)),
        LEDGER,
        takes_over=True,
        wakes=True,
    ),
    Case(
        "order_manager_killed",
        "SIGKILL of its order manager",
        lambda cluster: RoleKilled(cluster.writer(LEDGER), ORDER_MANAGER),
        LEDGER,
    ),
    Case(
        "order_relay_killed",
        "SIGKILL of its order relay",
        lambda cluster: RoleKilled(cluster.writer(LEDGER), ORDER_RELAY),
    ),
    Case(
        "strategy_relay_killed",
        "SIGKILL of the strategy host's order relay",
        lambda _: RoleKilled(STRATEGY_HOST, ORDER_RELAY),
    ),
    Case(
        "downlink_killed",
        "SIGKILL of the strategy host's downlink",
        lambda _: RoleKilled(STRATEGY_HOST, DOWNLINK),
    ),
    Case(
        "price_leader_killed",
        "SIGKILL of the broker that leads TW_PRICE",
        lambda cluster: BrokersKilled(cluster.leader(PRICE)),
    ),
    Case(
        "ledger_leader_killed",
        "SIGKILL of the broker that leads TW_LEDGER",
        lambda cluster: BrokersKilled(cluster.leader(LEDGER)),
    ),
    Case(
        "follower_killed",
        "SIGKILL of another broker",
        lambda cluster: BrokersKilled(_a_follower(cluster)),
    ),
    Case(
        "two_brokers_frozen",
        f"SIGSTOP of two brokers, for {NO_MAJORITY_S:g} s",
        lambda cluster: BrokersFrozen(*_leader_and_another(cluster)),
        lasts_s=NO_MAJORITY_S,
    ),
    Case(
        "two_brokers_killed",
        f"SIGKILL of two brokers, started again after {NO_MAJORITY_S:g} s",
        lambda cluster: BrokersKilled(*_leader_and_another(cluster)),
        lasts_s=NO_MAJORITY_S,
    ),
)


@dataclass
class Broken:
    """One fault, and what it has cost."""

    case: str
    victims: str
    outage: Outage
    was_refused: bool | None = None
    """Whether the former writer was refused when it woke; None if it has not lived on."""


class BreakCluster(ClusterExperiment):
    """Every case, `times` times."""

    name = "break_cluster"
    hypothesis = (
        "whatever dies or stands still in a cluster, it goes on within seconds; every tick is "
        "evaluated once, every order is booked once, and each ledger is what the stream says"
    )

    def __init__(self, cases: Sequence[Case], times: int) -> None:
        self.title = f"a cluster broken in {len(cases)} ways, {times} times each"
        self.rounds = times * len(cases)
        self.found: list[Broken] = []
        self._cases = cases
        self._fault: ClusterFault | None = None
        self._goal_ns = 0

    def run_round(self, context: RoundContext, number: int) -> None:
        """Break the cluster in one way, and measure what that costs."""
        cluster, case = self.cluster, self._cases[number % len(self._cases)]
        self._goal_ns = to_ns(cluster.takeover_after_s) + TAKEOVER_MARGIN_NS
        context.show_progress("waiting until the cluster is whole")
        cluster.wait_until_steady()
        cluster.judge_streams()
        time.sleep(context.random.uniform(0, MAX_WAIT_S))
        context.show_progress(case.title)
        recording = context.recorder.recording
        fault = self._fault = case.make(cluster)
        expected = Expected(case.stream, fault.victims[0] if case.takes_over else "")
        seen_events, seen_evaluated = len(recording.events), max(0, len(recording.evaluated) - 1)
        injected_ns = time.monotonic_ns()
        try:
            fault.inject(cluster)
        except ProcessLookupError:
            raise TargetError(f"{fault.names}: what was to be hit has ended by itself") from None
        hit_ns = time.monotonic_ns()

        def measured() -> Outage:
            return measure_outage(
                expected,
                injected_ns,
                hit_ns,
                time.monotonic_ns(),
                recording.events[seen_events:],
                recording.evaluated[seen_evaluated:],
                recording.heard_ns,
            )

        if case.lasts_s:
            time.sleep(case.lasts_s)
            fault.undo(cluster)
        wait_for(lambda: not measured().pending, RECOVERY_S, LOOK_S)
        broken = Broken(case.name, fault.names, measured())
        self.found.append(broken)
        fault.undo(cluster)
        if case.wakes:
            broken.was_refused = wait_for(
                lambda: was_refused(
                    expected.former, case.stream, injected_ns, recording.events[seen_events:]
                ),
                REFUSED_S,
                LOOK_S,
            )

    def put_back(self) -> None:
        """Undo the fault of a round that was interrupted."""
        if self._fault:
            self._fault.undo(self.cluster)

    def table(self) -> list[str]:
        """List each way to break it with what it has cost, in seconds."""
        lines = [
            f"{'seconds: median, longest':<50}{'n':>3}{'claimed':>14}{'no tick':>14}{'order':>14}"
        ]
        for case in self._cases:
            outages = [one.outage for one in self.found if one.case == case.name]
            cells = "".join(f"{_spread(figure_times(outages, name)):>14}" for name in FIGURES)
            lines.append(f"{case.title:<50}{len(outages):>3}{cells}")
        goal_s = self._goal_ns / SECOND_NS
        return [*lines, "", f"takeovers: {_spread(self._takeovers())} s, goal {goal_s:g} s"]

    def reasons(self) -> list[str]:
        """Check that the cluster went on after each fault, and that takeovers reach their goal."""
        reasons = []
        for number, one in enumerate(self.found, 1):
            where = f"fault {number}, {one.case} of {one.victims}"
            if one.outage.pending:
                reasons.append(f"{where}: timed out until {' and until '.join(one.outage.pending)}")
            if one.was_refused is False:
                reasons.append(f"{where}: the writer that woke has not noticed that it is none")
        takeovers_ns = self._takeovers()
        if len(takeovers_ns) >= ENOUGH_TAKEOVERS and median(takeovers_ns) > self._goal_ns:
            goal_s = self._goal_ns / SECOND_NS
            reasons.append(f"takeovers: {_spread(takeovers_ns)} s, the goal is {goal_s:g} s")
        return reasons

    def figures(self) -> dict[str, Any]:
        """Return what each fault has cost."""
        return {
            "goal_ns": self._goal_ns,
            "cases": [
                {
                    "name": case.name,
                    "title": case.title,
                    "takes_over": case.takes_over,
                    "outages": [
                        {"victims": one.victims, "was_refused": one.was_refused}
                        | asdict(one.outage)
                        for one in self.found
                        if one.case == case.name
                    ],
                }
                for case in self._cases
            ],
        }

    def _takeovers(self) -> list[int]:
        """Return how long other hosts have taken to claim a stream."""
        names = {case.name for case in self._cases if case.takes_over}
        return figure_times((one.outage for one in self.found if one.case in names), "claimed_ns")


def _spread(times_ns: Sequence[int]) -> str:
    if not times_ns:
        return "-"
    return f"{median(times_ns) / SECOND_NS:.1f}, {max(times_ns) / SECOND_NS:.1f}"


def main() -> int:
    """Run the experiment; return the exit code."""
    parser = command_line(BreakCluster.name, __doc__, times=1)
    names = [case.name for case in CASES]
    parser.add_argument(
        "--fault",
        dest="faults",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"only this one of {', '.join(names)}; may be given several times",
    )
    arguments = parser.parse_args()
    cases = [case for case in CASES if case.name in (arguments.faults or names)]
    return run_experiment(BreakCluster(cases, arguments.times), arguments)


if __name__ == "__main__":
    sys.exit(main())
