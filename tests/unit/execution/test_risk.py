"""Risk: a limit means its figure exactly, 0 switches it off, and the first to fail speaks."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.clock import SECOND_NS
from lib.execution.risk import Risk
from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.settings import RiskSettings
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import Order, make_order

SYMBOLS = ("AAPL", "MSFT")
TTL_NS = 5 * SECOND_NS
NOW_NS = 1_000 * SECOND_NS
LATEST = 100 * PRICE_SCALE


def make_risk(latest: int | str | None = LATEST, **limits: float) -> Risk:
    """Limits that are not named are off."""
    off = dict.fromkeys(RiskSettings.__struct_fields__, 0)
    return Risk(RiskSettings(**off | limits), TTL_NS, SYMBOLS, lambda symbol: latest)


def make(**changes: object) -> Order:
    fields = {
        "order_id": 1,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 10,
        "price": LATEST,
    }
    return make_order(**fields | changes)


def judge(
    risk: Risk,
    order: Order | None = None,
    *,
    client_id: str = "strategy",
    position: int = 0,
    now_ns: int = NOW_NS,
    halted: bool = False,
) -> str | None:
    order = order or make()
    return risk.refusal(client_id, order, order.price, position, now_ns=now_ns, halted=halted)


def trade(quantity: int) -> dict[str, object]:
    """The fields of an order that buys so much, or sells it."""
    return {"side": "BUY" if quantity > 0 else "SELL", "quantity": abs(quantity)}


def would_be(position: int) -> str:
    return f"the position would be {position}, and the limit is 100 long or short"


POSITION = {"max_position": 100}
QUANTITY = {"max_order_quantity": 1000}
EXPIRED = "expired: first sent 5.000 s before its receipt, and the limit is 5.000 s"
TOO_MANY = "the quantity is 1001, and the limit is 1000"
PAST_ALL = f"the position would pass {MAX_INTEGER}"
LIMITS = [
    ({}, 0, {"sent_ns": NOW_NS - TTL_NS}, {"sent_ns": NOW_NS - TTL_NS - 1}, EXPIRED),
    ({}, 0, {}, {"symbol": "aapl"}, "unknown symbol aapl: AAPL is configured"),
    ({}, 0, {"symbol": "MSFT"}, {"symbol": "TSLA"}, "unknown symbol TSLA"),
    ({}, 10, {"position": 10}, {"position": 0}, "the position is 10, and the order assumes 0"),
    *[
        row
        for sign in (1, -1)
        for row in [
            (QUANTITY, 0, trade(sign * 1000), trade(sign * 1001), TOO_MANY),
            ({}, sign, trade(sign * (MAX_INTEGER - 1)), trade(sign * MAX_INTEGER), PAST_ALL),
            (POSITION, sign * 90, trade(sign * 10), trade(sign * 11), would_be(sign * 101)),
            # As after the limit has been lowered: it may be reduced, or reversed up to the limit.
            (POSITION, sign * 500, trade(-sign), trade(sign), would_be(sign * 501)),
            (POSITION, sign * 500, trade(-sign * 600), trade(-sign * 601), would_be(-sign * 101)),
        ]
    ],
    (
        {"price_collar_percent": 12.5},
        0,
        {"price": LATEST * 9 // 8},
        {"price": LATEST * 6 // 5},
        "the price 120.00 is more than 12.5% from the latest, 100.00",
    ),
]


@pytest.mark.parametrize(("limits", "position", "taken", "refused", "reason"), LIMITS)
def test_a_limit_means_its_figure_exactly(limits, position, taken, refused, reason):
    risk = make_risk(**limits)
    assert judge(risk, make(**taken), position=position) is None
    assert judge(risk, make(**refused), position=position) == reason


def test_a_time_of_another_clock_is_named_and_one_up_to_the_time_to_live_is_monotonic():
    risk = make_risk()
    wall_ns = NOW_NS - TTL_NS  # a host whose wall clock begins at its start, as some do
    assert risk.foreign_clock(NOW_NS - TTL_NS, NOW_NS, wall_ns) is None
    assert "wall clock in ns" in risk.foreign_clock(NOW_NS - TTL_NS - 1, NOW_NS, wall_ns)


# Orders per second.


def test_the_rate_is_limited_exactly_and_the_reason_says_whose():
    risk = make_risk(max_orders_per_second=3)
    assert [judge(risk) for _ in range(3)] == [None] * 3
    assert judge(risk) == "strategy has sent 3 orders within a second, which is the limit"


def test_an_order_counts_towards_the_rate_unless_it_was_halted_or_expired():
    risk = make_risk(max_orders_per_second=1)
    assert judge(risk, halted=True) == "halted"
    assert judge(risk, make(sent_ns=0)).startswith("expired")
    assert judge(risk, make(symbol="TSLA")) == "unknown symbol TSLA"
    assert "within a second" in judge(risk)


class PlainRate:
    """The rate limit as one would say it, at any cost: the times of all orders that counted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.times_ns: list[int] = []

    def takes(self, now_ns: int) -> bool:
        within_a_second = [t for t in self.times_ns if now_ns - t < SECOND_NS]
        if len(within_a_second) >= self.limit:
            return False
        self.times_ns.append(now_ns)
        return True


gaps_ns = st.one_of(
    st.just(0),
    st.integers(0, 2 * SECOND_NS),
    st.sampled_from([1, SECOND_NS // 3, SECOND_NS // 2, SECOND_NS - 1, SECOND_NS, SECOND_NS + 1]),
)


@given(
    limit=st.integers(1, 5),
    steps=st.lists(st.tuples(gaps_ns, st.sampled_from("ab"), st.booleans()), max_size=60),
)
@example(2, [(0, "a", False), (0, "a", False), (SECOND_NS, "a", False), (0, "a", False)])
def test_the_rate_window_decides_as_a_plain_list_of_times_does(limit, steps):
    """Whether or not idle clients are forgotten at any time."""
    risk, forgetful = (make_risk(max_orders_per_second=limit) for _ in range(2))
    plain = {client_id: PlainRate(limit) for client_id in "ab"}
    now_ns = NOW_NS
    for gap_ns, client_id, forget in steps:
        now_ns += gap_ns
        if forget:
            forgetful.forget_idle(now_ns)
        takes = plain[client_id].takes(now_ns)
        assert (judge(risk, client_id=client_id, now_ns=now_ns) is None) == takes
        assert (judge(forgetful, client_id=client_id, now_ns=now_ns) is None) == takes


# The price collar.


@given(st.integers(1, 10**6), st.integers(1, MAX_PRICE // 10**4 // 3))
@example(29, 1)  # 0.29 as a float is a little less than that
@example(1, MAX_PRICE // 10**4 // 3)
def test_the_collar_is_the_decimal_number_of_the_settings_and_not_a_float(hundredths, scale):
    """A collar of as many hundredths of a percent is as many units, times scale, of 10,000."""
    latest = 10**4 * scale
    width = hundredths * scale
    risk = make_risk(latest, price_collar_percent=hundredths / 100)
    for price, outside in [
        (latest + width, False),
        (latest + width + 1, True),
        (latest - width, False),
        (latest - width - 1, True),
    ]:
        if 0 < price <= MAX_PRICE:
            assert (judge(risk, make(price=price)) is not None) == outside


def test_none_for_a_price_switches_the_collar_off():
    assert judge(make_risk(latest=None, price_collar_percent=1.0), make(price=1)) is None


@given(st.integers(1, 10**6), st.integers(1, MAX_PRICE))
def test_without_a_price_to_compare_with_the_collar_rejects_any_price_and_says_why(
    hundredths, price
):
    risk = make_risk(latest="no tick yet", price_collar_percent=hundredths / 100)
    assert judge(risk, make(price=price)) == "no price to compare with: no tick yet"
    assert judge(make_risk(latest="no tick yet"), make(price=price)) is None  # it is switched off


def test_the_collar_asks_for_the_price_of_the_orders_symbol():
    latest = {"AAPL": LATEST, "MSFT": 4 * LATEST}
    settings = RiskSettings(price_collar_percent=10.0)
    risk = Risk(settings, TTL_NS, SYMBOLS, latest.get)
    assert judge(risk, make(symbol="MSFT", price=4 * LATEST)) is None
    assert judge(risk, make(symbol="AAPL", price=4 * LATEST)) is not None


# All of them.


REASONS = {
    "halted": "halted",
    "expired": "expired",
    "rate": "strategy has sent",
    "symbol": "unknown symbol",
    "quantity": "the quantity is",
    "assumption": "the position is",
    "largest integer": "the position would pass",
    "position": "the position would be",
    "collar": "the price",
}
"""What can be wrong with an order, in the order in which it is looked for."""


@pytest.mark.parametrize("wrong", [*itertools.combinations(REASONS, 2)], ids=" and ".join)
def test_of_two_things_that_are_wrong_the_first_is_the_reason(wrong):
    risk = make_risk(
        max_order_quantity=10,
        max_position=100,
        price_collar_percent=50.0,
        max_orders_per_second=2,
    )
    for _ in range(2 if "rate" in wrong else 1):
        assert judge(risk) is None
    position = 0
    if "position" in wrong:
        position = 100
    if "largest integer" in wrong:
        position = MAX_INTEGER
    order = make(
        symbol="TSLA" if "symbol" in wrong else "AAPL",
        quantity=11 if "quantity" in wrong else 10,
        position=position - 1 if "assumption" in wrong else position,
        price=2 * LATEST if "collar" in wrong else LATEST,
        sent_ns=0 if "expired" in wrong else NOW_NS,
    )
    reason = judge(risk, order, position=position, halted="halted" in wrong)
    assert reason is not None
    assert reason.startswith(REASONS[wrong[0]])


# Memory.

LITTLE_BYTES = 50_000
"""An empty deque keeps some 8 KB of blocks for later."""
MANY_CLIENTS = [(f"client-{number}", NOW_NS) for number in range(1000)]
BURST = [("strategy", NOW_NS + number) for number in range(10_000)]
TRICKLE = [("strategy", NOW_NS + number * SECOND_NS // 2) for number in range(2, 1000)]


@pytest.mark.parametrize(
    ("orders", "limit", "forget_ns"),
    [
        ([("strategy", NOW_NS)] * 10_000, MAX_INTEGER, NOW_NS),
        (BURST + TRICKLE, MAX_INTEGER, NOW_NS),
        (MANY_CLIENTS, 1, NOW_NS + SECOND_NS),
        (MANY_CLIENTS, 0, NOW_NS),
    ],
    ids=["one pass", "a client that never pauses", "idle clients", "no rate limit"],
)
def test_a_rate_window_keeps_little_and_for_a_second_only(orders, limit, forget_ns):
    risk, order = make_risk(max_orders_per_second=limit), make()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for client_id, now_ns in orders:
            judge(risk, order, client_id=client_id, now_ns=now_ns)
        risk.forget_idle(forget_ns)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < LITTLE_BYTES
