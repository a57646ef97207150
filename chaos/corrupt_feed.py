"""A hostile gateway: noise, lost, repeated and reordered ticks, lies about batches and HELLO.

A gateway of the lab's own stands between the real one and the orderbook, does one kind of harm
after the other to the numbered price stream, and keeps account of it. Expected: each harm is
counted in the orderbook's log as what it was, no more and no less, and by its number where it cost
a tick; what can be asked for again is; everything else is in the book once and in order.

What looks right cannot be told from what is right: a plausible wrong price, two frames of a batch
that changed places, another tape's name, a time of sending. So none of that is done here, and
nothing to a stream of plain frames alone, whose ticks have no numbers to compare. The gateway has
to be there from the start, so this is always done to a private stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
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
from chaos.faults.proxied_stack import proxied
from chaos.lab.experiment import RECOVERY_S, Experiment, RoundContext, cells, command_line, run
from chaos.lab.recorder import Event, StackRecording
from chaos.lab.target import TargetStack
from lib.clock import MILLISECOND_NS
from lib.net.throttled_log import LOG_EVERY_NS

TICK_EVENTS: Final = (MALFORMED, UNKNOWN, MISSED)
"""Tell of ticks, by number; the others of a connection."""
EVENTS: Final = (*TICK_EVENTS, PROTOCOL_ERROR, DISCONNECTED)
"""Every harm is one of these or nothing, and each of them is compared after every harm."""
REST_NS: Final = LOG_EVERY_NS + 100 * MILLISECOND_NS
"""After a round: what is counted has been logged by then, also what is counted too much."""
LOOK_S: Final = 0.005
MOST_NUMBERS: Final = 10
"""So many are told to people."""
MOST_MISSED: Final = 1000
"""So many ticks of one `ticks_missed` are kept by number; the gateway says which, and may lie."""


@dataclass(frozen=True)
class CorruptFeedOutcome:
    """One kind of harm, done so many times."""

    kind: type[Defect]
    left: int
    """How often it could not be done."""
    tape: str
    sent: EventCounts
    """What it should have been counted as."""
    counted: EventCounts
    recovery_ns: int | None
    """From the last harm until a tick from behind it was in the book."""


class CorruptFeed(Experiment):
    """Every kind of harm, one after the other, so many times."""

    name = "corrupt_feed"
    hypothesis = (
        "every harm is counted as what it was, by number where it cost a tick; everything else is "
        "in the book once and in order"
    )
    needs_private = True

    def __init__(self, times: int) -> None:
        self.title = f"a hostile gateway: {len(DEFECTS)} kinds of harm, {times} times"
        self.rounds = times * len(DEFECTS)
        self.outcomes: list[CorruptFeedOutcome] = []
        self._gateway = HostileGateway()
        self._compared = 0  # events of the recording that belong to earlier rounds

    @contextmanager
    def prepared(self, target: TargetStack) -> Iterator[None]:
        """Give a stack whose orderbook hears the hostile gateway, which is honest for now."""
        with proxied(target) as proxies:
            proxies["price"].fault = self._gateway
            yield

    def round(self, stage: RoundContext, number: int) -> None:
        """One kind of harm, and what the orderbook counted until the next one."""
        kind = DEFECTS[number % len(DEFECTS)]
        stage.tell(kind.title)
        recording = stage.recorder.recording
        harm = kind(Random(stage.random.random()))  # its own: it is used in another thread
        booked = len(recording.booked)
        self._gateway.harm = harm
        try:
            _wait(lambda: harm.left == 0)
            _wait(lambda: recovery_ns(harm, recording, booked) is not None)
        finally:
            self._gateway.harm = NoDefect(stage.random)
        _wait(lambda: time.monotonic_ns() - harm.done_ns > REST_NS)
        _wait(lambda: taken(recording.events[self._compared :]) == harm.account)
        end = len(recording.events)
        counted = taken(recording.events[self._compared : end])
        self._compared = end
        took_ns = recovery_ns(harm, recording, booked)
        outcome = CorruptFeedOutcome(
            kind, harm.left, recording.playing, harm.account, counted, took_ns
        )
        self.outcomes.append(outcome)

    def withheld(self) -> dict[str, set[int]]:
        """Return the ticks that were replaced, or withheld for good."""
        ticks: dict[str, set[int]] = {}
        for outcome in self.outcomes:
            ticks.setdefault(outcome.tape, set()).update(*outcome.sent.numbers.values())
        return ticks

    def table(self) -> list[str]:
        """Each kind of harm with what it was counted as."""
        lines = [
            f"{'harm':<36}{'done':>5}  {'counted as':<18}{'due':>5}{'counted':>9}"
            f"{'recovery (ms)':>15}"
        ]
        for kind in DEFECTS:
            found = [outcome for outcome in self.outcomes if outcome.kind is kind]
            event = kind.counted_as
            due, counted = (
                sum(account.counts[event] for account in accounts) if event else 0
                for accounts in ([o.sent for o in found], [o.counted for o in found])
            )
            lines.append(
                f"{kind.title:<36}{sum(kind.times - o.left for o in found):>5}  "
                f"{event or 'nothing':<18}{due:>5}{counted:>9}"
                f"{cells([o.recovery_ns for o in found if o.recovery_ns is not None])[0]:>15}"
            )
        return lines

    def reasons(self) -> list[str]:
        """Everything was done, counted as what it was, and over in the end."""
        return [text for outcome in self.outcomes for text in unfulfilled(outcome)]

    def figures(self) -> dict[str, Any]:
        """Return what was done and what was counted, round by round."""
        return {
            "harms": [
                {
                    "harm": outcome.kind.__name__,
                    "done": outcome.kind.times - outcome.left,
                    "counted_as": outcome.kind.counted_as,
                    "sent": to_json(outcome.sent),
                    "counted": to_json(outcome.counted),
                    "recovery_ns": outcome.recovery_ns,
                }
                for outcome in self.outcomes
            ]
        }


def _wait(condition: Callable[[], bool]) -> None:
    """Wait for a bounded time; whether it came true shows in the outcome."""
    deadline_s = time.monotonic() + RECOVERY_S
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(LOOK_S)


def recovery_ns(harm: Defect, recording: StackRecording, start: int) -> int | None:
    """How long after a harm a tick from behind it was in the book; None: not yet.

    `start`: so many ticks were in the book before the harm.
    """
    for index in range(start, len(recording.booked)):
        at_ns = recording.booked_ns[index]
        if recording.booked[index].sequence > harm.last and at_ns >= harm.done_ns:
            return at_ns - harm.done_ns
    return None


def taken(events: Iterable[Event]) -> EventCounts:
    """Take what the orderbook counted from what it logged. Pure."""
    account = EventCounts()
    for _, source, name, details in events:
        if source != "orderbook" or name not in EVENTS:
            continue
        if name == MISSED:
            first, last = details["first"], details["last"]
            count = last - first + 1
            account.add_ticks(name, count, islice(range(first, last + 1), MOST_MISSED))
        elif name in TICK_EVENTS:
            numbers = [example["sequence"] for example in details["examples"]]
            account.add_ticks(name, details["count"], numbers)
        else:
            account.counts[name] += 1
    return account


def unfulfilled(outcome: CorruptFeedOutcome) -> list[str]:
    """Say what was not as it should have been, a line each. Pure."""
    title, sent, counted = outcome.kind.title, outcome.sent, outcome.counted
    reasons = []
    if outcome.left:
        reasons.append(f"{title}: could be done only {outcome.kind.times - outcome.left} times")
    if outcome.recovery_ns is None:
        reasons.append(f"{title}: no tick from behind it in the book within {RECOVERY_S:g} s")
    for event in EVENTS:
        if counted.counts[event] != sent.counts[event]:
            reasons.append(
                f"{title}: {sent.counts[event]} {event} were due, "
                f"the orderbook counted {counted.counts[event]}"
            )
        due, told = sent.numbers.get(event, set()), counted.numbers.get(event, set())
        for numbers, what in ((due - told, "not told of"), (told - due, "told of without cause")):
            if numbers:
                shown = ", ".join(map(str, sorted(numbers)[:MOST_NUMBERS]))
                more = ", …" if len(numbers) > MOST_NUMBERS else ""
                reasons.append(f"{title}: {event} {what} by number: {shown}{more}")
    return reasons


def to_json(account: EventCounts) -> dict[str, Any]:
    """Return an account, for programs."""
    numbers = {event: sorted(ticks) for event, ticks in account.numbers.items()}
    return {"counts": dict(account.counts), "numbers": numbers}


if __name__ == "__main__":
    parser = command_line(CorruptFeed.name, __doc__, times=1)
    arguments = parser.parse_args()
    sys.exit(run(CorruptFeed(arguments.times), arguments))
