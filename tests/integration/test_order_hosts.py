"""Two order hosts over three real brokers: one is killed, and the other goes on with all it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lib.stack.brokers import Brokers
from tests.brokers import brokers  # noqa: F401  a fixture
from tests.clients import order
from tests.helpers import wait_until
from tests.order_managers import NO_LIMITS, RunningOrderManager
from tests.stack import PrivateStack

TAKEOVER_AFTER_S = 2.0


@pytest.fixture
def hosts(brokers: Brokers) -> Iterator[list[RunningOrderManager]]:  # noqa: F811
    """One that serves, and a standby that follows it."""
    with ExitStack() as stack:
        hosts = []
        for name, event in (("order-a", "started"), ("order-b", "standing_by")):
            cluster = {
                "servers": list(brokers.urls),
                "host": name,
                "credentials": str(brokers.credentials("order")),
                "takeover_after": TAKEOVER_AFTER_S,
            }
            private = stack.enter_context(PrivateStack({"risk": NO_LIMITS, "cluster": cluster}))
            host = RunningOrderManager(private, private.start_by_hand("order_manager"))
            host.wait_for(event)
            hosts.append(host)
        yield hosts


def test_a_standby_takes_over_with_all_orders_and_check_agrees_on_both_hosts(
    hosts: list[RunningOrderManager],
    brokers: Brokers,  # noqa: F811
) -> None:
    first, second = hosts
    with first.logged_on() as client:
        answers = [client.ask(order(number)) for number in range(1, 21)]
        client.ask(order(21, symbol="NONE"))
    first.process.kill()
    claimed = second.wait_for("stream_claimed", former="order-a")
    assert claimed["epoch"] == 2
    second.wait_for("started")
    with second.connect() as client:
        ack = client.log_on("trader")
        assert (ack["last_order_id"], ack["positions"]) == (21, {"AAPL": 200})
        assert client.ask(order(20)) == answers[-1]
        assert client.ask(order(22))["trade_id"] == 21
    returned = RunningOrderManager(first.stack, first.stack.start_by_hand("order_manager"))
    returned.wait_for("standing_by", writer="order-b")
    for host in (returned, second):
        checked = wait_until(
            lambda h=host: "22 orders" in (found := h.check()).stdout and found,
            "the ledger has all orders",
        )
        assert checked.returncode == 0, checked
        assert "note: the same as the stream, up to message 26" in checked.stdout
    brokers.end()
    checked = second.check()
    assert checked.returncode == 2
    assert "22 orders, 21 fills" in checked.stdout
    assert checked.stderr.startswith("NOT compared with TW_LEDGER: no broker of nats://127.0.0.1:")
