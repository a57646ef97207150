"""Cut each of the three connections in every way: reset, FIN, blackhole, a peer that vanishes.

A proxy of the lab sits in each connection (price, news, orders) and cuts both directions, or one.
Expected: a client that is notified (RST, FIN) reconnects at once; one that is not reconnects after
the silence limit (on the order connection: counted from the time an answer was due); no tick is
missed, no order is lost or doubled. If the lab may let its end vanish (CAP_NET_ADMIN), an order
into such a connection is answered by RST, which notifies the client. A client that only listens
need not notice that its own direction is cut. Always on a private stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.connection_faults import (
    Blackhole,
    Clear,
    Close,
    ConnectionFault,
    Direction,
    HalfOpen,
    Reset,
)
from chaos.faults.proxy import Proxy, can_vanish, proxied
from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    cells,
    command_line,
    missed_goal,
    run_experiment,
)
from chaos.lab.figures import ROLE_CONNECTIONS, RoleConnection
from chaos.lab.recorder import LOOK_S as RECORDER_LOOK_S
from chaos.lab.recorder import Event
from chaos.lab.recovery import figure_times
from chaos.lab.target import TargetError, TargetStack, wait_for
from lib.clock import MILLISECOND_NS, to_ns
from lib.process.log_events import OrderSent
from lib.streams.stream_client import SILENCE_LIMIT_NS

AT_ONCE_NS: Final = 50 * MILLISECOND_NS
"""Goal from RST or FIN to reconnection."""
SILENCE_NS: Final = SILENCE_LIMIT_NS + 100 * MILLISECOND_NS
"""Goal from silence to reconnection. The order client's silence limit is the same."""
NEVER_NS: Final = SILENCE_NS + 400 * MILLISECOND_NS
"""A cut that is not noticed for this long counts as unnoticed."""
MOST_BYTES: Final = 200
"""Close cuts after 1 to this many bytes, so also in the middle of a batch or an order."""
REST_S: Final = 0.3
"""The pause between two faults; longer than catching up takes, and long enough that
`lib.net.backoff` does not see a flapping connection."""
MAX_WAIT_S: Final = 0.5
"""The longest random wait after `REST_S`."""
LOOK_S: Final = 0.005
LEAST_NS: Final = to_ns(RECORDER_LOOK_S)
"""The resolution of the recorder: shorter times are reported as this long."""
NO_BYTE: Final = "the cut never took effect: no byte came"
NO_ORDER: Final = "no order came: it proves nothing"

FAULTS: Final = (Reset, Close, Blackhole, HalfOpen)
DIRECTIONS: Final = (Direction.BOTH, Direction.TO_CLIENT, Direction.TO_SERVER)


@dataclass(frozen=True)
class Case:
    """One way to cut one connection."""

    connection: RoleConnection
    kind: type[ConnectionFault]
    to: Direction
    vanishes: bool = False
    """Whether HalfOpen really closes our ends, so that sending to one gets RST."""

    @property
    def title(self) -> str:
        """A human-readable name."""
        to = {Direction.BOTH: "both", Direction.TO_CLIENT: "to client"}.get(self.to, "to server")
        return f"{self.connection.stream:<7} {self.kind.__name__.lower():<10}{to}"

    @property
    def limit_ns(self) -> int | None:
        """How long the client may take to reconnect; None: it need not notice."""
        speaks = self.connection.stream == "orders"
        if self.to is Direction.TO_SERVER and not speaks and self.kind in (Blackhole, Close):
            return None  # it sends nothing after HELLO, so nothing is missing
        is_notified = self.kind in (Reset, Close) and Direction.TO_CLIENT in self.to
        # The order manager ends its side when the client's has ended.
        is_answered = self.kind is Close and speaks
        return AT_ONCE_NS if is_notified or is_answered or self.noticed_by_order else SILENCE_NS

    @property
    def noticed_by_order(self) -> bool:
        """Whether the client notices because its next order is answered by RST."""
        gone = self.kind is HalfOpen and self.vanishes and Direction.TO_CLIENT in self.to
        return gone and self.connection.stream == "orders"

    @property
    def needs_order(self) -> bool:
        """Whether the client can notice only after it has sent an order."""
        return self.noticed_by_order or (
            self.connection.stream == "orders" and self.limit_ns == SILENCE_NS
        )

    def fault(self, random: Random) -> ConnectionFault:
        """Make the fault. A direction without traffic is cut at once, not after some bytes."""
        if self.kind is Close and self.limit_ns is not None:
            return Close(to=self.to, after_bytes=random.randint(1, MOST_BYTES))
        return self.kind(to=self.to)


def cases(*, vanishes: bool) -> list[Case]:
    """Return every case there is."""
    every = product(ROLE_CONNECTIONS, FAULTS, DIRECTIONS)
    return [Case(connection, kind, to, vanishes) for connection, kind, to in every]


@dataclass(frozen=True)
class CutOutcome:
    """The times of one cut, in ns, at least `LEAST_NS`; None: it did not happen."""

    detection_ns: int | None
    """From the cut to `disconnected`."""
    reconnection_ns: int | None
    """From the cut to `connected`."""
    unnoticeable_ns: int
    """How long after the cut the client could first notice it, because something was due. The
    other two times count from then on."""
    in_vain: str = ""
    """Why the cut shows nothing."""


class CutConnection(Experiment):
    """Every case, one after the other, `times` times."""

    name = "cut_connection"
    hypothesis = (
        "a client that is notified of the end reconnects at once, one that is not after the "
        "silence limit; no tick and no order is lost or handled twice"
    )
    needs_private = True

    def __init__(self, times: int) -> None:
        self.outcomes: dict[Case, list[CutOutcome]] = {
            case: [] for case in cases(vanishes=can_vanish())
        }
        self.title = f"{len(self.outcomes)} ways to cut a connection, {times} times"
        self.rounds = times * len(self.outcomes)
        self._proxies: dict[str, Proxy] = {}

    @contextmanager
    def prepared(self, target: TargetStack) -> Iterator[None]:
        """Put a proxy into each connection."""
        with proxied(target) as self._proxies:
            yield

    def run_round(self, context: RoundContext, number: int) -> None:
        """Cut one connection once."""
        case = list(self.outcomes)[number % len(self.outcomes)]
        context.show_progress(case.title)
        time.sleep(REST_S + context.random.uniform(0, MAX_WAIT_S))
        proxy, events = self._proxies[case.connection.stream], context.recorder.recording.events
        try:
            self.outcomes[case].append(cut_and_measure(proxy, case, events, context.random))
        finally:
            proxy.fault = Clear()  # releases what it held back

    def table(self) -> list[str]:
        """List each case with detection, reconnection and goal."""
        lines = [
            f"{'':<28}{'detection (ms)':>18}{'reconnection (ms)':>20}",
            f"{'connection, fault, direction':<28}{'median':>9}{'max':>9}{'median':>11}{'max':>9}"
            f"{'goal':>9}",
        ]
        for case, found in self.outcomes.items():
            median, _, most = cells(figure_times(found, "detection_ns"))
            line = f"{case.title:<28}{median:>9}{most:>9}"
            median, _, most = cells(figure_times(found, "reconnection_ns"))
            goal = "none" if case.limit_ns is None else f"{case.limit_ns / MILLISECOND_NS:g}"
            lines.append(f"{line}{median:>11}{most:>9}{goal:>9}")
        return lines

    def reasons(self) -> list[str]:
        """Check that every client that must reconnect did, and the goals over all cases."""
        outcomes = self.outcomes.items()
        reasons = [text for case, found in outcomes for text in unmet_expectations(case, found)]
        for what, goal_ns in (
            ("reconnection after RST or FIN", AT_ONCE_NS),
            ("reconnection after silence", SILENCE_NS),
        ):
            alike = [one for case, found in outcomes if case.limit_ns == goal_ns for one in found]
            reasons += missed_goal(what, figure_times(alike, "reconnection_ns"), goal_ns)
        return reasons

    def figures(self) -> dict[str, Any]:
        """Return all cuts of all cases."""
        return {
            "cases": [
                {
                    "stream": case.connection.stream,
                    "fault": case.kind.__name__,
                    "to": str(case.to.name),
                    "goal_ns": case.limit_ns,
                    "cuts": [asdict(outcome) for outcome in found],
                }
                for case, found in self.outcomes.items()
            ]
        }


def cut_and_measure(
    proxy: Proxy, case: Case, events: Sequence[Event], random: Random
) -> CutOutcome:
    """Cut the connection; wait until the client reconnects or need not. Raises TargetError."""
    # A server notices a vanished client when it next sends.
    if not wait_for(lambda: proxy.connections == 1, RECOVERY_S, LOOK_S):
        raise TargetError(f"not one connection but {proxy.connections}: {case.title}")
    seen = len(events)
    proxy.cut(case.fault(random))

    def is_over() -> bool:
        if (cut_ns := proxy.cut_ns) is None:
            return False  # the bytes that may still pass have not come yet
        is_unnoticed = case.limit_ns is None and time.monotonic_ns() - cut_ns > NEVER_NS
        return is_unnoticed or measure_cut(case, cut_ns, events[seen:]).reconnection_ns is not None

    wait_for(is_over, RECOVERY_S, LOOK_S)
    return outcome_of_cut(case, proxy.cut_ns, events[seen:])


def outcome_of_cut(case: Case, cut_ns: int | None, events: Sequence[Event]) -> CutOutcome:
    """Return the times of a cut that took effect at `cut_ns`, or why it shows nothing. Pure."""
    if cut_ns is None:
        return CutOutcome(None, None, 0, NO_BYTE)
    outcome = measure_cut(case, cut_ns, events)
    if outcome.detection_ns is None and case.needs_order and _first_order_ns(case, events) is None:
        return CutOutcome(None, None, 0, NO_ORDER)
    return outcome


def measure_cut(case: Case, cut_ns: int, events: Sequence[Event]) -> CutOutcome:
    """Compute the times of one cut from the events since. Pure."""
    mine = [e for e in events if e.source == case.connection.client and e.at_ns >= cut_ns]
    lost_ns = next(iter(case.connection.lost_ns(mine)), None)
    if lost_ns is None:
        return CutOutcome(None, None, 0)
    back_ns = next((at for at in case.connection.connected_ns(mine) if at >= lost_ns), None)
    owed_ns = cut_ns
    if case.needs_order and (order_ns := _first_order_ns(case, mine)) is not None:
        # An order that was in transit at the cut was due an answer from the beginning.
        owed_ns = min(order_ns, lost_ns)
    return CutOutcome(
        max(LEAST_NS, lost_ns - owed_ns),
        None if back_ns is None else max(LEAST_NS, back_ns - owed_ns),
        owed_ns - cut_ns,
    )


def _first_order_ns(case: Case, events: Sequence[Event]) -> int | None:
    client = case.connection.client
    sent_ns = (e.at_ns for e in events if e.source == client and isinstance(e.what, OrderSent))
    return next(sent_ns, None)


def unmet_expectations(case: Case, outcomes: Sequence[CutOutcome]) -> list[str]:
    """List cuts that did not end as expected, a line each."""
    reasons = []
    for number, outcome in enumerate(outcomes, 1):
        reason = outcome.in_vain
        if not reason and case.limit_ns is None and outcome.detection_ns is not None:
            reason = "the connection was given up for no reason"
        elif not reason and case.limit_ns is not None and outcome.reconnection_ns is None:
            reason = f"not connected again within {RECOVERY_S:g} s"
        if reason:
            reasons.append(f"{' '.join(case.title.split())}, cut {number}: {reason}")
    return reasons


if __name__ == "__main__":
    arguments = command_line(CutConnection.name, __doc__, times=1).parse_args()
    sys.exit(run_experiment(CutConnection(arguments.times), arguments))
