"""SIGKILL of the strategy under supervisord: it comes back knowing its position.

The order manager is stopped for a moment before each kill, so that orders are under way in every
one of them: written to a socket that is not read.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise

from lib.ledger.reader import read_ledger
from lib.ledger.rows import BookedOrder
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import PrivateStack

SETTINGS = {
    "gateway": {"rate": 4000.0, "news_interval": 0.02},
    "strategy": {"short_window": 2, "long_window": 4},
    # On a machine that is very busy, no order shall be too old.
    "order_manager": {"order_ttl": 1000.0},
    # The test freezes the order manager for as long as it likes.
    "watchdog": {"hang_after": 0},
}


def booked(stack: PrivateStack) -> list[BookedOrder]:
    with read_ledger(stack.var_dir / "orders.sqlite") as ledger:
        return sorted(ledger.orders(), key=lambda order: order.order_id)


def last(stack: PrivateStack, event: str) -> int:
    return max((e["order_id"] for e in stack.events("strategy", event)), default=0)


def test_a_killed_strategy_comes_back_with_the_positions_of_the_ledger(stack: PrivateStack) -> None:
    stack.start()
    order_manager = stack.pid("order_manager")
    for kills, wakes_after_successor in enumerate((False, True, False, True), 1):
        answered = last(stack, "order_filled")
        wait_until(lambda n=answered: last(stack, "order_filled") > n, "it trades")
        os.kill(order_manager, signal.SIGSTOP)
        try:
            wait_until(
                lambda: last(stack, "order_sent") > last(stack, "order_filled"),
                "an order is under way",
            )
            os.kill(stack.pid("strategy"), signal.SIGKILL)
            if wakes_after_successor:
                wait_until(
                    lambda n=kills: len(stack.events("strategy", "started")) == n + 1,
                    "its successor has started",
                )
        finally:
            os.kill(order_manager, signal.SIGCONT)

        def logons() -> list[dict]:
            return [e for e in stack.events("strategy", "connected") if e["stream"] == "orders"]

        wait_until(lambda n=kills: len(logons()) == n + 1, "its successor has logged on")
        logon = logons()[-1]
        assert logon["resent"] == 0
        held: Counter[str] = Counter()
        for order in booked(stack)[: logon["last_order_id"]]:
            held[order.symbol] += order.signed_quantity
        assert logon["positions"] == {symbol: count for symbol, count in held.items() if count}
        # It goes on from there, and with numbers that are new.
        wait_until(
            lambda n=logon["last_order_id"]: last(stack, "order_filled") > n, "it trades again"
        )
    stack.stop()
    orders = booked(stack)
    assert [order.order_id for order in orders] == list(range(1, len(orders) + 1))
    assert [order.trade_id for order in orders] == list(range(1, len(orders) + 1))
    # No order ever assumed a wrong position, or bought while long.
    assert {order.position for order in orders} == {-10, 10}
    for traded in {order.symbol for order in orders}:
        sides = [order.side for order in orders if order.symbol == traded]
        assert all(one != other for one, other in pairwise(sides))
    check = subprocess.run(
        [sys.executable, "-m", "lib.ledger", "--check",
         "--config", stack.config, "--var-dir", stack.var_dir],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (check.returncode, check.stderr) == (0, ""), check.stdout
