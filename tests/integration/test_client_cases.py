"""Clients as people write them: each order has one answer, and only whole ones are booked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lib.ledger.reader import read_ledger
from tests.helpers import DEADLINE_S, PROJECT_ROOT
from tests.stack import PrivateStack

CASES = PROJECT_ROOT.parent / "shared" / "cases" / "clients"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not there: {CASES}")


@pytest.fixture(scope="module")
def stack() -> Iterator[PrivateStack]:
    with PrivateStack() as stack:
        stack.start_by_hand("order_manager")
        stack.wait_for_event("order_manager", "listening")
        yield stack


OTHER_VOCABULARIES = [
    (None, "unknown field qty: quantity?"),
    (None, "unknown field qty: quantity?"),
    (1, "type is missing"),
    (None, "order_id is missing"),
    (1, "side is BUY or SELL, got 'buy'"),
    (1, "side is BUY or SELL, got 'B'"),
    (1, "FILLED"),  # `action` says the same as `side`
    (1, "quantity is a whole number from 1, got '10'"),
    (1, "quantity is a whole number from 1, got 10.0"),
    (1, "quantity is a whole number from 1, got -10"),
    (1, "price is a number, got '190.50'"),
    (1, "price is a number, got null"),
    (1, "symbol"),  # another order of the number that was filled
    (None, "order_id is a whole number from 1 to"),
    (None, "order_id is a whole number from 1 to"),
    (1, "FILLED"),  # a timestamp and a sentiment do no harm
    (1, "one message a frame"),
    *[(None, "an empty frame")] * 3,
    (2, "FILLED"),
    (3, "double quotes"),
    (4, "price is a number, got NaN"),
    (None, "an order is a JSON object, got BUY,AAPL,10,190.5"),
]
FLOAT_PRICES = [
    *("FILLED", "send 0.3", "FILLED", "send 2706.93", "send 816.95", "send 172.53", "send 1"),
    *("FILLED", "send 0.00000001", "send 33.33333333"),
]
CLOCKS = [
    *("FILLED", "REJECTED", "wall clock in ns", "wall clock in ns", "wall clock in ms"),
    *("wall clock in s", "no time", "monotonic clock", "monotonic clock", "FILLED"),
]


@pytest.mark.parametrize(
    ("case", "expected", "booked"),
    [
        ("o01_course_orders", OTHER_VOCABULARIES, {1: "FILLED", 2: "FILLED"}),
        ("o03_float_prices", enumerate(FLOAT_PRICES, 1), dict.fromkeys((1, 3, 8), "FILLED")),
        ("o04_clocks", enumerate(CLOCKS, 1), {1: "FILLED", 2: "REJECTED", 10: "FILLED"}),
    ],
)
def test_each_order_is_answered_with_what_to_mend_and_only_whole_ones_are_booked(
    stack: PrivateStack, case: str, expected: list[tuple[int | None, str]], booked: dict[int, str]
) -> None:
    done = subprocess.run(
        [sys.executable, CASES / f"{case}.py", str(stack.order_port)],
        capture_output=True, text=True, check=True, timeout=DEADLINE_S,
    )  # fmt: skip
    printed = [line.partition("-> ")[2] for line in done.stdout.splitlines() if "-> " in line]
    frames = "".join(text for text in printed if text.startswith("{")).split("*")[:-1]
    client_ids = set()
    for frame, (order_id, says) in zip(frames, expected, strict=True):
        answer = json.loads(frame)
        assert answer.get("order_id") == order_id, answer
        # A phrase of the reason, or the status.
        assert says in (answer.get("status") or answer["reason"]), answer
        client_ids |= {answer["client_id"]} if "client_id" in answer else set()
    [client_id] = client_ids
    with read_ledger(stack.var_dir / "orders.sqlite") as ledger:
        mine = [order for order in ledger.orders() if order.client_id == client_id]
    assert {order.order_id: order.status for order in mine} == booked
