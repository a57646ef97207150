"""Clients as people write them: each order has one answer, and only whole ones are booked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def answers_to(stack: PrivateStack, program: Path) -> list[dict[str, Any]]:
    """Run a case, and return what it was answered, in order."""
    done = subprocess.run(
        [sys.executable, program, str(stack.order_port)],
        capture_output=True, text=True, check=True, timeout=DEADLINE_S,
    )  # fmt: skip
    printed = [line.partition("-> ")[2] for line in done.stdout.splitlines() if "-> " in line]
    frames = "".join(text for text in printed if text.startswith("{")).split("*")[:-1]
    return [json.loads(frame) for frame in frames]


def booked(stack: PrivateStack, client_id: str) -> dict[int, str]:
    """What the ledger has of a client: the status by order_id."""
    with read_ledger(stack.var_dir / "orders.sqlite") as ledger:
        return {o.order_id: o.status for o in ledger.orders() if o.client_id == client_id}


def check(answers: list[dict[str, Any]], expected: list[tuple[int | None, str]]) -> set[str]:
    """Compare ids, and a phrase of the reason or the status. Returns the client_ids of reports."""
    assert len(answers) == len(expected)
    for answer, (order_id, says) in zip(answers, expected, strict=True):
        assert answer.get("order_id") == order_id, answer
        assert says in (answer.get("status") or answer["reason"]), answer
    return {answer["client_id"] for answer in answers if "client_id" in answer}


def test_orders_in_other_vocabularies_are_answered_with_the_first_field_to_mend(
    stack: PrivateStack,
) -> None:
    answers = answers_to(stack, CASES / "o01_course_orders.py")
    (client_id,) = check(
        answers,
        [
            (None, "type is missing"),
            (None, "unknown field id: order_id?"),
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
        ],
    )
    for answer in answers[:2]:
        assert "unknown field qty: quantity?" in answer["reason"]
    assert booked(stack, client_id) == {1: "FILLED", 2: "FILLED"}


def test_a_price_out_of_float_arithmetic_is_answered_with_the_one_to_send(
    stack: PrivateStack,
) -> None:
    sent_instead = ["0.3", "2706.93", "816.95", "172.53", "1", "0.00000001", "33.33333333"]
    says = [f"at most 8: send {price}" for price in sent_instead]
    for number in (1, 3, 8):
        says.insert(number - 1, "FILLED")
    answers = answers_to(stack, CASES / "o03_float_prices.py")
    (client_id,) = check(answers, list(enumerate(says, 1)))
    assert booked(stack, client_id) == dict.fromkeys((1, 3, 8), "FILLED")


def test_a_time_of_another_clock_is_named_and_its_order_is_not_booked(stack: PrivateStack) -> None:
    says = [
        *("FILLED", "REJECTED", "wall clock in ns", "wall clock in ns", "wall clock in ms"),
        *("wall clock in s", "no time", "monotonic clock", "monotonic clock", "FILLED"),
    ]
    answers = answers_to(stack, CASES / "o04_clocks.py")
    (client_id,) = check(answers, list(enumerate(says, 1)))
    assert booked(stack, client_id) == {1: "FILLED", 2: "REJECTED", 10: "FILLED"}
