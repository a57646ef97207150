"""Cut each of the three connections in every way: reset, FIN, blackhole, a peer that vanishes.

A proxy of the lab's own stands in each connection (price, news, orders) and hits both directions,
or one. Expected: a client that is told (RST, FIN) is connected again at once; one that is not
notices the silence after 2.5 s (on the order connection: 2.5 s after it was owed an answer); no
tick is missed, no order lost or doubled. A client that only listens need not notice that nobody
hears it. A proxy has to be there from the start, so this is always done to a private stack.
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

from chaos.faults import Blackhole, Clear, Close, Direction, Fault, HalfOpen, Reset
from chaos.figures import LINKS, Link
from chaos.lab import (
    RECOVERY_S,
    Experiment,
    Stage,
    cells,
    command_line,
    missed_goal,
    run,
)
from chaos.proxied import proxied
from chaos.proxy import Proxy
from chaos.recorder import Event, Recorder
from chaos.target import Target, TargetError
from lib.clock import MILLISECOND_NS
from lib.stream_client import SILENCE_LIMIT_NS

AT_ONCE_NS: Final = 50 * MILLISECOND_NS
"""From RST or FIN to reconnection."""
SILENCE_NS: Final = SILENCE_LIMIT_NS + 100 * MILLISECOND_NS
"""From silence to reconnection. The order client's limit is the same."""
NEVER_NS: Final = SILENCE_NS + 400 * MILLISECOND_NS
"""What is not noticed for this long is not noticed."""
MOST_BYTES: Final = 200
"""Close cuts after 1 to so many bytes: also within a batch, a number, an order."""
REST_S: Final = 0.3
"""Between two faults; more than it takes to catch up, and than `lib.backoff` takes for flapping."""
MAX_WAIT_S: Final = 0.5
"""A fault comes at a random moment of so long after that."""
LOOK_S: Final = 0.005

FAULTS: Final = (Reset, Close, Blackhole, HalfOpen)
DIRECTIONS: Final = (Direction.BOTH, Direction.TO_CLIENT, Direction.TO_SERVER)


@dataclass(frozen=True)
class Case:
    """One way to cut one connection."""

    link: Link
    kind: type[Fault]
    to: Direction

    @property
    def title(self) -> str:
        """In words for people."""
        to = {Direction.BOTH: "both", Direction.TO_CLIENT: "to client"}.get(self.to, "to server")
        return f"{self.link.stream:<7} {self.kind.__name__.lower():<10}{to}"

    @property
    def limit_ns(self) -> int | None:
        """How long the client may take to be connected again; None: it need not notice."""
        speaks = self.link.stream == "orders"
        if self.to is Direction.TO_SERVER and not speaks and self.kind in (Blackhole, Close):
            return None  # it says nothing after HELLO, so nothing is missing
        if self.kind is Close and speaks:
            return AT_ONCE_NS  # the order manager ends its side when the client's has ended
        if self.kind in (Reset, Close) and Direction.TO_CLIENT in self.to:
            return AT_ONCE_NS
        return SILENCE_NS

    def fault(self, random: Random) -> Fault:
        """Make the fault. A direction in which nothing is said cannot be cut after some bytes."""
        if self.kind is Close and self.limit_ns is not None:
            return Close(to=self.to, after_bytes=random.randint(1, MOST_BYTES))
        return self.kind(to=self.to)


CASES: Final = tuple(Case(link, kind, to) for link in LINKS for kind in FAULTS for to in DIRECTIONS)


@dataclass(frozen=True)
class Outcome:
    """What one cut cost, in ns; None where it did not happen."""

    detection_ns: int | None
    """From the cut to `disconnected`."""
    reconnection_ns: int | None
    """From the cut to `connected`."""
    unnoticeable_ns: int
    """How long after the cut the client was first owed something that did not come. Not counted in
    the two others."""


class CutConnection(Experiment):
    """Every case, one after the other, so many times."""

    name = "cut_connection"
    hypothesis = (
        "a client that is told of the end is connected again at once, one that is not after the "
        "silence limit; no tick and no order is lost or handled twice"
    )
    needs_private = True

    def __init__(self, times: int) -> None:
        self.title = f"{len(CASES)} ways to cut a connection, {times} times"
        self.rounds = times * len(CASES)
        self.outcomes: dict[Case, list[Outcome]] = {case: [] for case in CASES}
        self._proxies: dict[str, Proxy] = {}

    @contextmanager
    def prepared(self, target: Target) -> Iterator[None]:
        """Give a stack with a proxy in each connection."""
        with proxied(target) as self._proxies:
            yield

    def round(self, stage: Stage, number: int) -> None:
        """One cut."""
        case = CASES[number % len(CASES)]
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
        reasons = [text for case in CASES for text in unfulfilled(case, self.outcomes[case])]
        for what, goal_ns in (
            ("reconnection after RST or FIN", AT_ONCE_NS),
            ("reconnection after silence", SILENCE_NS),
        ):
            found = [o for case in CASES if case.limit_ns == goal_ns for o in self.outcomes[case]]
            reasons += missed_goal(what, _reconnections(found), goal_ns)
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


def _reconnections(outcomes: Sequence[Outcome]) -> list[int]:
    return [o.reconnection_ns for o in outcomes if o.reconnection_ns is not None]


def cut(proxy: Proxy, case: Case, recorder: Recorder, random: Random) -> Outcome:
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
    return Outcome(None, None, 0)


def measure(case: Case, cut_ns: int, events: Sequence[Event]) -> Outcome:
    """Take the times of one cut from what was logged since. Pure."""
    mine = [e for e in events if e.source == case.link.client and e.at_ns >= cut_ns]
    told = [e for e in mine if e.details.get("stream") == case.link.stream]
    lost_ns = next((e.at_ns for e in told if e.name == "disconnected"), None)
    if lost_ns is None:
        return Outcome(None, None, 0)
    back_ns = next((e.at_ns for e in told if e.name == "connected" and e.at_ns >= lost_ns), None)
    owed_ns = cut_ns
    if case.link.stream == "orders" and case.limit_ns == SILENCE_NS:
        owed_ns = min((e.at_ns for e in mine if e.name == "order_sent"), default=cut_ns)
    # An order that was on its way when the connection was cut was owed an answer all along.
    owed_ns = min(owed_ns, lost_ns)
    return Outcome(
        lost_ns - owed_ns, None if back_ns is None else back_ns - owed_ns, owed_ns - cut_ns
    )


def unfulfilled(case: Case, outcomes: Sequence[Outcome]) -> list[str]:
    """Say which cuts did not end as they should have, a line each."""
    reasons = []
    for number, outcome in enumerate(outcomes, 1):
        where = f"{' '.join(case.title.split())}, cut {number}"
        if case.limit_ns is None:
            if outcome.detection_ns is not None:
                reasons.append(f"{where}: the connection was given up for no reason")
        elif outcome.reconnection_ns is None:
            reasons.append(f"{where}: not connected again within {RECOVERY_S:g} s")
    return reasons


if __name__ == "__main__":
    parser = command_line(CutConnection.name, __doc__, times=1)
    arguments = parser.parse_args()
    sys.exit(run(CutConnection(arguments.times), arguments))
