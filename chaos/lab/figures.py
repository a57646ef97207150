"""The figures of an experiment: definitions and computation. Pure: timed events in, numbers out.

All figures come from what the recorder saw from outside (`chaos.lab.recorder`) and from the ledger;
none from a counter of the role that was hit. Times are monotonic, in nanoseconds; times from logs
and from the strategy's state file are late by up to `chaos.lab.recorder.LOOK_S`, its polling
interval.

For each fault, counted from the moment before it is injected:

detection       the first log line about it: supervisord logs that the role has ended, the watchdog
                logs anything about the role, or a peer logs that its connection is lost
respawn         supervisord logs that it has started the role again
reconnection    the last of the role's connections is established again, as its client logs it
                (`connected`: the stream's answer to HELLO, or the acknowledged logon)
fresh tick      the strategy has evaluated a tick after the role was back (respawned, or resumed),
                as the strategy's state file shows. Only for roles on the path of a tick
order possible  fresh tick and reconnection have both happened; if the strategy was hit, it has
                also applied news. (Its windows are full by then: they are refilled from the ring
                before the first tick is evaluated)
stale           the longest time between two evaluated ticks or batches; if there has been none
                since, up to the moment of measuring

Over the whole recording:

ticks at the book       compared with the tape that the recorder received, between the first and the
                        last sequence to be judged: missed (not in the book), repeated (booked
                        twice), out of order (booked after a later one)
ticks at the strategy   missed: reported as missed (`ticks_missed`), while it was down or because it
                        was lapped in the ring; repeated: evaluated again (`evaluation_started` at
                        or before the last evaluated one); out of order: its state file went back to
                        an earlier tick of the same tape
orders                  lost: logged as sent, or answered with FILLED, and not so in the ledger;
                        doubled: filled twice, as the order manager logs it; expired: rejected in
                        the ledger because received later than `order_ttl` after the sending;
                        discarded: the last orders that an ended strategy instance logged as sent,
                        neither answered nor in the ledger. They were never read; the next instance
                        decides again. An order that was answered with an error is sent again out of
                        order, so it may be discarded before others in the ledger. Orders that the
                        strategy gave up (`order_given_up`) count as discarded, too
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
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
        return [e.at_ns for e in self._of_client(events) if isinstance(e.what, Disconnected)]

    def connected_ns(self, events: Iterable[Event]) -> list[int]:
        """Return when the client logged that it was connected."""
        connected = (StreamConnected, OrdersConnected)
        return [e.at_ns for e in self._of_client(events) if isinstance(e.what, connected)]

    def _of_client(self, events: Iterable[Event]) -> Iterator[Event]:
        mine = (e for e in events if e.source == self.client)
        return (e for e in mine if getattr(e.what, "stream", "") == self.stream)


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
    respawned_ns = _first(after, SPAWNED, role)
    continued_ns = _first(after, CONTINUED, role)
    back_ns = min((ns for ns in (respawned_ns, continued_ns) if ns is not None), default=None)
    pending = [] if back_ns else [f"{role} is back"]
    reconnected_ns = back_ns and _reconnected(role, back_ns, respawned_ns is not None, after)
    if reconnected_ns == 0:
        pending.append("all its connections are established")
    fresh_ns = None
    if role in TICK_PATH and back_ns:
        fresh_ns = next((e.at_ns for e in evaluated if e.at_ns > back_ns), 0)
        if fresh_ns == 0:
            pending.append("the strategy evaluates a tick")
    news_ns = None
    if role == STRATEGY and respawned_ns:
        applied = (e for e in after if e.source == STRATEGY and isinstance(e.what, NewsApplied))
        news_ns = next((e.at_ns for e in applied if e.at_ns > respawned_ns), None)
        if news_ns is None:
            pending.append("the strategy applies news")
    stages = [at_ns for at_ns in (reconnected_ns, fresh_ns, news_ns) if at_ns is not None]
    possible_ns = max(stages) if stages and not pending else None

    def since(at_ns: int | None) -> int | None:
        return at_ns - injected_ns if at_ns else None

    return FaultFigures(
        since(_detected(role, after)),
        since(respawned_ns),
        since(reconnected_ns),
        since(fresh_ns),
        since(possible_ns),
        _longest_stale(injected_ns, now_ns, evaluated),
        tuple(pending),
    )


def _first(events: Iterable[Event], name: str, role: str) -> int | None:
    changes = ((e.at_ns, e.what) for e in events if isinstance(e.what, SupervisorEvent))
    return next((at_ns for at_ns, what in changes if what[:2] == (name, role)), None)


def _detected(role: str, after: Iterable[Event]) -> int | None:
    peers = {(link.client, link.stream) for link in ROLE_CONNECTIONS if link.server == role}
    for event in after:
        match event.what:
            case SupervisorEvent(event=name, program=ended) if ended == role and name in ENDS:
                return event.at_ns
            case (
                RoleEnded(program=program)
                | RoleHung(program=program)
                | RoleWasSilent(program=program)
                | RoleGaveUp(program=program)
            ) if program == role:
                return event.at_ns
            case Disconnected(stream=stream) if (event.source, stream) in peers:
                return event.at_ns
    return None


def _reconnected(role: str, back_ns: int, respawned: bool, after: Sequence[Event]) -> int | None:
    """Return when the role's last connection was back; 0: not yet; None: none was lost."""
    times_ns = []
    for link in ROLE_CONNECTIONS:
        if role not in (link.client, link.server):
            continue
        lost_ns = max(link.lost_ns(after), default=None)
        if not respawned and lost_ns is None:
            continue
        # Both times are from the client's log, so their order is right even if it is read late.
        since_ns = lost_ns or back_ns
        times_ns.append(next((ns for ns in link.connected_ns(after) if ns >= since_ns), 0))
    if not times_ns:
        return None
    return max(times_ns) if all(times_ns) else 0


def _longest_stale(injected_ns: int, now_ns: int, evaluated: Sequence[SeenEvaluation]) -> int:
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


def ticks_at_strategy(events: Iterable[Event], evaluated: Sequence[SeenEvaluation]) -> TickCounts:
    """Count what the strategy logs, and what its state file shows."""
    of_strategy = [event for event in events if event.source == STRATEGY]
    repeated = sum(
        max(0, e.what.last_evaluated - e.what.first_evaluated + 1)
        for e in of_strategy
        if isinstance(e.what, EvaluationStarted)
    )
    backwards = sum(b.tape == a.tape and b.sequence < a.sequence for a, b in pairwise(evaluated))
    lapped = sum(e.what.ticks for e in of_strategy if isinstance(e.what, TicksLapped))
    missed = ticks_of_absence(of_strategy) + lapped
    return TickCounts(missed, repeated, backwards)


def ticks_of_absence(events: Iterable[Event]) -> int:
    """Count the ticks that the strategy reports as missed while it was not attached."""
    return sum(
        e.what.last - e.what.first + 1
        for e in events
        if e.source == STRATEGY and isinstance(e.what, TicksMissed)
    )


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

    @property
    def to_be_booked(self) -> set[OrderKey]:
        """The orders that it sent and did not give up."""
        return {key for key in self.sent if key.order_id not in self.given_up}

    def discarded(self, booked: Set[OrderKey], *, has_ended: bool) -> set[OrderKey]:
        """Return the orders that it gave up or, once it has ended, that were never read.

        Orders are booked in order, except for those that are sent again after an error.
        """
        discarded = self.sent - self.to_be_booked - booked
        if has_ended:
            last = max((key.order_id for key in self.sent & booked), default=0)
            discarded |= {
                key
                for key in self.sent - booked
                if key.order_id not in self.filled | self.rejected
                and (key.order_id > last or key.order_id in self.answered_with_error)
            }
        return discarded


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
    *ended, last = orders_by_instance(events)
    sent = last.sent.union(*(instance.sent for instance in ended))
    discarded = last.discarded(booked.keys(), has_ended=False).union(
        *(instance.discarded(booked.keys(), has_ended=True) for instance in ended)
    )
    lost = {key.order_id for key in sent - booked.keys() - discarded}
    lost |= last.filled.union(*(instance.filled for instance in ended)) - filled
    fills = Counter(
        e.what.order_id
        for e in events
        if isinstance(e.what, OrderFilled) and e.what.client_id == client_id
    )
    expired = [
        order
        for key, order in booked.items()
        if key in sent
        and order.status == "REJECTED"
        and order.sent_ns is not None
        and order.received_ns - order.sent_ns > order_ttl_ns
    ]
    doubled = sum(count - 1 for count in fills.values())
    return OrderCounts(len(sent), len(lost), doubled, len(expired), len(discarded))


def held_back(
    evaluated: Sequence[SeenEvaluation], sent_ns: dict[str, dict[int, int]], max_age_ns: int
) -> list[Gap]:
    """Return the ticks that may have been too old for an order when they were evaluated.

    `sent_ns` is when the gateway sent each tick, by tape and sequence, as the book has it. The
    recorder reads the strategy's state file after the evaluation, so no age is underestimated.
    """
    gaps = []
    for before, now in pairwise(evaluated):
        if before.tape != now.tape:
            continue
        sent = sent_ns.get(now.tape, {})
        old = [
            sequence
            for sequence in range(before.sequence + 1, now.sequence + 1)
            if now.at_ns - sent.get(sequence, now.at_ns) > max_age_ns
        ]
        if old:
            gaps.append(Gap(now.tape, old[0], old[-1]))
    return gaps
