"""Figures from lists of timed events, as a recorder would see them."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.judge.records import BookedTick, Gap, PlayedTick
from chaos.lab.figures import (
    LAB,
    WATCHDOG,
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


def test_a_killed_gateway_is_measured_from_the_kill() -> None:
    found = measure(
        "gateway", INJECTED_NS, NOW_NS, KILLED_GATEWAY, evaluated((990, 10), (1002, 11), (1250, 12))
    )
    assert found.pending == ()
    assert found.detection_ns == 3  # a peer said it before supervisord did
    assert found.respawn_ns == 12
    assert found.reconnection_ns == 200  # the last of its two connections
    assert found.fresh_tick_ns == 250  # not the tick that was under way when it was killed
    assert found.order_possible_ns == 250
    assert found.stale_ns == 248


@pytest.mark.parametrize(
    ("left_out", "pending"),
    [
        (4, ("gateway is back",)),
        (5, ("all its connections are established",)),
        (6, ("all its connections are established",)),
    ],
)
def test_what_has_not_happened_yet_is_pending(left_out: int, pending: tuple[str, ...]) -> None:
    events = [event for number, event in enumerate(KILLED_GATEWAY) if number != left_out]
    found = measure("gateway", INJECTED_NS, NOW_NS, events, evaluated((990, 10), (1250, 12)))
    assert found.pending == pending
    assert found.order_possible_ns is None


def test_without_a_tick_at_the_strategy_nothing_is_fresh() -> None:
    found = measure(
        "gateway", INJECTED_NS, NOW_NS, KILLED_GATEWAY, evaluated((990, 10), (1002, 11))
    )
    assert found.pending == ("the strategy evaluates a tick",)
    assert found.fresh_tick_ns is None
    assert found.stale_ns == NOW_NS - 1002  # and it goes on


def test_a_connection_that_was_lost_again_after_the_respawn_does_not_stand() -> None:
    events = [*KILLED_GATEWAY, link(1300, "orderbook", "disconnected", "price")]
    assert measure("gateway", INJECTED_NS, NOW_NS, events, evaluated((1250, 12))).pending == (
        "all its connections are established",
    )


def test_a_connection_counts_though_the_respawn_was_seen_late() -> None:
    late = list(KILLED_GATEWAY)
    late[4] = late[4]._replace(at_ns=1240)
    found = measure("gateway", INJECTED_NS, NOW_NS, late, evaluated((990, 10), (1250, 12)))
    assert found.pending == ()
    assert found.reconnection_ns == 200


def test_a_killed_strategy_can_order_once_it_has_applied_news() -> None:
    events = [
        supervisor(1010, "ended", "strategy"),
        supervisor(1012, "spawned", "strategy"),
        link(1100, "strategy", "connected", "orders"),
        link(1101, "strategy", "connected", "news"),
    ]
    samples = evaluated((1150, 12))
    waiting = measure("strategy", INJECTED_NS, NOW_NS, events, samples)
    assert waiting.pending == ("the strategy applies news",)
    events.append(recorded(1170, "strategy", "news_applied", {}))
    assert measure("strategy", INJECTED_NS, NOW_NS, events, samples).order_possible_ns == 170


def test_ticks_do_not_pass_through_the_order_manager() -> None:
    events = [
        link(1002, "strategy", "disconnected", "orders"),
        supervisor(1012, "spawned", "order_manager"),
        link(1100, "strategy", "connected", "orders"),
    ]
    found = measure("order_manager", INJECTED_NS, NOW_NS, events, evaluated((1005, 11)))
    assert (found.pending, found.fresh_tick_ns, found.order_possible_ns) == ((), None, 100)


def test_a_frozen_role_is_detected_by_the_watchdog() -> None:
    events = [
        recorded(1500, WATCHDOG, "role_hung", {"program": "strategy"}),
        recorded(1600, WATCHDOG, "role_hung", {"program": "orderbook"}),
    ]
    assert measure("orderbook", INJECTED_NS, NOW_NS, events, []).detection_ns == 600


def test_a_role_that_the_lab_continued_is_back_without_a_respawn() -> None:
    events = [recorded(1500, LAB, CONTINUED, {"role": "orderbook"})]
    found = measure("orderbook", INJECTED_NS, NOW_NS, events, evaluated((990, 10), (1510, 11)))
    assert found.pending == ()
    assert (found.respawn_ns, found.reconnection_ns, found.fresh_tick_ns) == (None, None, 510)


def tape(*sequences: int) -> dict[str, dict[int, PlayedTick]]:
    return {"T": {sequence: PlayedTick("AAPL", 1) for sequence in sequences}}


def booked(*sequences: int) -> list[BookedTick]:
    return [BookedTick("T", sequence, "AAPL", 1) for sequence in sequences]


def test_ticks_at_the_book_are_missed_repeated_or_out_of_order() -> None:
    found = ticks_at_book(tape(*range(1, 11)), booked(3, 5, 5, 7, 6), {"T": 8})
    assert found == TickCounts(missed=2, repeated=1, out_of_order=1)  # 4 and 8


def test_what_came_before_the_first_booked_tick_is_not_missed() -> None:
    assert ticks_at_book(tape(1, 2, 3), booked(2, 3), {"T": 3}) == (0, 0, 0)


def test_a_tape_that_never_reached_the_book_is_missed_whole() -> None:
    assert ticks_at_book(tape(1, 2, 3), [], {"T": 2}).missed == 2


def test_ticks_at_the_strategy_are_missed_repeated_or_out_of_order() -> None:
    def started(last: int, first: int) -> Event:
        details = {"last_evaluated": last, "first_evaluated": first}
        return recorded(1, "strategy", "evaluation_started", details)

    events = [
        started(10, 11),
        started(20, 18),
        recorded(1, "strategy", "ticks_missed", {"first": 30, "last": 34, "where": "strategy"}),
        recorded(1, "orderbook", "ticks_missed", {"first": 1, "last": 9, "where": "gateway"}),
    ]
    samples = evaluated((1, 10), (2, 20), (3, 19))
    assert ticks_at_strategy(events, samples) == TickCounts(5, 3, 1)


def lapped(ticks: int, last: int | None) -> Event:
    details = {"first": 1, "last": last, "where": "ring", "ticks": ticks}
    return recorded(1, "strategy", "ticks_missed", details)


def test_the_ticks_of_a_lap_are_those_of_its_lines() -> None:
    assert ticks_at_strategy([lapped(4990, None), lapped(10, 40)], []).missed == 5000


def booked_order(order_id: int, **changes: Any) -> BookedOrder:
    order = BookedOrder(
        "strategy", order_id, "AAPL", "BUY", 10, 1, "FILLED", None, order_id, 10, "T", 1, 0, 1, ""
    )
    return order._replace(**changes)


def strategy_event(name: str, order_id: int, tick_sequence: int = 1) -> Event:
    details: dict[str, Any] = {"order_id": order_id}
    if name == "order_sent":
        details |= {"tape": "T", "tick_sequence": tick_sequence}
    return recorded(1, "strategy", name, details)


def fill(order_id: int, client_id: str = "strategy") -> Event:
    details = {"order_id": order_id, "client_id": client_id}
    return recorded(1, "order_manager", "order_filled", details)


def test_orders_are_lost_doubled_or_expired() -> None:
    events = [
        *(strategy_event("order_sent", n) for n in (1, 2, 3, 4)),
        strategy_event("order_filled", 4),
        *(fill(n) for n in (1, 1, 3)),
        fill(1, "another client"),
    ]
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


def test_unread_orders_of_an_ended_strategy_are_discarded_though_their_ids_are_reused() -> None:
    events = [
        strategy_event("order_sent", 1, 10),
        strategy_event("order_sent", 2, 20),
        strategy_event("order_sent", 3, 30),
        recorded(1, "gateway", "started", {}),
        recorded(1, "strategy", "started", {}),
        strategy_event("order_sent", 2, 50),
    ]
    ledger = [booked_order(1, tick_sequence=10), booked_order(2, tick_sequence=50)]
    assert orders(events, ledger, "strategy", 100) == OrderCounts(4, 0, 0, 0, discarded=2)
    assert orders(events, ledger[:1], "strategy", 100) == OrderCounts(4, 1, 0, 0, discarded=2)
    figures_json = [*events, strategy_event("order_filled", 3)]
    assert orders(figures_json, ledger, "strategy", 100) == OrderCounts(4, 1, 0, 0, discarded=2)


@pytest.mark.parametrize(
    ("log", "booked_ids", "lost", "discarded"),
    [
        ("sent 1, sent 2, sent 3, sent 4, started", [2, 3], 1, 1),  # 3 overtook 1; 4 was never read
        ("sent 1, sent 2, error 1, started", [2], 0, 1),  # it waited to be sent again
        ("sent 1, sent 2, given_up 1", [2], 0, 1),  # by a strategy that goes on
        ("sent 1, filled 1, started", [], 1, 0),  # what was answered was read
        ("sent 1, rejected 1, started", [], 1, 0),
    ],
)
def test_an_order_that_is_not_booked_is_lost_or_discarded(
    log: str, booked_ids: list[int], lost: int, discarded: int
) -> None:
    events = []
    for line in log.split(", "):
        name, _, order_id = line.partition(" ")
        if order_id:
            events.append(strategy_event(f"order_{name}", int(order_id), 10 * int(order_id)))
        else:
            events.append(recorded(1, "strategy", name, {}))
    ledger = [booked_order(n, tick_sequence=10 * n) for n in booked_ids]
    counts = OrderCounts(log.count("sent"), lost, 0, 0, discarded)
    assert orders(events, ledger, "strategy", 100) == counts


def test_ticks_that_were_evaluated_long_after_they_were_sent_may_have_been_held_back() -> None:
    sent = {"T": {10: 0, 11: 100, 12: 5000, 13: 5100}}
    samples = evaluated((50, 10), (5150, 12), (5151, 13))
    assert held_back(samples, sent, 1000) == [Gap("T", 11, 11)]
    assert held_back(samples, sent, 6000) == []
