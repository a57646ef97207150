"""What a fault of a cluster costs, from lists of timed events."""

from __future__ import annotations

from chaos.lab.outage import ON_ITS_WAY_NS, Expected, Outage, measure_outage, was_refused
from chaos.lab.recorder import Event, SeenEvaluation
from tests.log_lines import recorded

INJECTED_NS = 1_000
HIT_NS = INJECTED_NS + 20_000
AFTER_NS = HIT_NS + ON_ITS_WAY_NS
TAKEN_OVER = Expected("TW_PRICE", "market-1")
CLAIMED, EVALUATED, ANSWERED = (
    "TW_PRICE is claimed",
    "the strategy evaluates a tick",
    "an order is answered",
)
SEEN = [
    SeenEvaluation(INJECTED_NS - 10, "T", 7),
    SeenEvaluation(INJECTED_NS + 5, "T", 8),
    SeenEvaluation(AFTER_NS + 3_000, "T", 9),
]


def claim(at_ns: int, host: str, stream: str = "TW_PRICE") -> Event:
    event = recorded(at_ns, "uplink", "stream_claimed", {"stream": stream, "host": host})
    return event._replace(source=f"{host} uplink")


def order(at_ns: int, name: str, order_id: int) -> Event:
    return recorded(at_ns, "strategy", name, {"order_id": order_id})


EVENTS = [
    claim(INJECTED_NS - 500, "market-2"),  # of the fault before
    order(HIT_NS + 3, "order_sent", 4),  # a part of what was hit may have taken it
    order(AFTER_NS + 1, "order_filled", 4),
    claim(AFTER_NS + 100, "market-2", "TW_NEWS"),
    claim(AFTER_NS + 200, "market-2"),
    order(AFTER_NS + 3_010, "order_sent", 5),
    order(AFTER_NS + 3_050, "order_filled", 5),
]


def outage(
    events: list[Event],
    seen: list[SeenEvaluation] = SEEN,
    expected: Expected = TAKEN_OVER,
    heard_ns: int = AFTER_NS + 2_000,
) -> Outage:
    heard = {"T": {7: 1, 8: INJECTED_NS + 1, 9: heard_ns}}
    return measure_outage(expected, INJECTED_NS, HIT_NS, AFTER_NS + 4_000, events, seen, heard)


def test_takeover_ticks_and_orders_are_measured_from_the_fault() -> None:
    assert outage(EVENTS) == Outage(
        claimed_ns=AFTER_NS + 200 - INJECTED_NS,
        stale_ns=AFTER_NS + 3_000 - 5 - INJECTED_NS,
        answered_ns=AFTER_NS + 3_050 - INJECTED_NS,
        pending=(),
    )
    of_nobody = outage(EVENTS, expected=Expected())
    assert (of_nobody.claimed_ns, of_nobody.pending) == (None, ())


def test_what_has_not_happened_yet_is_pending() -> None:
    assert outage(EVENTS[:4]).pending == (CLAIMED, ANSWERED)
    assert outage(EVENTS, SEEN[:2]).pending == (EVALUATED,)
    # It was played before the fault, and was evaluated late.
    assert outage(EVENTS, heard_ns=INJECTED_NS).pending == (EVALUATED,)
    # An answer to an order of before the fault does not show that orders are taken.
    assert outage(EVENTS[:5]).pending == (ANSWERED,)


def test_a_takeover_is_one_by_another_host() -> None:
    own = [claim(AFTER_NS + 50, "market-1"), *EVENTS]
    assert outage(own).claimed_ns == AFTER_NS + 200 - INJECTED_NS
    assert outage(own, expected=Expected("TW_PRICE")).claimed_ns == AFTER_NS + 50 - INJECTED_NS


def test_a_writer_that_wakes_is_refused_if_it_says_so_on_its_host() -> None:
    overtaken = recorded(AFTER_NS, "uplink", "stream_overtaken", {"stream": "TW_PRICE"})
    event = overtaken._replace(source="market-1 uplink")
    assert was_refused("market-1", "TW_PRICE", INJECTED_NS, [event])
    for host, stream, since_ns in (
        ("market-2", "TW_PRICE", INJECTED_NS),
        ("market-1", "TW_NEWS", INJECTED_NS),
        ("market-1", "TW_PRICE", AFTER_NS + 1),
    ):
        assert not was_refused(host, stream, since_ns, [event])
