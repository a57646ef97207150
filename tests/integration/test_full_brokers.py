"""Brokers that have no space left: one line says so, no order is lost or doubled, all goes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="requirements-cluster.txt is not installed")

from lib.stack.brokers import NAMES, Brokers
from tests.clients import OrderClient, order
from tests.helpers import wait_until
from tests.order_managers import NO_LIMITS, RunningOrderManager
from tests.stack import PrivateStack

ORDERS_AT_ONCE = 200
MOST_ORDERS = 100 * ORDERS_AT_ONCE
"""More than fit into the space that the brokers have."""


def give_space(brokers: Brokers) -> None:
    """Allow the streams more space, on one broker after the other."""
    for name in NAMES:
        path = brokers.directory / name / "broker.conf"
        path.write_text(re.sub(r"MAX_FILE: \w+", "MAX_FILE: 1GB", path.read_text()))
        brokers.processes[name].terminate()
        brokers.processes[name].wait()
        brokers.start(name)


def answers_to(client: OrderClient, numbers: list[int]) -> list[dict[str, Any]]:
    """Send these orders, and return their answers."""
    for number in numbers:
        client.tell(order(number))
    answers = [client.hear() for _ in numbers]
    assert [one["order_id"] for one in answers] == numbers
    return answers


def test_orders_that_the_brokers_have_no_space_for_are_booked_once_there_is_some(
    tmp_path: Path,
) -> None:
    with Brokers(tmp_path / "brokers", max_file="1MB") as brokers:
        brokers.start()
        cluster = {
            "servers": list(brokers.urls),
            "host": "order-1",
            "credentials": str(brokers.credentials("order")),
        }
        with PrivateStack({"risk": NO_LIMITS, "cluster": cluster}) as stack:
            manager = RunningOrderManager(stack, stack.start_by_hand("order_manager"))
            manager.wait_for("started")
            with manager.logged_on() as client:
                reports: dict[int, dict[str, Any]] = {}

                def send(numbers: list[int]) -> list[dict[str, Any]]:
                    """Return the errors."""
                    answers = answers_to(client, numbers)
                    done = [one for one in answers if one["type"] == "execution_report"]
                    reports.update({one["order_id"]: one for one in done})
                    return [one for one in answers if one["type"] == "error"]

                errors: list[dict[str, Any]] = []
                last = 0
                while not errors and last < MOST_ORDERS:
                    errors = send(list(range(last + 1, last + ORDERS_AT_ONCE + 1)))
                    last += ORDERS_AT_ONCE
                assert errors
                (line,) = manager.events("stream_not_written")
                assert line["stream"] == "TW_LEDGER"
                assert line["reason"] in errors[0]["reason"]
                give_space(brokers)
                wait_until(
                    lambda: not send([n for n in range(1, last + 1) if n not in reports]),
                    "all orders are booked",
                )
            trades = [reports[number]["trade_id"] for number in range(1, last + 1)]
            assert sorted(trades) == list(range(1, last + 1))
            checked = manager.check()
            assert checked.returncode == 0, checked
            assert f"{last:,} orders" in checked.stdout
