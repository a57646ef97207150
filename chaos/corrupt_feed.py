"""A hostile gateway: malformed, lost, repeated and reordered ticks, bad batches and HELLO answers.

A gateway of the lab sits between the real gateway and the orderbook. It injects one kind of defect
after the other into the numbered price stream and counts them. Expected: the orderbook's log counts
each defect as what it is, no more and no less, with the sequence number if it cost a tick; ticks
that can be requested again are; all other ticks are in the book once and in order.

A defect that looks valid cannot be detected (a plausible wrong price, two swapped frames), so none
is injected, and none into plain frames, whose ticks have no numbers. Always on a private stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.hostile_gateway import (
    DEFECTS,
    DISCONNECTED,
    MALFORMED,
    MISSED,
    PROTOCOL_ERROR,
    UNKNOWN,
    Defect,
    EventCounts,
    HostileGateway,
    NoDefect,
)
from chaos.faults.proxy import proxied
from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    command_line,
    run_experiment,
)
from chaos.lab.recorder import Event, StackRecording
from chaos.lab.target import TargetStack, wait_for
from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.process.log_events import (
    ORDERBOOK,
    Disconnected,
    MalformedFrames,
    ServerBrokeProtocol,
    TicksMissed,
    UnknownSymbols,
    name_of,
)
from lib.process.throttled_log import LOG_EVERY_NS

EVENTS: Final = (MALFORMED, UNKNOWN, MISSED, PROTOCOL_ERROR, DISCONNECTED)
"""All events that a defect may be counted as; all of them are compared after every defect."""
REST_S: Final = LOG_EVERY_NS / SECOND_NS + 0.1
"""The wait after a round. By then every count has been logged, also a wrong one."""
LOOK_S: Final = 0.005
MOST_NUMBERS: Final = 10
"""The most sequence numbers in a human-readable line."""
MOST_MISSED: Final = 1000
"""The most sequence numbers kept of one `ticks_missed`; a hostile gateway can claim any range."""


@dataclass(frozen=True)
class CorruptFeedOutcome:
    """The result of one kind of defect, injected `kind.times` times."""

    kind: type[Defect]
    left: int
    """How often it could not be injected."""
    tape: str
    expected: EventCounts
    """What the orderbook should have counted."""
    counted: EventCounts
    recovery_ns: int | None
    """From the last defect until a later tick was in the book."""


class CorruptFeed(Experiment):
    """Every kind of defect, one after the other, `times` times."""

    name = "corrupt_feed"
    hypothesis = (
        "every defect is counted as what it is, by sequence number if it cost a tick; all other "
        "ticks are in the book once and in order"
    )
    needs_private = True

    def __init__(self, times: int) -> None:
        self.title = f"a hostile gateway: {len(DEFECTS)} kinds of defects, {times} times"
        self.rounds = times * len(DEFECTS)
        self.outcomes: list[CorruptFeedOutcome] = []
        self._gateway = HostileGateway()
        self._compared = 0  # events of the recording that belong to earlier rounds

    @contextmanager
    def prepared(self, target: TargetStack) -> Iterator[None]:
        """Put the hostile gateway, without a defect for now, in front of the orderbook."""
        with proxied(target) as proxies:
            proxies["price"].fault = self._gateway
            yield

    def run_round(self, context: RoundContext, number: int) -> None:
        """Inject one kind of defect, and compare what the orderbook counted."""
        kind = DEFECTS[number % len(DEFECTS)]
        context.show_progress(kind.title)
        recording, compared = context.recorder.recording, self._compared
        # Its own Random: it is used in another thread.
        defect = kind(Random(context.random.random()))
        booked = len(recording.booked)
        self._gateway.defect = defect
        try:
            wait_for(lambda: defect.left == 0, RECOVERY_S, LOOK_S)
            wait_for(lambda: recovery_ns(defect, recording, booked) is not None, RECOVERY_S, LOOK_S)
        finally:
            self._gateway.defect = NoDefect(context.random)
        expected = defect.event_counts
        time.sleep(REST_S)
        wait_for(
            lambda: counted_by_orderbook(recording.events[compared:]) == expected,
            RECOVERY_S,
            LOOK_S,
        )
        events = recording.events[compared:]
        self._compared += len(events)
        counted, took_ns = counted_by_orderbook(events), recovery_ns(defect, recording, booked)
        self.outcomes.append(
            CorruptFeedOutcome(kind, defect.left, recording.playing, expected, counted, took_ns)
        )

    def withheld(self) -> dict[str, set[int]]:
        """Return the ticks that were replaced or permanently withheld."""
        ticks: dict[str, set[int]] = {}
        for outcome in self.outcomes:
            ticks.setdefault(outcome.tape, set()).update(*outcome.expected.numbers.values())
        return ticks

    def table(self) -> list[str]:
        """List each kind of defect with what it was counted as."""
        lines = [
            f"{'defect':<36}{'done':>5}  {'counted as':<18}{'expected':>10}{'counted':>9}"
            f"{'recovery (ms)':>15}"
        ]
        for outcome in self.outcomes:
            kind, event = outcome.kind, outcome.kind.counted_as or ""
            due, counted = outcome.expected.by_event[event], outcome.counted.by_event[event]
            ms = "-" if outcome.recovery_ns is None else outcome.recovery_ns // MILLISECOND_NS
            lines.append(
                f"{kind.title:<36}{kind.times - outcome.left:>5}  {event or 'nothing':<18}"
                f"{due:>10}{counted:>9}{ms:>15}"
            )
        return lines

    def reasons(self) -> list[str]:
        """Check that all defects were injected, counted correctly, and recovered from."""
        return [text for outcome in self.outcomes for text in unmet_expectations(outcome)]

    def figures(self) -> dict[str, Any]:
        """Return what was injected and what was counted, round by round."""
        return {
            "harms": [
                {
                    "harm": outcome.kind.__name__,
                    "done": outcome.kind.times - outcome.left,
                    "counted_as": outcome.kind.counted_as,
                    "sent": to_json(outcome.expected),
                    "counted": to_json(outcome.counted),
                    "recovery_ns": outcome.recovery_ns,
                }
                for outcome in self.outcomes
            ]
        }


def recovery_ns(defect: Defect, recording: StackRecording, start: int) -> int | None:
    """Return how long after a defect a later tick was in the book; None: not yet.

    `start`: how many ticks were in the book before the defect.
    """
    for index in range(start, len(recording.booked)):
        at_ns = recording.booked_ns[index]
        if recording.booked[index].sequence > defect.last and at_ns >= defect.done_ns:
            return at_ns - defect.done_ns
    return None


def counted_by_orderbook(events: Iterable[Event]) -> EventCounts:
    """Return what the orderbook counted, from its log events. Pure."""
    event_counts = EventCounts()
    for event in events:
        if event.source != ORDERBOOK:
            continue
        match event.what:
            case TicksMissed(first=first, last=last):
                numbers = islice(range(first, last + 1), MOST_MISSED)
                event_counts.add_ticks(MISSED, last - first + 1, numbers)
            case MalformedFrames() | UnknownSymbols() as counted:
                shown = [example["sequence"] for example in counted.examples]
                event_counts.add_ticks(name_of(type(counted)), counted.count, shown)
            case ServerBrokeProtocol() | Disconnected() as once:
                event_counts.by_event[name_of(type(once))] += 1
    return event_counts


def unmet_expectations(outcome: CorruptFeedOutcome) -> list[str]:
    """List what was not as expected, a line each. Pure."""
    title, expected, counted = outcome.kind.title, outcome.expected, outcome.counted
    reasons = []
    if outcome.left:
        reasons.append(f"{title}: could be injected only {outcome.kind.times - outcome.left} times")
    if outcome.recovery_ns is None:
        reasons.append(f"{title}: no later tick in the book within {RECOVERY_S:g} s")
    for event in EVENTS:
        if counted.by_event[event] != expected.by_event[event]:
            reasons.append(
                f"{title}: {expected.by_event[event]} {event} expected, "
                f"the orderbook counted {counted.by_event[event]}"
            )
        due, named = expected.numbers.get(event, set()), counted.numbers.get(event, set())
        for numbers, what in ((due - named, "not logged"), (named - due, "logged without cause")):
            if numbers:
                shown = ", ".join(map(str, sorted(numbers)[:MOST_NUMBERS]))
                more = ", …" if len(numbers) > MOST_NUMBERS else ""
                reasons.append(f"{title}: {event} {what} by number: {shown}{more}")
    return reasons


def to_json(event_counts: EventCounts) -> dict[str, Any]:
    """Return event counts as JSON values."""
    numbers = {event: sorted(ticks) for event, ticks in event_counts.numbers.items()}
    return {"counts": dict(event_counts.by_event), "numbers": numbers}


if __name__ == "__main__":
    arguments = command_line(CorruptFeed.name, __doc__, times=1).parse_args()
    sys.exit(run_experiment(CorruptFeed(arguments.times), arguments))
