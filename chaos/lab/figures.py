"""How every figure of an experiment is taken. Pure: timed events in, numbers out.

All of it comes from what the recorder saw from outside (`chaos.lab.recorder`), and from the ledger;
none from a counter of the role that was hit. Times are monotonic, in nanoseconds; those of logs and
of the strategy's file are late by up to 2 ms, which is how often the recorder looks.

Of one fault, counted from the moment before it is done:

detection       the first that anybody says of it: supervisord that the role has ended, the watchdog
                anything about the role, or one of its peers that the connection is lost
respawn         supervisord says that it has started the role again
reconnection    the last connection of those that the role has a part in stands again, as its client
                says (`connected`: the stream's answer to HELLO, or the acknowledged logon)
fresh tick      the strategy has evaluated a further tick, after the role was back. Back is what was
                started again, or continued; its own file says what the strategy has evaluated.
                Only of roles that ticks pass through
order possible  fresh tick and reconnection have both happened; where the strategy was hit, it has
                applied news as well. (Its windows are full by then: they are refilled from the ring
                before the first tick is evaluated)
stale           the longest time between two ticks or batches of ticks that the strategy evaluated;
                where there has been none since, until the figures were taken

Over the whole recording:

ticks at the book       of the tape as the recorder heard it, between the first and the last number
                        to be judged: missing in the book, there a second time, behind a later one
ticks at the strategy   reported as missed (`ticks_missed`), in its absence or because it was lapped
                        in the ring; evaluated again (`evaluation_started` at or before the last
                        evaluated one); evaluated up to an earlier one of the same tape (the
                        strategy's file)
orders                  lost: logged as sent, or answered with FILLED, and not so in the ledger;
                        doubled: filled twice, as the order manager logs it; expired: rejected in
                        the ledger with a receipt later than `order_ttl` after the sending;
                        discarded: the last ones that a strategy, which has ended since, has logged
                        as sent, neither answered nor in the ledger. Nobody has read them, and its
                        successor decides anew. One that was answered with an error waits to be sent
                        again, out of turn: it may be discarded before others in the ledger.
                        Those that a strategy has given up (`order_given_up`) are discarded, too
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from chaos.judge.records import BookedTick, Gap, PlayedTick
from chaos.lab.recorder import SUPERVISORD, Event, SeenEvaluation
from lib.ledger.rows import BookedOrder

LAB: Final = "lab"
"""The source of the lab's own events."""
CONTINUED: Final = "continued"
"""The lab's event for a role that it has put back itself; `role` says which."""
WATCHDOG: Final = "watchdog"
TICK_PATH: Final = frozenset({"gateway", "orderbook", "strategy"})
"""The roles that a tick passes through."""
STRATEGY: Final = "strategy"


class RoleConnection(NamedTuple):
    """A connection between two roles. The client logs its coming and going."""

    client: str
    stream: str
    server: str


ROLE_CONNECTIONS: Final = (
    RoleConnection("orderbook", "price", "gateway"),
    RoleConnection("strategy", "news", "gateway"),
    RoleConnection("strategy", "orders", "order_manager"),
)


@dataclass(frozen=True)
class FaultFigures:
    """What one fault cost, in ns; None where it does not apply, or has not happened (`pending`)."""

    detection_ns: int | None
    respawn_ns: int | None
    reconnection_ns: int | None
    fresh_tick_ns: int | None
    order_possible_ns: int | None
    stale_ns: int
    pending: tuple[str, ...]
    """What has not happened yet, in words for people; () is a recovery."""


def measure(
    role: str,
    injected_ns: int,
    now_ns: int,
    events: Sequence[Event],
    evaluated: Sequence[SeenEvaluation],
) -> FaultFigures:
    """Take the figures of one fault of a role from what was seen until `now_ns`.

    `events` and `evaluated` may begin long before the fault, and must end before the next one.
    """
    after = [event for event in events if event.at_ns >= injected_ns]
    respawned_ns = _first(after, SUPERVISORD, "spawned", role)
    back_ns = _earliest(respawned_ns, _first(after, LAB, CONTINUED, role))
    pending = [] if back_ns else [f"{role} is back"]
    reconnected_ns = back_ns and _reconnected(role, back_ns, respawned_ns is not None, after)
    if reconnected_ns == 0:
        pending.append("all its connections stand")
    fresh_ns = None
    if role in TICK_PATH and back_ns:
        fresh_ns = next((e.at_ns for e in evaluated if e.at_ns > back_ns), 0)
        if fresh_ns == 0:
            pending.append("the strategy evaluates a tick")
    news_ns = None
    if role == STRATEGY and respawned_ns:
        news_ns = _first([e for e in after if e.at_ns > respawned_ns], STRATEGY, "news_applied")
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


def _first(events: Iterable[Event], source: str, name: str, role: str | None = None) -> int | None:
    return next(
        (
            event.at_ns
            for event in events
            if (event.source, event.name) == (source, name)
            and role in (None, event.details.get("role"))
        ),
        None,
    )


def _earliest(*times_ns: int | None) -> int | None:
    return min((at_ns for at_ns in times_ns if at_ns is not None), default=None)


def _detected(role: str, after: Iterable[Event]) -> int | None:
    peers = {(link.client, link.stream) for link in ROLE_CONNECTIONS if link.server == role}
    for event in after:
        if event.source == SUPERVISORD and event.name == "ended" and event.details["role"] == role:
            return event.at_ns
        if event.source == WATCHDOG and event.details.get("program") == role:
            return event.at_ns
        if event.name == "disconnected" and (event.source, event.details.get("stream")) in peers:
            return event.at_ns
    return None


def _reconnected(role: str, back_ns: int, respawned: bool, after: Sequence[Event]) -> int | None:
    """When the last of the role's connections stood; 0: not yet; None: none was lost."""
    times_ns = []
    for link in ROLE_CONNECTIONS:
        if role not in (link.client, link.server):
            continue
        mine = [
            e for e in after if (e.source, e.details.get("stream")) == (link.client, link.stream)
        ]
        lost_ns = max((e.at_ns for e in mine if e.name == "disconnected"), default=None)
        if not respawned and lost_ns is None:
            continue
        # Both are of the client's log, in whose order there is no doubt, as late as it may be read.
        since_ns = lost_ns or back_ns
        times_ns.append(
            next((e.at_ns for e in mine if e.name == "connected" and e.at_ns >= since_ns), 0)
        )
    if not times_ns:
        return None
    return max(times_ns) if all(times_ns) else 0


def _longest_stale(injected_ns: int, now_ns: int, evaluated: Sequence[SeenEvaluation]) -> int:
    before = [e.at_ns for e in evaluated if e.at_ns < injected_ns][-1:]
    times_ns = [*before, *(e.at_ns for e in evaluated if e.at_ns >= injected_ns), now_ns]
    return max((b - a for a, b in pairwise(times_ns)), default=0)


class TickCounts(NamedTuple):
    """Ticks that were not there exactly once, in order."""

    missed: int
    repeated: int
    out_of_order: int


def ticks_at_book(
    tapes: dict[str, dict[int, PlayedTick]],
    booked: Iterable[BookedTick],
    complete_to: dict[str, int],
) -> TickCounts:
    """Compare the book with the tape. `complete_to` is the last number to be judged, by tape."""
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
    """Count what the strategy says of itself, and what its file shows."""
    of_strategy = [event for event in events if event.source == STRATEGY]
    repeated = sum(
        max(0, e.details["last_evaluated"] - e.details["first_evaluated"] + 1)
        for e in of_strategy
        if e.name == "evaluation_started"
    )
    backwards = sum(b.tape == a.tape and b.sequence < a.sequence for a, b in pairwise(evaluated))
    missed = ticks_of_absence(of_strategy) + _lapped_ticks(of_strategy)
    return TickCounts(missed, repeated, backwards)


def ticks_of_absence(events: Iterable[Event]) -> int:
    """Count the ticks that the strategy reports of a time in which it was not attached."""
    return sum(
        e.details["last"] - e.details["first"] + 1
        for e in events
        if (e.source, e.name) == (STRATEGY, "ticks_missed") and e.details["where"] == "strategy"
    )


def _lapped_ticks(of_strategy: Iterable[Event]) -> int:
    """Count what the strategy reports of a ring that was lapped: each line has its own number."""
    return sum(
        e.details["ticks"]
        for e in of_strategy
        if e.name == "ticks_missed" and e.details["where"] == "ring"
    )


class OrderCounts(NamedTuple):
    """Orders of the strategy that the recording saw leave."""

    sent: int
    lost: int
    doubled: int
    expired: int
    discarded: int


class OrderKey(NamedTuple):
    """What makes an order that was sent the one it is.

    A successor uses the order_ids of its predecessor again that never reached the ledger.
    """

    order_id: int
    tape: str
    tick_sequence: int


class InstanceOrders(NamedTuple):
    """What a life of the strategy has logged of its orders."""

    sent: set[OrderKey]
    filled: set[int]
    """order_ids."""
    rejected: set[int]
    answered_with_error: set[int]
    """That is not final."""
    given_up: set[int]

    @property
    def to_be_booked(self) -> set[OrderKey]:
        """What it has sent and not given up."""
        return {decision for decision in self.sent if decision.order_id not in self.given_up}


def lives(events: Iterable[Event]) -> list[InstanceOrders]:
    """Return the lives of the strategy, at least one; the last one may still go on."""
    found = [_new_life()]
    for event in events:
        if event.source != STRATEGY:
            continue
        if event.name == "started":
            found.append(_new_life())
        elif event.name == "order_sent":
            found[-1].sent.add(OrderKey(*(event.details[name] for name in OrderKey._fields)))
        elif event.name == "order_filled":
            found[-1].filled.add(event.details["order_id"])
        elif event.name == "order_rejected":
            found[-1].rejected.add(event.details["order_id"])
        elif event.name == "order_error" and event.details["order_id"] is not None:
            found[-1].answered_with_error.add(event.details["order_id"])
        elif event.name == "order_given_up":
            found[-1].given_up.add(event.details["order_id"])
    return found


def _new_life() -> InstanceOrders:
    return InstanceOrders(set(), set(), set(), set(), set())


def booked_orders(ledger: Iterable[BookedOrder], client_id: str) -> dict[OrderKey, BookedOrder]:
    """Return a client's orders in the ledger by what made them."""
    return {
        OrderKey(order.order_id, order.tape or "", order.tick_sequence or 0): order
        for order in ledger
        if order.client_id == client_id
    }


def orders(
    events: Sequence[Event], ledger: Iterable[BookedOrder], client_id: str, order_ttl_ns: int
) -> OrderCounts:
    """Compare what was sent and answered with the ledger."""
    booked = booked_orders(ledger, client_id)
    filled = {order.order_id for order in booked.values() if order.status == "FILLED"}
    all_lives = lives(events)
    all_sent = {decision for life in all_lives for decision in life.sent}
    told_in_vain = {order_id for life in all_lives for order_id in life.filled - filled}
    discarded = {d for life in all_lives[:-1] for d in _discarded(life, booked.keys())}
    discarded |= {
        decision for life in all_lives for decision in life.sent - life.to_be_booked - booked.keys()
    }
    lost = {decision.order_id for decision in all_sent - booked.keys() - discarded}
    fills = Counter(
        e.details["order_id"]
        for e in events
        if (e.source, e.name) == ("order_manager", "order_filled")
        and e.details["client_id"] == client_id
    )
    expired = [
        order
        for decision, order in booked.items()
        if decision in all_sent
        and order.status == "REJECTED"
        and order.sent_ns is not None
        and order.received_ns - order.sent_ns > order_ttl_ns
    ]
    return OrderCounts(
        len(all_sent),
        len(lost | told_in_vain),
        sum(count - 1 for count in fills.values()),
        len(expired),
        len(discarded),
    )


def _discarded(life: InstanceOrders, booked: Set[OrderKey]) -> set[OrderKey]:
    """Return what nobody has read of a life that has ended: orders are read and booked in order."""
    last = max((decision.order_id for decision in life.sent & booked), default=0)
    return {
        decision
        for decision in life.sent - booked
        if decision.order_id not in life.filled | life.rejected
        and (decision.order_id > last or decision.order_id in life.answered_with_error)
    }


def held_back(
    evaluated: Sequence[SeenEvaluation], sent_ns: dict[str, dict[int, int]], max_age_ns: int
) -> list[Gap]:
    """Return the ticks that may have been too old for an order when they were evaluated.

    `sent_ns` is when the gateway sent each tick, by tape and sequence, as the book has it. The
    strategy's file is looked at after the evaluation, so that a tick was not older than it seems.
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
