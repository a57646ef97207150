"""Cut each of the three connections in every way: reset, FIN, blackhole, a peer that vanishes.

A proxy of the lab's own stands in each connection (price, news, orders) and hits both directions,
or one. Expected: a client that is told (RST, FIN) is connected again at once; one that is not
notices the silence after 2.5 s (on the order connection: 2.5 s after it was owed an answer); no
tick is missed, no order lost or doubled. A client that only listens need not notice that nobody
hears it. A proxy has to be there from the start, so this is always done to a private stack.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos import lab
from chaos.faults import Blackhole, Clear, Close, Direction, Fault, HalfOpen, Reset
from chaos.figures import LINKS, Link
from chaos.proxied import proxied
from chaos.proxy import Proxy
from chaos.recorder import Event, Recorder
from chaos.target import Target, TargetError, find_target
from lib.clock import MILLISECOND_NS
from lib.settings import PROJECT_ROOT
from lib.stream_client import SILENCE_LIMIT_NS

AT_ONCE_NS: Final = 50 * MILLISECOND_NS
"""From RST or FIN to reconnection."""
SILENCE_NS: Final = SILENCE_LIMIT_NS + 100 * MILLISECOND_NS
"""From silence to reconnection. The order client's limit is the same."""
NEVER_NS: Final = SILENCE_NS + 400 * MILLISECOND_NS
"""What is not noticed for this long is not noticed."""
RECOVERY_S: Final = 15.0
"""A connection that is not back after so long does not come back."""
MOST_BYTES: Final = 200
"""Close cuts after 1 to so many bytes: also within a batch, a number, an order."""
REST_S: Final = 0.3
"""Between two faults; more than it takes to catch up, and than `lib.backoff` takes for flapping."""
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


def main() -> int:
    """Run the experiment; return the exit code."""
    parser = lab.command_line("cut_connection", __doc__)
    parser.set_defaults(times=1)
    arguments = parser.parse_args()
    with lab.signals_as_interruption():
        try:
            return _run(arguments)
        except TargetError as error:
            print(f"chaos/cut_connection.py: {error}", file=sys.stderr)
            return lab.EXIT_NO_TARGET
        except lab.Interrupted:
            print("chaos/cut_connection.py: interrupted, its stack has been ended", file=sys.stderr)
            return lab.EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    place = (arguments.var_dir or PROJECT_ROOT / "var") / "chaos" / "cut"
    random = Random(arguments.seed)
    cases = [case for _ in range(arguments.times) for case in CASES]
    outcomes: dict[Case, list[Outcome]] = {case: [] for case in CASES}
    with find_target(arguments.config, place) as target:
        print(f"started a private stack in {target.var_dir}", flush=True)
        with proxied(target) as proxies:
            target.wait_until_steady()
            progress = lab.Progress(len(cases))
            with Recorder(target.settings) as recorder:
                try:
                    for done, case in enumerate(cases):
                        progress.at(done)(case.title)
                        time.sleep(REST_S + random.uniform(0, 0.5))
                        outcome = cut(proxies[case.link.stream], case, recorder, random)
                        outcomes[case].append(outcome)
                    complete_to = lab.settle(target, recorder.recording)
                finally:
                    progress.clear()
            totals = lab.take_totals(target, recorder.recording, complete_to)
            target.end()
        findings = lab.findings_about(target, recorder.recording, complete_to)
        reasons = [
            *(reason for case in CASES for reason in unfulfilled(case, outcomes[case])),
            *lab.verdict("", [], totals, [*recorder.recording.troubles, *findings]),
        ]
        print(report(outcomes, totals, reasons))
        if arguments.json:
            text = json.dumps(to_json(arguments.seed, outcomes, totals, reasons), indent=1)
            arguments.json.write_text(text + "\n", encoding="utf-8")
        _keep_or_remove(target, reasons)
    return lab.EXIT_DOES_NOT_HOLD if reasons else lab.EXIT_HOLDS


def _keep_or_remove(target: Target, reasons: Sequence[str]) -> None:
    if reasons:
        print(f"its logs and its ledger stay in {target.var_dir}")
    else:
        target.remove_files()


def cut(proxy: Proxy, case: Case, recorder: Recorder, random: Random) -> Outcome:
    """Cut the connection, wait until it is back or need not be, and clear the way again."""
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
            break
    else:
        outcome = Outcome(None, None, 0)
    proxy.fault = Clear()  # what it held back goes its way
    return outcome


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
    """Say which targets a case has missed, a line each."""
    reasons = []
    for number, outcome in enumerate(outcomes, 1):
        took_ns, limit_ns = outcome.reconnection_ns, case.limit_ns
        where = f"{' '.join(case.title.split())}, cut {number}"
        if limit_ns is None:
            if outcome.detection_ns is not None:
                reasons.append(f"{where}: the connection was given up for no reason")
        elif took_ns is None:
            reasons.append(f"{where}: not connected again within {RECOVERY_S:g} s")
        elif took_ns > limit_ns:
            reasons.append(
                f"{where}: connected again after {took_ns / MILLISECOND_NS:.1f} ms, "
                f"the target is {limit_ns / MILLISECOND_NS:g} ms"
            )
    return reasons


def report(outcomes: dict[Case, list[Outcome]], totals: lab.Totals, reasons: Sequence[str]) -> str:
    """Return the table of the experiment, for people."""
    lines = [
        f"{'':<28}{'detection (ms)':>18}{'reconnection (ms)':>20}",
        f"{'connection, fault, direction':<28}{'median':>9}{'max':>9}{'median':>11}{'max':>9}"
        f"{'target':>9}",
    ]
    for case, found in outcomes.items():
        detection = _cells([o.detection_ns for o in found])
        reconnection = _cells([o.reconnection_ns for o in found])
        target = "none" if case.limit_ns is None else f"{case.limit_ns / MILLISECOND_NS:g}"
        lines.append(
            f"{case.title:<28}{detection[0]:>9}{detection[1]:>9}"
            f"{reconnection[0]:>11}{reconnection[1]:>9}{target:>9}"
        )
    orders = totals.orders
    lines += [
        "",
        *(
            f"ticks at {where}: {counts.missed} missed, {counts.repeated} repeated, "
            f"{counts.out_of_order} out of order"
            for where, counts in (("the book", totals.book), ("the strategy", totals.strategy))
        ),
        f"orders: {orders.sent} sent, {orders.lost} lost, {orders.doubled} doubled, "
        f"{orders.expired} expired",
        "",
        "the hypothesis does not hold:" if reasons else "the hypothesis holds",
        *(f"  {reason}" for reason in reasons),
    ]
    return "\n".join(lines)


def _cells(times_ns: Sequence[int | None]) -> tuple[str, str]:
    known = [ns / MILLISECOND_NS for ns in times_ns if ns is not None]
    return (f"{median(known):.1f}", f"{max(known):.1f}") if known else ("-", "-")


def to_json(
    seed: int, outcomes: dict[Case, list[Outcome]], totals: lab.Totals, reasons: Sequence[str]
) -> dict[str, Any]:
    """Return all raw figures, for programs. Times are in ns."""
    return {
        "experiment": "cut_connection",
        "seed": seed,
        "cases": [
            {
                "stream": case.link.stream,
                "fault": case.kind.__name__,
                "to": str(case.to.name),
                "target_ns": case.limit_ns,
                "cuts": [asdict(outcome) for outcome in found],
            }
            for case, found in outcomes.items()
        ],
        "ticks_at_book": totals.book._asdict(),
        "ticks_at_strategy": totals.strategy._asdict(),
        "orders": totals.orders._asdict(),
        "holds": not reasons,
        "reasons": list(reasons),
    }


if __name__ == "__main__":
    sys.exit(main())
