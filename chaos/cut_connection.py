"""Cut each of the three connections in every way: reset, FIN, blackhole, a peer that vanishes.

A proxy of the lab's own stands in each connection (price, news, orders) and hits both directions,
or one. Expected: a client that is told (RST, FIN) is connected again at once; one that is not
notices the silence after 2.5 s (on the order connection: 2.5 s after it was owed an answer); no
tick is missed, no order lost or doubled. Where the lab may let its end vanish (CAP_NET_ADMIN), an
order into such a connection is answered by RST, and that tells the client. A client that only
listens need not notice that nobody hears it. A proxy has to be there from the start, so this is
always done to a private stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
from chaos.faults.proxied_stack import proxied
from chaos.faults.proxy import Proxy, can_vanish
from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    cells,
    command_line,
    missed_goal,
    run,
)
from chaos.lab.figures import ROLE_CONNECTIONS, RoleConnection
from chaos.lab.recorder import LOOK_S as RECORDER_LOOK_S
from chaos.lab.recorder import Event, Recorder
from chaos.lab.target import TargetError, TargetStack
from lib.clock import MILLISECOND_NS, to_ns
from lib.streams.client import SILENCE_LIMIT_NS

AT_ONCE_NS: Final = 50 * MILLISECOND_NS
"""From RST or FIN to reconnection."""
SILENCE_NS: Final = SILENCE_LIMIT_NS + 100 * MILLISECOND_NS
"""From silence to reconnection. The order client's limit is the same."""
NEVER_NS: Final = SILENCE_NS + 400 * MILLISECOND_NS
"""What is not noticed for this long is not noticed."""
MOST_BYTES: Final = 200
"""Close cuts after 1 to so many bytes: also within a batch, a number, an order."""
REST_S: Final = 0.3
"""Between two faults; more than it takes to catch up, and than `lib.net.backoff` takes for
    flapping."""
MAX_WAIT_S: Final = 0.5
"""A fault comes at a random moment of so long after that."""
LOOK_S: Final = 0.005
LEAST_NS: Final = to_ns(RECORDER_LOOK_S)
"""What lies between two looks the recorder sees at the same time: a shorter time is this long."""
NO_BYTE: Final = "the cut never took effect: no byte came"
NO_ORDER: Final = "no order came: it proves nothing"

FAULTS: Final = (Reset, Close, Blackhole, HalfOpen)
DIRECTIONS: Final = (Direction.BOTH, Direction.TO_CLIENT, Direction.TO_SERVER)


@dataclass(frozen=True)
class Case:
    """One way to cut one connection."""

    link: RoleConnection
    kind: type[ConnectionFault]
    to: Direction
    vanishes: bool = False
    """Whether HalfOpen really takes away our ends, so that who sends into one is told."""

    @property
    def title(self) -> str:
        """In words for people."""
        to = {Direction.BOTH: "both", Direction.TO_CLIENT: "to client"}.get(self.to, "to server")
        return f"{self.link.stream:<7} {self.kind.__name__.lower():<10}{to}"

    @property
    def limit_ns(self) -> int | None:
        """How long the client may take to be connected again; None: it need not notice."""
        speaks = self.link.stream == "orders"
        if self.told_by_order:
            return AT_ONCE_NS
        if self.to is Direction.TO_SERVER and not speaks and self.kind in (Blackhole, Close):
            return None  # it says nothing after HELLO, so nothing is missing
        if self.kind is Close and speaks:
            return AT_ONCE_NS  # the order manager ends its side when the client's has ended
        if self.kind in (Reset, Close) and Direction.TO_CLIENT in self.to:
            return AT_ONCE_NS
        return SILENCE_NS

    @property
    def told_by_order(self) -> bool:
        """Whether it is the next order that is answered by RST."""
        gone = self.kind is HalfOpen and self.vanishes and Direction.TO_CLIENT in self.to
        return gone and self.link.stream == "orders"

    @property
    def needs_order(self) -> bool:
        """Whether nothing is to be noticed before an order is sent."""
        return self.told_by_order or (self.link.stream == "orders" and self.limit_ns == SILENCE_NS)

    def fault(self, random: Random) -> ConnectionFault:
        """Make the fault. A direction in which nothing is said cannot be cut after some bytes."""
        if self.kind is Close and self.limit_ns is not None:
            return Close(to=self.to, after_bytes=random.randint(1, MOST_BYTES))
        return self.kind(to=self.to)


def cases(*, vanishes: bool) -> tuple[Case, ...]:
    """Return every case there is."""
    return tuple(
        Case(link, kind, to, vanishes)
        for link in ROLE_CONNECTIONS
        for kind in FAULTS
        for to in DIRECTIONS
    )


@dataclass(frozen=True)
class CutOutcome:
    """What one cut cost, in ns, at least `LEAST_NS`; None where it did not happen."""

    detection_ns: int | None
    """From the cut to `disconnected`."""
    reconnection_ns: int | None
    """From the cut to `connected`."""
    unnoticeable_ns: int
    """How long after the cut the client was first owed something that did not come. Not counted in
    the two others."""
    in_vain: str = ""
    """Why the cut shows nothing."""


class CutConnection(Experiment):
    """Every case, one after the other, so many times."""

    name = "cut_connection"
    hypothesis = (
        "a client that is told of the end is connected again at once, one that is not after the "
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
        """Give a stack with a proxy in each connection."""
        with proxied(target) as self._proxies:
            yield

    def round(self, stage: RoundContext, number: int) -> None:
        """One cut."""
        case = list(self.outcomes)[number % len(self.outcomes)]
        stage.tell(case.title)
        time.sleep(REST_S + stage.random.uniform(0, MAX_WAIT_S))
        proxy = self._proxies[case.link.stream]
        try:
            self.outcomes[case].append(cut(proxy, case, stage.recorder, stage.random))
        finally:
            proxy.fault = Clear()  # what it held back goes its way

    def table(self) -> list[str]:
        """Each case with detection, reconnection and goal."""
        lines = [
            f"{'':<28}{'detection (ms)':>18}{'reconnection (ms)':>20}",
            f"{'connection, fault, direction':<28}{'median':>9}{'max':>9}{'median':>11}{'max':>9}"
            f"{'goal':>9}",
        ]
        for case, found in self.outcomes.items():
            detection = cells([o.detection_ns for o in found if o.detection_ns is not None])
            reconnection = cells(_reconnections(found))
            goal = "none" if case.limit_ns is None else f"{case.limit_ns / MILLISECOND_NS:g}"
            lines.append(
                f"{case.title:<28}{detection[0]:>9}{detection[2]:>9}"
                f"{reconnection[0]:>11}{reconnection[2]:>9}{goal:>9}"
            )
        return lines

    def reasons(self) -> list[str]:
        """Every connection came back, but for those that need not; the goals, over all cases."""
        reasons = [
            text for case, found in self.outcomes.items() for text in unfulfilled(case, found)
        ]
        for what, goal_ns in (
            ("reconnection after RST or FIN", AT_ONCE_NS),
            ("reconnection after silence", SILENCE_NS),
        ):
            times_ns = [
                time_ns
                for case, found in self.outcomes.items()
                if case.limit_ns == goal_ns
                for time_ns in _reconnections(found)
            ]
            reasons += missed_goal(what, times_ns, goal_ns)
        return reasons

    def figures(self) -> dict[str, Any]:
        """Return all cuts of all cases."""
        return {
            "cases": [
                {
                    "stream": case.link.stream,
                    "fault": case.kind.__name__,
                    "to": str(case.to.name),
                    "goal_ns": case.limit_ns,
                    "cuts": [asdict(outcome) for outcome in found],
                }
                for case, found in self.outcomes.items()
            ]
        }


def _reconnections(outcomes: Sequence[CutOutcome]) -> list[int]:
    return [o.reconnection_ns for o in outcomes if o.reconnection_ns is not None]


def cut(proxy: Proxy, case: Case, recorder: Recorder, random: Random) -> CutOutcome:
    """Cut the connection; wait until it is back or need not be. Raises TargetError."""
    events = recorder.recording.events
    deadline_s = time.monotonic() + RECOVERY_S
    while proxy.connections != 1:  # a server learns of a client that is gone when it next speaks
        if time.monotonic() > deadline_s:
            raise TargetError(f"not one connection but {proxy.connections}: {case.title}")
        time.sleep(LOOK_S)
    seen = len(events)
    injected_ns = time.monotonic_ns()
    proxy.cut(case.fault(random))
    deadline_s = time.monotonic() + RECOVERY_S
    cut_ns = None
    while time.monotonic() < deadline_s:
        time.sleep(LOOK_S)
        now_ns = time.monotonic_ns()
        cut_ns = proxy.cut_ns
        if cut_ns is None or cut_ns < injected_ns:
            continue  # the bytes that may still pass have not come
        outcome = measure(case, cut_ns, events[seen:])
        never = case.limit_ns is None and now_ns - cut_ns > NEVER_NS
        if outcome.reconnection_ns is not None or never:
            return outcome
    took_effect = cut_ns is not None and cut_ns >= injected_ns
    return given_up(case, cut_ns if took_effect else None, events[seen:])


def given_up(case: Case, cut_ns: int | None, events: Sequence[Event]) -> CutOutcome:
    """Return the outcome of a cut after which the client was not connected again. Pure.

    `cut_ns`: when the cut took effect, if it did.
    """
    if cut_ns is None:
        return CutOutcome(None, None, 0, NO_BYTE)
    outcome = measure(case, cut_ns, events)
    if outcome.detection_ns is None and case.needs_order and _first_order_ns(case, events) is None:
        return CutOutcome(None, None, 0, NO_ORDER)
    return outcome


def measure(case: Case, cut_ns: int, events: Sequence[Event]) -> CutOutcome:
    """Take the times of one cut from what was logged since. Pure."""
    mine = [e for e in events if e.source == case.link.client and e.at_ns >= cut_ns]
    told = [e for e in mine if e.details.get("stream") == case.link.stream]
    lost_ns = next((e.at_ns for e in told if e.name == "disconnected"), None)
    if lost_ns is None:
        return CutOutcome(None, None, 0)
    back_ns = next((e.at_ns for e in told if e.name == "connected" and e.at_ns >= lost_ns), None)
    owed_ns = cut_ns
    if case.needs_order and (order_ns := _first_order_ns(case, mine)) is not None:
        # An order that was on its way when the connection was cut was owed an answer all along.
        owed_ns = min(order_ns, lost_ns)
    return CutOutcome(
        max(LEAST_NS, lost_ns - owed_ns),
        None if back_ns is None else max(LEAST_NS, back_ns - owed_ns),
        owed_ns - cut_ns,
    )


def _first_order_ns(case: Case, events: Sequence[Event]) -> int | None:
    sent = ("order_sent", case.link.client)
    return next((e.at_ns for e in events if (e.name, e.source) == sent), None)


def unfulfilled(case: Case, outcomes: Sequence[CutOutcome]) -> list[str]:
    """Say which cuts did not end as they should have, a line each."""
    reasons = []
    for number, outcome in enumerate(outcomes, 1):
        where = f"{' '.join(case.title.split())}, cut {number}"
        if outcome.in_vain:
            reasons.append(f"{where}: {outcome.in_vain}")
        elif case.limit_ns is None:
            if outcome.detection_ns is not None:
                reasons.append(f"{where}: the connection was given up for no reason")
        elif outcome.reconnection_ns is None:
            reasons.append(f"{where}: not connected again within {RECOVERY_S:g} s")
    return reasons


if __name__ == "__main__":
    parser = command_line(CutConnection.name, __doc__, times=1)
    arguments = parser.parse_args()
    sys.exit(run(CutConnection(arguments.times), arguments))
