"""SIGKILL of the strategy under supervisord: it comes back knowing its position.

The order manager is stopped for a moment before each kill, so that orders are under way in every
one of them: written to a socket that is not read.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import PrivateStack

KILLS = 2
CLIENT_ID = "strategy"


SETTINGS = {
    "gateway": {"rate": 4000.0, "news_interval": 0.02},
    "strategy": {"short_window": 2, "long_window": 4, "client_id": CLIENT_ID},
    # On a machine that is very busy, no order shall be too old.
    "order_manager": {"order_ttl": 1000.0},
    # The test freezes the order manager for as long as it likes.
    "watchdog": {"hang_after": 0},
}


def ledger(stack: PrivateStack, query: str, *values: Any) -> list[tuple]:
    path = stack.var_dir / "orders.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def positions_after(stack: PrivateStack, order_id: int) -> dict[str, int]:
    """What the fills up to this order add up to."""
    held: Counter[str] = Counter()
    for symbol, side, quantity in ledger(
        stack,
        "SELECT symbol, side, quantity FROM orders WHERE client_id = ? AND order_id <= ? "
        "AND status = 'FILLED'",
        CLIENT_ID,
        order_id,
    ):
        held[symbol] += quantity if side == "BUY" else -quantity
    return {symbol: quantity for symbol, quantity in held.items() if quantity}


def logons(stack: PrivateStack) -> list[dict[str, Any]]:
    return [e for e in stack.events("strategy", "connected") if e.get("stream") == "orders"]


def last(stack: PrivateStack, event: str) -> int:
    return max((e["order_id"] for e in stack.events("strategy", event)), default=0)


@pytest.mark.parametrize("order_manager_wakes", ["before its successor", "after its successor"])
def test_a_killed_strategy_comes_back_with_the_positions_of_the_ledger(
    stack: PrivateStack, order_manager_wakes: str
) -> None:
    stack.start()
    order_manager = stack.pid("order_manager")
    for kills in range(1, KILLS + 1):
        answered = last(stack, "order_filled")
        wait_until(lambda n=answered: last(stack, "order_filled") > n, "it trades")
        os.kill(order_manager, signal.SIGSTOP)
        try:
            wait_until(
                lambda: last(stack, "order_sent") > last(stack, "order_filled"),
                "an order is under way",
            )
            os.kill(stack.pid("strategy"), signal.SIGKILL)
            if order_manager_wakes == "after its successor":
                wait_until(
                    lambda n=kills: len(stack.events("strategy", "started")) == n + 1,
                    "its successor has started",
                )
        finally:
            os.kill(order_manager, signal.SIGCONT)
        wait_until(lambda n=kills: len(logons(stack)) == n + 1, "its successor has logged on")
        logon = logons(stack)[-1]
        assert logon["resent"] == 0
        assert logon["positions"] == positions_after(stack, logon["last_order_id"])
        # It goes on from there, and with numbers that are new.
        wait_until(
            lambda n=logon["last_order_id"]: last(stack, "order_filled") > n, "it trades again"
        )
    stack.stop()
    rows = ledger(
        stack,
        "SELECT order_id, symbol, side, status, position FROM orders WHERE client_id = ? "
        "ORDER BY trade_id",
        CLIENT_ID,
    )
    assert [order_id for order_id, *_ in rows] == list(range(1, len(rows) + 1))
    # No order ever assumed a wrong position, or bought while long.
    assert {status for _, _, _, status, _ in rows} == {"FILLED"}
    assert {position for *_, position in rows} == {-10, 10}
    for traded in {symbol for _, symbol, *_ in rows}:
        sides = [side for _, symbol, side, *_ in rows if symbol == traded]
        assert all(one != other for one, other in pairwise(sides))
    check = subprocess.run(
        [sys.executable, "-m", "lib.ledger", "--check",
         "--config", stack.config, "--var-dir", stack.var_dir],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (check.returncode, check.stderr) == (0, ""), check.stdout
