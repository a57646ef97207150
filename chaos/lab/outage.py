"""What a fault of a cluster costs: takeover, ticks and orders. Pure: timed events in, numbers out.

A cluster is seen from its strategy host, and by what the writers of its streams log. Counted from
the moment before a fault is injected, in ns:

claimed     a process has claimed the stream whose writer was hit, as it logs (`stream_claimed`)
stale       the longest time between two evaluated ticks or batches, up to the moment of measuring
answered    the strategy has the answer to an order that it sent after the fault
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.lab.figures import STRATEGY, longest_stale
from chaos.lab.recorder import Event, SeenEvaluation
from lib.clock import MILLISECOND_NS
from lib.process.log_events import (
    FillReported,
    OrderSent,
    RejectionReported,
    StreamClaimed,
    StreamOvertaken,
)

ON_ITS_WAY_NS: Final = 250 * MILLISECOND_NS
"""What was on its way when a fault had been injected has arrived after this time, or does not."""


@dataclass(frozen=True)
class Outage:
    """What one fault has cost; None: not applicable, or not happened yet (`pending`)."""

    claimed_ns: int | None
    stale_ns: int
    answered_ns: int | None
    pending: tuple[str, ...]
    """What has not happened yet, human-readable; () means that the cluster works again."""


@dataclass(frozen=True)
class Expected:
    """What has to happen after a fault."""

    stream: str = ""
    """The stream whose writer was hit, "" if none was."""
    former: str = ""
    """The host from which another one has to take the stream over, "" if none has to."""


def measure_outage(
    expected: Expected,
    injected_ns: int,
    hit_ns: int,
    now_ns: int,
    events: Sequence[Event],
    evaluated: Sequence[SeenEvaluation],
    heard_ns: Mapping[str, Mapping[int, int]],
) -> Outage:
    """Compute what a fault has cost from what was recorded until `now_ns`.

    `hit_ns` is when all of it was injected. `events` and `evaluated` may begin long before, and
    must end before the next fault. `heard_ns` is when each tick was played, by tape and sequence.
    """
    after_ns = hit_ns + ON_ITS_WAY_NS
    claimed_ns = _claimed(expected, injected_ns, events) if expected.stream else None
    is_fresh = any(
        heard_ns.get(tape, {}).get(sequence, 0) > after_ns
        for at_ns, tape, sequence in reversed(evaluated)
        if at_ns > after_ns
    )
    answered_ns = _answered(after_ns, events)
    stages = {
        f"{expected.stream} is claimed": claimed_ns is not None or not expected.stream,
        "the strategy evaluates a tick": is_fresh,
        "an order is answered": answered_ns is not None,
    }
    return Outage(
        None if claimed_ns is None else claimed_ns - injected_ns,
        longest_stale(injected_ns, now_ns, evaluated),
        None if answered_ns is None else answered_ns - injected_ns,
        tuple(what for what, has_happened in stages.items() if not has_happened),
    )


def _claimed(expected: Expected, injected_ns: int, events: Iterable[Event]) -> int | None:
    for at_ns, _, what in events:
        if at_ns < injected_ns or not isinstance(what, StreamClaimed):
            continue
        if what.stream == expected.stream and what.host != expected.former:
            return at_ns
    return None


def _answered(after_ns: int, events: Iterable[Event]) -> int | None:
    sent: set[int] = set()
    for at_ns, source, what in events:
        if source != STRATEGY or at_ns < after_ns:
            continue
        if isinstance(what, OrderSent):
            sent.add(what.order_id)
        elif isinstance(what, FillReported | RejectionReported) and what.order_id in sent:
            return at_ns
    return None


def was_refused(host: str, stream: str, injected_ns: int, events: Iterable[Event]) -> bool:
    """Whether the writer on a host has found, after a fault, that it was overtaken."""
    return any(
        at_ns >= injected_ns
        and source.startswith(f"{host} ")
        and isinstance(what, StreamOvertaken)
        and what.stream == stream
        for at_ns, source, what in events
    )
