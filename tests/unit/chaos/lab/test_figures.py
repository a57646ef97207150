"""Figures from lists of timed events, as a recorder would see them."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.judge.records import BookedTick, Gap, PlayedTick
from chaos.lab.figures import (
    LAB,
    WATCHDOG,
    FaultFigures,
    OrderCounts,
    TickCounts,
    held_back,
    measure,
    orders,
    ticks_at_book,
    ticks_at_strategy,
)
from chaos.lab.recorder import CONTINUED, SUPERVISORD, Event, SeenEvaluation
from lib.ledger.rows import BookedOrder
from tests.log_lines import recorded

INJECTED_NS = 1000
NOW_NS = 1260


def supervisor(at_ns: int, name: str, role: str) -> Event:
    return recorded(at_ns, SUPERVISORD, name, {"role": role})


def link(at_ns: int, client: str, name: str, stream: str) -> Event:
    return recorded(at_ns, client, name, {"stream": stream})


def evaluated(*samples: tuple[int, int]) -> list[SeenEvaluation]:
    return [SeenEvaluation(at_ns, "T", sequence) for at_ns, sequence in samples]


KILLED_GATEWAY = [
    link(500, "orderbook", "connected", "price"),  # of an earlier instance
    link(1003, "orderbook", "disconnected", "price"),
    link(1004, "strategy", "disconnected", "news"),
    supervisor(1010, "ended", "gateway"),
    supervisor(1012, "spawned", "gateway"),
    link(1200, "strategy", "connected", "news"),
    link(1190, "orderbook", "connected", "price"),
]
CONNECTED = "all its connections are established"


def hit(role: str, events: list[Event], *samples: tuple[int, int]) -> FaultFigures:
    return measure(role, INJECTED_NS, NOW_NS, events, evaluated(*samples))


def test_a_killed_gateway_is_measured_from_the_kill() -> None:
    found = hit("gateway", KILLED_GATEWAY, (990, 10), (1002, 11), (1250, 12))
    assert found == FaultFigures(
        detection_ns=3,  # a peer said it before supervisord did
        respawn_ns=12,
        reconnection_ns=200,  # the last of its two connections
        fresh_tick_ns=250,  # not the tick that was under way when it was killed
        order_possible_ns=250,
        stale_ns=248,
        pending=(),
    )
    seen_late = list(KILLED_GATEWAY)
    seen_late[4] = supervisor(1240, "spawned", "gateway")
    assert hit("gateway", seen_late, (1250, 12)).reconnection_ns == 200


@pytest.mark.parametrize(
    ("events", "pending"),
    [
        ([*KILLED_GATEWAY[:4], *KILLED_GATEWAY[5:]], "gateway is back"),
        ([*KILLED_GATEWAY[:5], KILLED_GATEWAY[6]], CONNECTED),
        (KILLED_GATEWAY[:6], CONNECTED),
        ([*KILLED_GATEWAY, link(1300, "orderbook", "disconnected", "price")], CONNECTED),
    ],
)
def test_what_has_not_happened_yet_is_pending(events: list[Event], pending: str) -> None:
    found = hit("gateway", events, (990, 10), (1250, 12))
    assert found.pending == (pending,)
    assert found.order_possible_ns is None


def test_without_a_tick_at_the_strategy_nothing_is_fresh() -> None:
    found = hit("gateway", KILLED_GATEWAY, (990, 10), (1002, 11))
    assert found.pending == ("the strategy evaluates a tick",)
    assert found.fresh_tick_ns is None
    assert found.stale_ns == NOW_NS - 1002  # and it goes on


def test_a_killed_strategy_can_order_once_it_has_applied_news() -> None:
    events = [
        supervisor(1010, "ended", "strategy"),
        supervisor(1012, "spawned", "strategy"),
        link(1100, "strategy", "connected", "orders"),
        link(1101, "strategy", "connected", "news"),
    ]
    assert hit("strategy", events, (1150, 12)).pending == ("the strategy applies news",)
    events.append(recorded(1170, "strategy", "news_applied", {}))
    assert hit("strategy", events, (1150, 12)).order_possible_ns == 170


def test_ticks_do_not_pass_through_the_order_manager() -> None:
    events = [
        link(1002, "strategy", "disconnected", "orders"),
        supervisor(1012, "spawned", "order_manager"),
        link(1100, "strategy", "connected", "orders"),
    ]
    found = hit("order_manager", events, (1005, 11))
    assert (found.pending, found.fresh_tick_ns, found.order_possible_ns) == ((), None, 100)


def test_a_frozen_role_is_detected_by_the_watchdog_or_continued_by_the_lab() -> None:
    hung = [
        recorded(1500, WATCHDOG, "role_hung", {"program": "strategy"}),
        recorded(1600, WATCHDOG, "role_hung", {"program": "orderbook"}),
    ]
    assert hit("orderbook", hung).detection_ns == 600
    continued = [recorded(1500, LAB, CONTINUED, {"role": "orderbook"})]
    found = hit("orderbook", continued, (990, 10), (1510, 11))
    assert (found.pending, found.respawn_ns, found.reconnection_ns) == ((), None, None)
    assert found.fresh_tick_ns == 510


@pytest.mark.parametrize(
    ("played", "booked", "complete_to", "counts"),
    [
        (10, (3, 5, 5, 7, 6), 8, (2, 1, 1)),  # 4 and 8 are missed
        (3, (2, 3), 3, (0, 0, 0)),  # what came before the first one is not
        (3, (), 2, (2, 0, 0)),
    ],
)
def test_ticks_at_the_book_are_missed_repeated_or_out_of_order(
    played: int, booked: tuple[int, ...], complete_to: int, counts: tuple[int, int, int]
) -> None:
    tapes = {"T": {sequence: PlayedTick("AAPL", 1) for sequence in range(1, played + 1)}}
    ticks = [BookedTick("T", sequence, "AAPL", 1) for sequence in booked]
    assert ticks_at_book(tapes, ticks, {"T": complete_to}) == counts


def test_ticks_at_the_strategy_are_missed_repeated_or_out_of_order() -> None:
    def started(last: int, first: int) -> Event:
        details = {"last_evaluated": last, "first_evaluated": first}
        return recorded(1, "strategy", "evaluation_started", details)

    def missed(role: str, **details: Any) -> Event:
        return recorded(1, role, "ticks_missed", details)

    events = [
        started(10, 11),
        started(20, 18),
        missed("strategy", first=30, last=34, where="strategy"),
        missed("strategy", first=1, last=None, where="ring", ticks=990),
        missed("strategy", first=1, last=40, where="ring", ticks=10),
        missed("orderbook", first=1, last=9, where="gateway"),
    ]
    samples = evaluated((1, 10), (2, 20), (3, 19))
    assert ticks_at_strategy(events, samples) == TickCounts(1005, 3, 1)


def booked_order(order_id: int, **changes: Any) -> BookedOrder:
    sequence = 10 * order_id
    order = BookedOrder(
        "strategy", order_id, "AAPL", "BUY", 10, 1, "FILLED", None, order_id, 10, "T", sequence,
        0, 1, "",
    )  # fmt: skip
    return order._replace(**changes)


def strategy_events(log: str) -> list[Event]:
    """Parse "sent 1, sent 2 at 50, started": an order is of its tenfold tick, or of another."""
    events = []
    for line in log.split(", "):
        name, *numbers = line.replace(" at", "").split()
        details: dict[str, Any] = {}
        if numbers:
            name, details["order_id"] = f"order_{name}", int(numbers[0])
        if name == "order_sent":
            sequence = int(numbers[1]) if len(numbers) > 1 else 10 * int(numbers[0])
            details |= {"tape": "T", "tick_sequence": sequence}
        events.append(recorded(1, "strategy", name, details))
    return events


def test_orders_are_lost_doubled_or_expired() -> None:
    def fill(order_id: int, client_id: str = "strategy") -> Event:
        details = {"order_id": order_id, "client_id": client_id}
        return recorded(1, "order_manager", "order_filled", details)

    events = strategy_events("sent 1, sent 2, sent 3, sent 4, filled 4")
    events += [fill(1), fill(1), fill(3), fill(1, "another client")]
    late = {"status": "REJECTED", "trade_id": None, "sent_ns": 5, "received_ns": 106}
    ledger = [
        booked_order(1),
        # 2 is nowhere
        booked_order(3, **late),
        booked_order(4, status="REJECTED", trade_id=None),  # and the strategy got FILLED
        booked_order(9, **late),  # of before the recording
        booked_order(2, client_id="another client"),
    ]
    found = orders(events, ledger, "strategy", order_ttl_ns=100)
    assert found == OrderCounts(sent=4, lost=2, doubled=1, expired=1, discarded=0)


REUSED = "sent 1, sent 2, sent 3, started, sent 2 at 50"


@pytest.mark.parametrize(
    ("log", "ledger", "lost", "discarded"),
    [
        ("sent 1, sent 2, sent 3, sent 4, started", {2: 20, 3: 30}, 1, 1),  # 3 overtook 1
        ("sent 1, sent 2, error 1, started", {2: 20}, 0, 1),  # it waited to be sent again
        ("sent 1, sent 2, given_up 1", {2: 20}, 0, 1),  # by a strategy that goes on
        ("sent 1, filled 1, started", {}, 1, 0),  # what was answered was read
        ("sent 1, rejected 1, started", {}, 1, 0),
        (REUSED, {1: 10, 2: 50}, 0, 2),
        (REUSED, {1: 10}, 1, 2),
        (f"{REUSED}, filled 3", {1: 10, 2: 50}, 1, 2),
    ],
)
def test_an_order_that_is_not_booked_is_lost_or_discarded(
    log: str, ledger: dict[int, int], lost: int, discarded: int
) -> None:
    rows = [booked_order(order_id, tick_sequence=tick) for order_id, tick in ledger.items()]
    counts = OrderCounts(log.count("sent"), lost, 0, 0, discarded)
    assert orders(strategy_events(log), rows, "strategy", 100) == counts


def test_ticks_that_were_evaluated_long_after_they_were_sent_may_have_been_held_back() -> None:
    sent = {"T": {10: 0, 11: 100, 12: 5000, 13: 5100}}
    samples = evaluated((50, 10), (5150, 12), (5151, 13))
    assert held_back(samples, sent, 1000) == [Gap("T", 11, 11)]
    assert held_back(samples, sent, 6000) == []
