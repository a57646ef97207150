"""The figures of an experiment: definitions and computation. Pure: timed events in, numbers out.

All figures come from what the recorder saw from outside (`chaos.lab.recorder`) and from the ledger;
none from a counter of the role that was hit. Times are monotonic, in nanoseconds; times from logs
and from the strategy's state file are late by up to `chaos.lab.recorder.LOOK_S`, its polling
interval.

For each fault, counted from the moment before it is injected:

detection       the first log line about it: of supervisord (the role has ended), of the watchdog
                about the role, or of a peer that lost its connection
respawn         supervisord logs that it has started the role again
reconnection    the last of the role's connections is established again, as its client logs it
fresh tick      the strategy has evaluated a tick after the role was back (respawned, or resumed),
                as the strategy's state file shows. Only for roles on the path of a tick
order possible  fresh tick and reconnection have both happened; if the strategy was hit, it has
                also applied news. (Its windows are refilled before the first tick is evaluated)
stale           the longest time between two evaluated ticks or batches, up to the moment of
                measuring

Over the whole recording:

ticks at the book       compared with the tape that the recorder received, between the first and the
                        last sequence to be judged: missed, repeated, out of order
ticks at the strategy   missed: reported as missed, while it was down or because it was lapped in
                        the ring; repeated: evaluated again (`evaluation_started` at or before the
                        last evaluated one); out of order: its state file went back
orders                  lost: logged as sent, or answered with FILLED, and not so in the ledger;
                        doubled: filled twice, as the order manager logs it; expired: rejected in
                        the ledger because received later than `order_ttl` after the sending;
                        discarded: given up (`order_given_up`), or the last orders that an ended
                        strategy instance logged as sent, neither answered nor in the ledger: they
                        were never read, and the next instance decides again. An order that was
                        answered with an error is sent again out of order, so it may be discarded
                        before others in the ledger
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from chaos.judge.records import BookedTick, Gap, PlayedTick
from chaos.lab.recorder import CONTINUED, Event, SeenEvaluation
from lib.ledger.rows import BookedOrder
from lib.process.log_events import (
    Disconnected,
    EvaluationStarted,
    FillReported,
    LogEvent,
    NewsApplied,
    OrderError,
    OrderFilled,
    OrderGivenUp,
    OrdersConnected,
    OrderSent,
    RejectionReported,
    RoleEnded,
    RoleGaveUp,
    RoleHung,
    RoleWasSilent,
    Started,
    StreamConnected,
    TicksLapped,
    TicksMissed,
)
from lib.stack.log_follower import ENDED, SPAWNED, STOPPED, SupervisorEvent

LAB: Final = "lab"
"""The source of events that the lab itself adds."""
WATCHDOG: Final = "watchdog"
TICK_PATH: Final = frozenset({"gateway", "orderbook", "strategy"})
"""The roles that a tick passes through."""
STRATEGY: Final = "strategy"
ENDS: Final = (STOPPED, ENDED)
"""The events of supervisord when a program has ended."""


class RoleConnection(NamedTuple):
    """A connection between two roles. Its client logs `connected` and `disconnected`."""

    client: str
    stream: str
    server: str

    def lost_ns(self, events: Iterable[Event]) -> list[int]:
        """Return when the client logged that the connection was lost."""
        return self._logged_ns(events, Disconnected)

    def connected_ns(self, events: Iterable[Event]) -> list[int]:
        """Return when the client logged that it was connected."""
        return self._logged_ns(events, StreamConnected, OrdersConnected)

    def _logged_ns(self, events: Iterable[Event], *kinds: type[LogEvent]) -> list[int]:
        mine = [e for e in events if e.source == self.client and isinstance(e.what, kinds)]
        return [e.at_ns for e in mine if getattr(e.what, "stream", "") == self.stream]


ROLE_CONNECTIONS: Final = (
    RoleConnection("orderbook", "price", "gateway"),
    RoleConnection("strategy", "news", "gateway"),
    RoleConnection("strategy", "orders", "order_manager"),
)


@dataclass(frozen=True)
class FaultFigures:
    """The figures of one fault, in ns; None: not applicable, or not happened yet (`pending`)."""

    detection_ns: int | None
    respawn_ns: int | None
    reconnection_ns: int | None
    fresh_tick_ns: int | None
    order_possible_ns: int | None
    stale_ns: int
    pending: tuple[str, ...]
    """What has not happened yet, human-readable; () means recovered."""


def measure(
    role: str,
    injected_ns: int,
    now_ns: int,
    events: Sequence[Event],
    evaluated: Sequence[SeenEvaluation],
) -> FaultFigures:
    """Compute the figures of one fault of a role from what was recorded until `now_ns`.

    `events` and `evaluated` may begin long before the fault, and must end before the next one.
    """
    after = [event for event in events if event.at_ns >= injected_ns]
    changes = [
        (e.what.event, e.at_ns)
        for e in after
        if isinstance(e.what, SupervisorEvent) and e.what.program == role
    ]
    spawned_ns = next((ns for name, ns in changes if name == SPAWNED), None)
    back_ns = next((ns for name, ns in changes if name in (SPAWNED, CONTINUED)), None)
    stages: dict[str, int | None] = {}  # None: not yet
    if back_ns:
        if reconnected := _reconnected(role, back_ns, spawned_ns is not None, after):
            stages["all its connections are established"] = (
                max(reconnected) if all(reconnected) else None
            )
        if role in TICK_PATH:
            fresh = (e.at_ns for e in evaluated if e.at_ns > back_ns)
            stages["the strategy evaluates a tick"] = next(fresh, None)
        if role == STRATEGY and spawned_ns:
            applied = (e for e in after if e.source == STRATEGY and isinstance(e.what, NewsApplied))
            news = (e.at_ns for e in applied if e.at_ns > spawned_ns)
            stages["the strategy applies news"] = next(news, None)
    else:
        stages[f"{role} is back"] = None
    pending = tuple(what for what, at_ns in stages.items() if at_ns is None)
    times_ns = [at_ns for at_ns in stages.values() if at_ns is not None]

    def since(at_ns: int | None) -> int | None:
        return at_ns - injected_ns if at_ns else None

    return FaultFigures(
        since(_detected(role, after)),
        since(spawned_ns),
        since(stages.get("all its connections are established")),
        since(stages.get("the strategy evaluates a tick")),
        None if pending else since(max(times_ns, default=None)),
        longest_stale(injected_ns, now_ns, evaluated),
        pending,
    )


_ABOUT_A_ROLE: Final = (SupervisorEvent, RoleEnded, RoleHung, RoleWasSilent, RoleGaveUp)


def _detected(role: str, after: Iterable[Event]) -> int | None:
    peers = {(link.client, link.stream) for link in ROLE_CONNECTIONS if link.server == role}
    for at_ns, source, what in after:
        is_about = isinstance(what, _ABOUT_A_ROLE) and what.program == role
        is_end = not isinstance(what, SupervisorEvent) or what.event in ENDS
        is_cut = isinstance(what, Disconnected) and (source, what.stream) in peers
        if is_cut or (is_about and is_end):
            return at_ns
    return None


def _reconnected(role: str, back_ns: int, respawned: bool, after: Sequence[Event]) -> list[int]:
    """Return when each of the role's lost connections was back; 0: not yet."""
    times_ns = []
    for link in ROLE_CONNECTIONS:
        lost_ns = max(link.lost_ns(after), default=None)
        if role in (link.client, link.server) and (respawned or lost_ns):
            # Both times are from the client's log, so their order is right even if it is read late.
            since_ns = lost_ns or back_ns
            times_ns.append(next((ns for ns in link.connected_ns(after) if ns >= since_ns), 0))
    return times_ns


def longest_stale(injected_ns: int, now_ns: int, evaluated: Sequence[SeenEvaluation]) -> int:
    """Return the longest time between two evaluations from the fault on, and until now."""
    before = [e.at_ns for e in evaluated if e.at_ns < injected_ns][-1:]
    times_ns = [*before, *(e.at_ns for e in evaluated if e.at_ns >= injected_ns), now_ns]
    return max((b - a for a, b in pairwise(times_ns)), default=0)


class TickCounts(NamedTuple):
    """Counts of ticks that did not arrive exactly once and in order."""

    missed: int
    repeated: int
    out_of_order: int


def ticks_at_book(
    tapes: dict[str, dict[int, PlayedTick]],
    booked: Iterable[BookedTick],
    complete_to: dict[str, int],
) -> TickCounts:
    """Compare the book with the tape. `complete_to` is the last sequence to judge, by tape."""
    seen: dict[str, set[int]] = {}
    highest: Counter[str] = Counter()
    repeated = out_of_order = 0
    for tape, sequence, _, _ in booked:
        numbers = seen.setdefault(tape, set())
        if sequence in numbers:
            repeated += 1
        elif sequence < highest[tape]:
            out_of_order += 1
        numbers.add(sequence)
        highest[tape] = max(highest[tape], sequence)
    missed = 0
    for tape, last in complete_to.items():
        numbers = seen.get(tape, set())
        first = min(numbers, default=1)
        missed += sum(first <= n <= last and n not in numbers for n in tapes[tape])
    return TickCounts(missed, repeated, out_of_order)


def ticks_at_strategy(events: Sequence[Event], evaluated: Sequence[SeenEvaluation]) -> TickCounts:
    """Count what the strategy logs, and what its state file shows."""
    logged = [event.what for event in events if event.source == STRATEGY]
    repeated = sum(
        max(0, what.last_evaluated - what.first_evaluated + 1)
        for what in logged
        if isinstance(what, EvaluationStarted)
    )
    backwards = sum(b.tape == a.tape and b.sequence < a.sequence for a, b in pairwise(evaluated))
    lapped = sum(what.ticks for what in logged if isinstance(what, TicksLapped))
    return TickCounts(ticks_of_absence(events) + lapped, repeated, backwards)


def ticks_of_absence(events: Iterable[Event]) -> int:
    """Count the ticks that the strategy reports as missed while it was not attached."""
    logged = [event.what for event in events if event.source == STRATEGY]
    return sum(what.last - what.first + 1 for what in logged if isinstance(what, TicksMissed))


class OrderCounts(NamedTuple):
    """Counts of the orders that the strategy logged as sent during the recording."""

    sent: int
    lost: int
    doubled: int
    expired: int
    discarded: int


class OrderKey(NamedTuple):
    """Identifies an order that was sent.

    The order_id alone does not: a new strategy instance reuses those that never reached the ledger.
    """

    order_id: int
    tape: str
    tick_sequence: int


@dataclass
class InstanceOrders:
    """The orders that one instance of the strategy logged; by order_id what became of them."""

    sent: set[OrderKey] = field(default_factory=set)
    filled: set[int] = field(default_factory=set)
    rejected: set[int] = field(default_factory=set)
    answered_with_error: set[int] = field(default_factory=set)
    """An error is not final."""
    given_up: set[int] = field(default_factory=set)
    has_ended: bool = True

    @property
    def to_be_booked(self) -> set[OrderKey]:
        """The orders that it sent and did not give up."""
        return {key for key in self.sent if key.order_id not in self.given_up}

    def discarded(self, booked: Set[OrderKey]) -> set[OrderKey]:
        """Return the orders that it gave up or, once it has ended, that were never read.

        Orders are booked in order, except for those that are sent again after an error.
        """
        last = max((key.order_id for key in self.sent & booked), default=0)
        answered = self.filled | self.rejected
        return {
            key
            for key in self.sent - booked
            if key.order_id in self.given_up
            or (self.has_ended and key.order_id in self.answered_with_error - answered)
            or (self.has_ended and key.order_id > last and key.order_id not in answered)
        }


def orders_by_instance(events: Iterable[Event]) -> list[InstanceOrders]:
    """Return the orders of each strategy instance; the last one may still be running."""
    found = [InstanceOrders()]
    for event in events:
        if event.source != STRATEGY:
            continue
        match event.what:
            case Started():
                found.append(InstanceOrders())
            case OrderSent() as sent:
                found[-1].sent.add(OrderKey(sent.order_id, sent.tape, sent.tick_sequence))
            case FillReported(order_id=order_id):
                found[-1].filled.add(order_id)
            case RejectionReported(order_id=order_id):
                found[-1].rejected.add(order_id)
            case OrderError(order_id=int(order_id)):
                found[-1].answered_with_error.add(order_id)
            case OrderGivenUp(order_id=order_id):
                found[-1].given_up.add(order_id)
    found[-1].has_ended = False
    return found


def booked_orders(ledger: Iterable[BookedOrder], client_id: str) -> dict[OrderKey, BookedOrder]:
    """Return a client's orders in the ledger by their keys."""
    return {
        OrderKey(order.order_id, order.tape or "", order.tick_sequence or 0): order
        for order in ledger
        if order.client_id == client_id
    }


def orders(
    events: Sequence[Event], ledger: Iterable[BookedOrder], client_id: str, order_ttl_ns: int
) -> OrderCounts:
    """Compare the sent and answered orders with the ledger."""
    booked = booked_orders(ledger, client_id)
    filled = {order.order_id for order in booked.values() if order.status == "FILLED"}
    sent: set[OrderKey] = set()
    discarded: set[OrderKey] = set()
    lost: set[int] = set()
    for instance in orders_by_instance(events):
        sent |= instance.sent
        discarded |= instance.discarded(booked.keys())
        lost |= instance.filled - filled
    lost |= {key.order_id for key in sent - booked.keys() - discarded}
    logged = [event.what for event in events if isinstance(event.what, OrderFilled)]
    fills = [what.order_id for what in logged if what.client_id == client_id]
    expired = sum(
        order.status == "REJECTED"
        and order.sent_ns is not None
        and order.received_ns - order.sent_ns > order_ttl_ns
        for key, order in booked.items()
        if key in sent
    )
    doubled = len(fills) - len(set(fills))
    return OrderCounts(len(sent), len(lost), doubled, expired, len(discarded))


def held_back(
    evaluated: Sequence[SeenEvaluation], sent_ns: dict[str, dict[int, int]], max_age_ns: int
) -> list[Gap]:
    """Return the ticks that may have been too old for an order when they were evaluated.

    `sent_ns` is when the gateway sent each tick, by tape and sequence, as the book has it. The
    recorder reads the strategy's state file after the evaluation, so no age is underestimated.
    """
    gaps = []
    for before, now in pairwise(evaluated):
        sent = sent_ns.get(now.tape, {})
        numbers = range(before.sequence + 1, now.sequence + 1) if before.tape == now.tape else ()
        if old := [n for n in numbers if now.at_ns - sent.get(n, now.at_ns) > max_age_ns]:
            gaps.append(Gap(now.tape, old[0], old[-1]))
    return gaps
