"""The strategy as a process, in a world that the test makes: book, news and order manager.

The windows are 2 and 4 ticks, so a few prices are a signal. What it decides, remembers and sends
again is shown by the oracle, the simulation and, rule by rule, the unit tests of `lib.trading`.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lib.shared_memory_utils import SharedPriceBook, remove_segments
from lib.trading.checkpoint import LastEvaluated
from lib.trading.evaluator import TICKS_A_PASS
from tests.clients import FakeServer, OrderClient
from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["AAPL", "FLAT"]
"""The last has always the same price: its ticks are no signal."""
GOOD = 61
SETTINGS = {
    "": {"symbols": SYMBOLS},
    "strategy": {
        "client_id": "trader",
        "short_window": 2,
        "long_window": 4,
        "news_timeout": 1000.0,
        "max_tick_age": 1000.0,
    },
}
ACK = {"type": "logon_ack", "client_id": "trader", "last_order_id": 0, "positions": {}}


class World:
    """A strategy, and what it sees: all of it in the test's hands."""

    book: SharedPriceBook | None = None
    orders: OrderClient

    def __init__(self, stack: PrivateStack) -> None:
        self.stack = stack
        self.make_book(SYMBOLS)
        self.news = FakeServer(stack.news_port)
        self.manager = FakeServer(stack.order_port)
        self.sequence = 0

    def make_book(self, symbols: list[str], ring_capacity: int = 4096) -> None:
        """Make a price book; one that was there with other symbols or capacity is retired."""
        if self.book is not None:
            self.book.close()
        self.book = SharedPriceBook(symbols, self.stack.book_name, ring_capacity=ring_capacity)
        self.book.begin_epoch("tape-1")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the strategy, join it to the news, and accept its connection for orders."""
        process = self.stack.start_by_hand("strategy")
        self.feed = self.news.accept()
        assert self.feed.frame() == b"HELLO,1,0"
        self.feed.send(b"HELLO,1,tape-1,1*")
        self.accept_orders()
        return process

    def accept_orders(self) -> None:
        self.orders = self.manager.accept()
        assert self.orders.hear() == {"type": "logon", "client_id": "trader"}

    def tick(self, symbol: str, *prices: float) -> None:
        """Publish ticks, as one batch."""
        count = len(prices)
        self.book.update_batch(
            np.full(count, SYMBOLS.index(symbol), np.int32),
            np.array([round(price * 10**8) for price in prices], np.int64),
            np.arange(self.sequence + 1, self.sequence + count + 1),
            np.full(count, time.monotonic_ns(), np.int64),
        )
        self.sequence += count

    def become_bullish(self) -> None:
        """Acknowledge the logon, and publish good news; they are in force."""
        self.orders.tell(ACK)
        self.stack.wait_for_event("strategy", "attached")
        self.feed.send(b"BATCH,1,1,%d*%d*" % (time.monotonic_ns(), GOOD))

        def applied() -> bool:
            self.tick("FLAT", 100.0)
            return bool(self.events("news_applied"))

        wait_until(applied, "the news are in force")

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.stack.events("strategy", event)

    def wait_for(self, event: str) -> dict[str, Any]:
        return self.stack.wait_for_event("strategy", event)

    def close(self) -> None:
        self.book.close()
        self.news.close()
        self.manager.close()
        remove_segments(self.stack.book_name)


@pytest.fixture
def world(stack: PrivateStack) -> Iterator[World]:
    world = World(stack)
    try:
        yield world
    finally:
        world.close()


def test_orders_and_the_log_say_what_they_came_from(world: World) -> None:
    world.start()
    world.become_bullish()
    world.tick("AAPL", 1, 2, 3, 4.25)
    order = world.orders.hear()
    assert order.pop("sent_ns") <= time.monotonic_ns()
    assert order == {
        "type": "order", "order_id": 1, "symbol": "AAPL", "side": "BUY", "quantity": 10,
        "price": 4.25, "position": 0, "tape": "tape-1", "tick_sequence": world.sequence,
    }  # fmt: skip
    logged = world.wait_for("order_sent")
    assert logged.pop("latency_us") >= 0
    for key in ("timestamp", "level", "role", "event"):
        del logged[key]
    assert logged == {
        "order_id": 1, "symbol": "AAPL", "side": "BUY", "quantity": 10, "price": 4.25,
        "tape": "tape-1", "tick_sequence": world.sequence, "sentiment": GOOD,
        "short_mean": 3.625, "long_mean": 2.5625,
    }  # fmt: skip
    world.orders.tell({
        "type": "execution_report", "client_id": "trader", "order_id": 1, "status": "FILLED",
        "symbol": "AAPL", "side": "BUY", "quantity": 10, "price": 4.25, "trade_id": 1,
        "position": 10,
    })  # fmt: skip
    filled = world.wait_for("order_filled")
    assert (filled["order_id"], filled["position"]) == (1, 10)


def test_nothing_is_evaluated_before_the_positions_are_known(world: World) -> None:
    world.start()
    world.tick("AAPL", 1, 2, 3, 4)
    assert world.events("attached") == []
    world.orders.tell({**ACK, "positions": {"AAPL": 10}})
    attached = world.wait_for("attached")
    assert (attached["refilled"], attached["tape"], attached["sequence"]) == (4, "tape-1", 4)


def test_a_book_that_is_replaced_is_read_to_its_end_before_it_is_let_go(world: World) -> None:
    count = 2 * TICKS_A_PASS + 1
    world.make_book(SYMBOLS, ring_capacity=2 * count)
    process = world.start()
    world.orders.tell(ACK)
    world.wait_for("attached")
    process.send_signal(signal.SIGSTOP)
    try:
        world.tick("FLAT", *[100.0] * count)
        world.make_book(["TSLA"])
    finally:
        process.send_signal(signal.SIGCONT)
    world.wait_for("detached")
    state = world.stack.var_dir / "strategy-trader.state"
    assert LastEvaluated(state).last("tape-1") == count
    # One with other symbols is of no use, and it says so; the next one is.
    world.wait_for("price_book_unusable")
    world.make_book(SYMBOLS)
    wait_until(lambda: len(world.events("attached")) == 2, "it has attached again")


BAD_ANSWERS = {
    "noise": b"\x00\xff*",
    "no JSON": b"FILLED*",
    "nested": b"[" * 60_000 + b"*",
    "another type": b'{"type":"fill"}*',
    "half a report": b'{"type":"execution_report","order_id":1}*',
    "an order_id of 5,000 digits": b'{"type":"error","reason":"","order_id":' + b"9" * 5000 + b"}*",
    "endless bytes": b"A" * 1_000_000,
}


def test_an_order_manager_that_answers_nonsense_is_left_and_tried_again(world: World) -> None:
    process = world.start()
    world.become_bullish()
    world.tick("AAPL", 1, 2, 3, 4)
    order = world.orders.frame()
    for data in BAD_ANSWERS.values():
        world.orders.send_until_disconnected(data)
        world.orders.frames_until_the_end()
        world.orders.close()
        world.accept_orders()
        world.orders.tell(ACK)
        assert world.orders.frame() == order
    assert len(world.events("protocol_error")) == len(BAD_ANSWERS)
    assert process.poll() is None
