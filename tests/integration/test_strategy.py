"""The strategy as a process, in a world that the test makes: book, news and order manager.

The windows are 2 and 4 ticks, so a few prices are a signal. That something is *not* done is seen
from what is done next: every tick is evaluated in order, and orders are numbered.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from lib.shared_memory_utils import SharedPriceBook, remove_segments
from lib.trading.checkpoint import LastEvaluated
from lib.trading.evaluator import TICKS_A_PASS
from tests.clients import FakeServer, OrderClient, Peer
from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["AAPL", "MSFT", "GOOG", "FLAT"]
"""The last has always the same price: its ticks are no signal."""
GOOD, NEUTRAL, BAD = 61, 60, 39


class World:
    """A strategy, and what it sees: all of it in the test's hands."""

    book: SharedPriceBook | None = None

    def __init__(self, sections: dict[str, dict[str, Any]] | None = None, **keys: Any) -> None:
        strategy = {
            "client_id": "trader", "short_window": 2, "long_window": 4,
            "news_timeout": 1000.0, "max_tick_age": 1000.0, **keys,
        }  # fmt: skip
        self.stack = PrivateStack(
            {"": {"symbols": SYMBOLS}, "strategy": strategy, **(sections or {})}
        )
        self.make_book(SYMBOLS)
        self.news = FakeServer(self.stack.news_port)
        self.manager = FakeServer(self.stack.order_port)
        self.feed: Peer
        self.orders: OrderClient
        self.sequence = 0
        self._news_sequence = 0
        self._sentiment = NEUTRAL

    def make_book(self, symbols: list[str], ring_capacity: int = 4096) -> None:
        """Make a price book; one that was there with other symbols or capacity is retired."""
        if self.book is not None:
            self.book.close()
        self.book = SharedPriceBook(symbols, self.stack.book_name, ring_capacity=ring_capacity)
        self.book.begin_epoch("tape-1")

    def start(self, last_order_id: int = 0, positions: dict[str, int] | None = None) -> None:
        """Start the strategy and wait until it evaluates what comes."""
        self.process = self.stack.start_by_hand("strategy")
        attached = len(self.events("attached"))
        self.join_news()
        self.orders = self.logon(last_order_id, positions)
        wait_until(lambda: len(self.events("attached")) > attached, "it has attached")

    def join_news(self) -> None:
        self.feed = self.news.accept()
        assert self.feed.frame() == b"HELLO,1,0"
        self.feed.send(b"HELLO,1,tape-1,%d*" % (self._news_sequence + 1))

    def logon(self, last_order_id: int = 0, positions: dict[str, int] | None = None) -> OrderClient:
        """The strategy's next connection to the order manager, acknowledged."""
        client = self.manager.accept()
        assert client.hear() == {"type": "logon", "client_id": "trader"}
        client.tell({
            "type": "logon_ack", "client_id": "trader", "last_order_id": last_order_id,
            "positions": positions or {},
        })  # fmt: skip
        return client

    def tick(self, symbol: str, *prices: float, age_s: float = 0.0) -> None:
        """Publish ticks, as one batch."""
        count = len(prices)
        sent_ns = max(0, time.monotonic_ns() - int(age_s * 1e9))
        self.book.update_batch(
            np.full(count, SYMBOLS.index(symbol), np.int32),
            np.array([round(price * 10**8) for price in prices], np.int64),
            np.arange(self.sequence + 1, self.sequence + count + 1),
            np.full(count, sent_ns, np.int64),
        )
        self.sequence += count

    def begin_tape(self, tape: str) -> None:
        self.book.begin_epoch(tape)
        self.sequence = 0

    def publish_news(self, *sentiments: int) -> None:
        """Publish sentiments; the ticks so far are evaluated before, those to come after."""
        # The same again changes nothing, and once it is in force all ticks before were evaluated.
        self._publish_news(self._sentiment)
        self._publish_news(*sentiments)
        self._sentiment = sentiments[-1]

    def _publish_news(self, *sentiments: int) -> None:
        first = self._news_sequence + 1
        self._news_sequence += len(sentiments)
        frames = b"".join(b"%d*" % sentiment for sentiment in sentiments)
        self.feed.send(b"BATCH,%d,%d,%d*" % (first, len(sentiments), time.monotonic_ns()) + frames)

        def applied() -> bool:
            self.tick("FLAT", 100.0)
            return any(e["sequence"] == self._news_sequence for e in self.events("news_applied"))

        wait_until(applied, "the news are in force")

    def order(self) -> dict[str, Any]:
        """The next order, by what matters."""
        order = self.orders.hear()
        assert order["type"] == "order"
        return order

    def answer(self, order: dict[str, Any], **changes: Any) -> None:
        """Fill an order; or not, with `changes`."""
        size = order["quantity"] if order["side"] == "BUY" else -order["quantity"]
        self.orders.tell({
            "type": "execution_report", "client_id": "trader", "order_id": order["order_id"],
            "status": "FILLED", "symbol": order["symbol"], "side": order["side"],
            "quantity": order["quantity"], "price": order["price"],
            "trade_id": order["order_id"], "position": order["position"] + size,
        } | changes)  # fmt: skip

    def reject(self, order: dict[str, Any], position: int) -> None:
        self.answer(order, status="REJECTED", trade_id=None, reason="no", position=position)

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.stack.events("strategy", event)

    def wait_for(self, event: str, **keys: Any) -> dict[str, Any]:
        return self.stack.wait_for_event("strategy", event, **keys)

    def close(self) -> None:
        self.book.close()
        self.news.close()
        self.manager.close()
        remove_segments(self.stack.book_name)
        self.stack.close()


@contextmanager
def a_world(sections: dict[str, dict[str, Any]] | None = None, **keys: Any) -> Iterator[World]:
    world = World(sections, **keys)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as world:
        yield world


@pytest.fixture
def trading(world: World) -> World:
    """A world whose strategy has attached and knows no news."""
    world.start()
    return world


def brief(order: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(order[key] for key in ("order_id", "side", "quantity", "symbol", "price"))


# --- the rules


def test_it_acts_only_when_averages_and_news_agree(trading: World) -> None:
    world = trading
    world.tick("AAPL", 1, 2, 3, 4)  # up, and no news yet
    world.publish_news(NEUTRAL)
    world.tick("AAPL", 5)
    world.publish_news(BAD)
    world.tick("AAPL", 6)
    world.publish_news(GOOD)
    world.tick("MSFT", 9, 8, 7, 6)  # down, and good news
    world.tick("MSFT", 6, 6, 6)  # flat in the end
    world.tick("AAPL", 7)
    assert brief(world.order()) == (1, "BUY", 10, "AAPL", 7)
    world.tick("AAPL", 8, 9)  # long already
    world.tick("MSFT", 6.5)
    assert brief(world.order()) == (2, "BUY", 10, "MSFT", 6.5)
    world.publish_news(BAD)
    world.tick("AAPL", 10)  # up, and bad news
    world.tick("AAPL", 0.5)
    # A reversal orders twice the quantity.
    assert brief(world.order()) == (3, "SELL", 20, "AAPL", 0.5)
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 1, 50)
    assert brief(world.order()) == (4, "BUY", 20, "AAPL", 50)


def test_fewer_ticks_than_the_long_window_are_no_signal(trading: World) -> None:
    trading.publish_news(GOOD)
    trading.tick("AAPL", 1, 2, 3)
    trading.tick("MSFT", 1, 2, 3, 4)
    assert brief(trading.order()) == (1, "BUY", 10, "MSFT", 4)
    trading.tick("AAPL", 4)
    assert brief(trading.order()) == (2, "BUY", 10, "AAPL", 4)


def test_a_batch_is_evaluated_like_the_same_ticks_one_by_one(trading: World) -> None:
    trading.publish_news(GOOD)
    prices = [100.0] * 200
    prices[150] = 101.0
    trading.tick("AAPL", *prices)
    order = trading.order()
    assert brief(order) == (1, "BUY", 10, "AAPL", 101)
    assert order["tick_sequence"] == trading.sequence - 49


def test_orders_and_the_log_say_what_they_came_from(trading: World) -> None:
    world = trading
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4.25)
    order = world.order()
    sequence = world.sequence
    assert order.pop("sent_ns") <= time.monotonic_ns()
    assert order == {
        "type": "order", "order_id": 1, "symbol": "AAPL", "side": "BUY", "quantity": 10,
        "price": 4.25, "position": 0, "tape": "tape-1", "tick_sequence": sequence,
    }  # fmt: skip
    logged = world.wait_for("order_sent")
    assert logged.pop("latency_us") >= 0
    for key in ("timestamp", "level", "role", "event"):
        del logged[key]
    assert logged == {
        "order_id": 1, "symbol": "AAPL", "side": "BUY", "quantity": 10, "price": 4.25,
        "tape": "tape-1", "tick_sequence": sequence, "sentiment": GOOD,
        "short_mean": 3.625, "long_mean": 2.5625,
    }  # fmt: skip
    *_, applied = world.events("news_applied")
    assert (applied["sentiment"], applied["sequence"]) == (GOOD, 2)
    assert 1 <= applied["first_tick_sequence"] <= sequence - 4
    (begun,) = world.events("evaluation_started")
    assert (begun["tape"], begun["last_evaluated"], begun["first_evaluated"]) == ("tape-1", 0, 1)
    world.answer(order)
    filled = world.wait_for("order_filled")
    assert (filled["order_id"], filled["position"]) == (1, 10)


def test_only_the_last_of_several_sentiments_is_in_force(trading: World) -> None:
    trading.publish_news(BAD, GOOD)
    assert BAD not in [e["sentiment"] for e in trading.events("news_applied")]
    trading.tick("AAPL", 4, 3, 2, 1)
    trading.tick("MSFT", 1, 2, 3, 4)
    assert brief(trading.order()) == (1, "BUY", 10, "MSFT", 4)


def test_silent_news_are_no_news_until_they_are_heard_again() -> None:
    with a_world(news_timeout=0.3) as world:
        world.start()
        world.publish_news(GOOD)

        def silent() -> bool:
            world.tick("FLAT", 100.0)
            return bool(world.events("news_silent"))

        wait_until(silent, "the news have been silent for too long")
        world.tick("AAPL", 1, 2, 3, 4)
        world.begin_tape("tape-2")
        world.tick("FLAT", 100.0)
        world.wait_for("evaluation_started", tape="tape-2")
        # A heartbeat is enough for the last news to be in force again.
        world.orders.sock.settimeout(0.05)

        def heard_again() -> dict[str, Any] | None:
            world.feed.send(b"BATCH,3,0,1*")
            world.tick("AAPL", world.sequence)
            try:
                return world.order()
            except TimeoutError:
                return None

        order = wait_until(heard_again, "it trades again")
        assert (order["order_id"], order["tape"]) == (1, "tape-2")


def test_an_old_tick_moves_the_averages_and_is_never_traded() -> None:
    with a_world(max_tick_age=10.0) as world:
        world.start()
        world.publish_news(GOOD)
        world.tick("AAPL", 1, 2, 3, 4, 5, age_s=30)
        world.publish_news(GOOD)  # by now they have been evaluated
        world.tick("AAPL", *[5.0] * 94, 6, age_s=30)  # and as a large batch
        world.tick("AAPL", 6)
        order = world.order()
        assert brief(order) == (1, "BUY", 10, "AAPL", 6)
        assert order["tick_sequence"] == world.sequence


def test_a_new_tape_clears_the_windows(trading: World) -> None:
    trading.publish_news(GOOD)
    trading.tick("AAPL", 1, 2, 3)
    trading.begin_tape("tape-2")
    trading.tick("AAPL", 4, 5, 6)
    trading.tick("AAPL", 7)
    order = trading.order()
    assert brief(order) == (1, "BUY", 10, "AAPL", 7)
    assert (order["tape"], order["tick_sequence"]) == ("tape-2", 4)
    begun = trading.wait_for("evaluation_started", tape="tape-2")
    assert (begun["last_evaluated"], begun["first_evaluated"]) == (0, 1)


# --- starting, and starting again


def test_what_was_in_the_ring_before_it_came_fills_the_windows_and_is_not_traded(
    world: World,
) -> None:
    world.tick("AAPL", 1, 2, 3, 4, 5)
    world.start()
    world.publish_news(GOOD)
    assert world.wait_for("evaluation_started")["first_evaluated"] == 6
    world.tick("AAPL", 6)
    order = world.order()
    assert brief(order) == (1, "BUY", 10, "AAPL", 6)
    assert world.wait_for("order_sent")["long_mean"] == 4.5


def test_the_ticks_of_its_absence_are_told_by_number_and_never_traded(trading: World) -> None:
    world = trading
    world.publish_news(GOOD)
    world.tick("MSFT", 1, 2, 3, 4)
    assert brief(world.order()) == (1, "BUY", 10, "MSFT", 4)
    before = world.sequence
    world.process.kill()
    world.process.wait()
    world.tick("AAPL", 1, 2, 3, 4)
    world.start(last_order_id=1, positions={"MSFT": 10})
    world.publish_news(GOOD)
    (missed,) = world.events("ticks_missed")
    assert (missed["first"], missed["last"], missed["where"]) == (
        before + 1,
        before + 4,
        "strategy",
    )
    assert world.events("evaluation_started")[-1]["last_evaluated"] == before
    assert world.events("evaluation_started")[-1]["first_evaluated"] == before + 5
    world.tick("AAPL", 5)
    order = world.order()
    assert brief(order) == (2, "BUY", 10, "AAPL", 5)
    assert order["tick_sequence"] > before + 4


def test_it_takes_its_positions_and_its_last_number_from_the_logon(world: World) -> None:
    world.start(last_order_id=11, positions={"AAPL": 10, "MSFT": -10})
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4)  # long already
    world.tick("MSFT", 1, 2, 3, 4)
    order = world.order()
    assert brief(order) == (12, "BUY", 20, "MSFT", 4)
    assert order["position"] == -10


def test_nothing_is_evaluated_before_the_positions_are_known(world: World) -> None:
    world.process = world.stack.start_by_hand("strategy")
    world.join_news()
    client = world.manager.accept()
    assert client.hear()["type"] == "logon"
    world.tick("AAPL", 1, 2, 3, 4)
    assert world.events("attached") == []
    client.tell(
        {"type": "logon_ack", "client_id": "trader", "last_order_id": 0, "positions": {"AAPL": 10}}
    )
    world.orders = client
    attached = world.wait_for("attached")
    assert (attached["refilled"], attached["tape"], attached["sequence"]) == (4, "tape-1", 4)


def test_it_waits_for_a_price_book_and_follows_one_that_is_made_anew(world: World) -> None:
    world.book.close()
    remove_segments(world.stack.book_name)
    world.process = world.stack.start_by_hand("strategy")
    world.join_news()
    world.orders = world.logon()
    world.wait_for("connected", stream="orders")
    assert world.events("attached") == []
    world.make_book(SYMBOLS)
    world.wait_for("attached")
    # One with other symbols is of no use, and it says so once.
    world.make_book(["TSLA"])
    world.wait_for("detached")
    world.wait_for("price_book_unusable")
    world.make_book(SYMBOLS)
    wait_until(lambda: len(world.events("attached")) == 2, "it has attached again")
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4)
    assert brief(world.order()) == (1, "BUY", 10, "AAPL", 4)
    assert len(world.events("price_book_unusable")) == 1


def test_a_book_that_is_replaced_is_read_to_its_end_before_it_is_let_go(world: World) -> None:
    count = 2 * TICKS_A_PASS + 1
    world.make_book(SYMBOLS, ring_capacity=2 * count)
    world.start()
    world.process.send_signal(signal.SIGSTOP)
    try:
        world.tick("FLAT", *[100.0] * count)
        world.make_book(["TSLA"])
    finally:
        world.process.send_signal(signal.SIGCONT)
    world.wait_for("detached")
    state = world.stack.var_dir / "strategy-trader.state"
    assert LastEvaluated(state).last("tape-1") == count


# --- the ledger has the last word


def test_after_a_rejection_the_position_is_what_the_ledger_says(trading: World) -> None:
    world = trading
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4)
    order = world.order()
    assert (order["order_id"], order["position"]) == (1, 0)
    world.reject(order, position=-15)
    world.wait_for("order_rejected", order_id=1)
    world.tick("AAPL", 5)
    order = world.order()
    assert brief(order) == (2, "BUY", 25, "AAPL", 5)
    assert order["position"] == -15


def test_unanswered_orders_are_sent_again_unchanged_after_a_cut(trading: World) -> None:
    world = trading
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4)
    world.tick("MSFT", 1, 2, 3, 5)
    world.tick("GOOG", 100, 100, 100, 101)
    orders = world.orders.frames(3)
    world.answer(json.loads(orders[0]))
    world.wait_for("order_filled", order_id=1)
    for _ in range(2):
        world.orders.close()
        world.orders = world.logon(last_order_id=3, positions={"AAPL": 10, "MSFT": 10})
        assert world.orders.frames(2) == orders[1:]
    for frame in orders[1:]:
        world.answer(json.loads(frame))
    world.wait_for("order_filled", order_id=3)
    # Nothing is owed any more, and the numbers go on.
    world.orders.close()
    world.orders = world.logon(last_order_id=3, positions=dict.fromkeys(SYMBOLS, 10))
    world.wait_for("connected", stream="orders", positions=dict.fromkeys(SYMBOLS, 10))
    world.publish_news(BAD)
    world.tick("AAPL", 0.5)
    assert brief(world.order()) == (4, "SELL", 20, "AAPL", 0.5)
    world.wait_for("order_sent", order_id=4)
    assert len(world.events("order_sent")) == 4


def test_an_order_decided_while_the_order_manager_is_away_is_sent_when_it_is_back(
    trading: World,
) -> None:
    world = trading
    world.publish_news(GOOD)
    world.orders.close()
    world.wait_for("disconnected", stream="orders")
    world.tick("AAPL", 1, 2, 3, 4)
    world.wait_for("order_sent", order_id=1)
    world.orders = world.logon()
    assert brief(world.order()) == (1, "BUY", 10, "AAPL", 4)


def test_an_error_is_not_final(trading: World) -> None:
    trading.publish_news(GOOD)
    trading.tick("AAPL", 1, 2, 3, 4)
    frame = trading.orders.frame()
    trading.orders.tell({"type": "error", "order_id": 1, "reason": "disk full"})
    assert trading.orders.frame() == frame


def test_a_replaced_client_waits_a_second_before_it_tries_again(trading: World) -> None:
    begin = time.monotonic()
    trading.orders.tell(
        {"type": "error", "reason": "replaced by a newer logon of the same client_id"}
    )
    trading.orders.close()
    trading.orders = trading.logon()
    assert time.monotonic() - begin >= 1.0


# --- servers that send what they should not

BAD_SENTIMENTS = [
    b"101", b"-1", b"nan", b"", b"5.5", b"1e1", b"9" * 5000, b"\xff\xfe", b"[" * 10_000, b"AAPL,1",
]  # fmt: skip


def test_sentiments_that_are_none_are_told_by_number_and_the_last_good_one_stays(
    trading: World,
) -> None:
    world = trading
    world.publish_news(GOOD)
    frames = b"".join(frame + b"*" for frame in BAD_SENTIMENTS)
    world.feed.send(b"BATCH,3,%d,1*" % len(BAD_SENTIMENTS) + frames)
    logged = world.wait_for("malformed_frames")
    assert logged["count"] == len(BAD_SENTIMENTS)
    assert [e["sequence"] for e in logged["examples"]] == list(range(3, 3 + len(BAD_SENTIMENTS)))
    assert all("whole number from 0 to 100" in e["reason"] for e in logged["examples"])
    world.tick("AAPL", 1, 2, 3, 4)
    assert brief(world.order()) == (1, "BUY", 10, "AAPL", 4)


def test_a_news_stream_that_breaks_the_protocol_is_left_and_tried_again(trading: World) -> None:
    world = trading
    world.publish_news(GOOD)
    broken = [b"50*", b"BATCH,9,1,1*50*", b"BATCH,3,1,1*50*50*BATCH,4,0,1*", b"A" * 1_000_000]
    for data in broken:
        world.feed.send_until_disconnected(data)
        world.feed.frames_until_the_end()
        world.feed.close()
        world.join_news()
    assert len(world.events("protocol_error")) == len(broken)
    world.publish_news(BAD)
    world.tick("AAPL", 4, 3, 2, 1)
    assert brief(world.order()) == (1, "SELL", 10, "AAPL", 1)


BAD_ANSWERS = {
    "noise": b"\x00\xff*",
    "no JSON": b"FILLED*",
    "nested": b"[" * 60_000 + b"*",
    "another type": b'{"type":"fill"}*',
    "half a report": b'{"type":"execution_report","order_id":1}*',
    "an order_id of 5,000 digits": b'{"type":"error","reason":"","order_id":' + b"9" * 5000 + b"}*",
    "endless bytes": b"A" * 1_000_000,
}


def test_an_order_manager_that_answers_nonsense_is_left_and_tried_again(trading: World) -> None:
    world = trading
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4)
    order = world.orders.frame()
    for data in BAD_ANSWERS.values():
        world.orders.send_until_disconnected(data)
        world.orders.frames_until_the_end()
        world.orders.close()
        world.orders = world.logon()
        assert world.orders.frame() == order
    assert len(world.events("protocol_error")) == len(BAD_ANSWERS)
    assert world.process.poll() is None


@pytest.mark.parametrize(
    "answer",
    [
        {"order_id": 99, "position": -15},
        {"order_id": 99, "position": -15, "status": "REJECTED", "trade_id": None},
        {"order_id": 99, "position": -15, "client_id": "another-client"},
    ],
)
def test_an_answer_to_an_order_it_never_sent_changes_nothing(
    trading: World, answer: dict[str, Any]
) -> None:
    world = trading
    world.publish_news(GOOD)
    world.tick("AAPL", 1, 2, 3, 4)
    order = world.order()
    world.answer(order)
    world.answer(order, **answer)
    world.publish_news(BAD)
    world.tick("AAPL", 0.5)
    assert brief(world.order()) == (2, "SELL", 20, "AAPL", 0.5)


# --- with a real order manager


@pytest.mark.parametrize("is_first_rejected", [True, False])
def test_a_chain_of_orders_under_way_ends_at_a_position_of_the_rules(
    is_first_rejected: bool,
) -> None:
    """A BUY and a SELL that is sized on it are under way together; the BUY may be too old."""
    ttl_s = 1.0 if is_first_rejected else 1000.0
    sections = {"order_manager": {"order_ttl": ttl_s}, "risk": {"price_collar_percent": 0}}
    with a_world(sections) as world:
        world.manager.close()
        sections["order_manager"]["port"] = world.stack.order_port
        manager = world.stack.start_by_hand("order_manager")
        world.stack.wait_for_event("order_manager", "started")
        world.process = world.stack.start_by_hand("strategy")
        world.join_news()
        world.wait_for("attached")
        world.publish_news(GOOD)
        manager.send_signal(signal.SIGSTOP)
        try:
            world.tick("AAPL", 1, 2, 3, 4)
            world.wait_for("order_sent", order_id=1, side="BUY", quantity=10)
            sent = time.monotonic()
            world.publish_news(BAD)
            if is_first_rejected:
                wait_until(lambda: time.monotonic() > sent + ttl_s, "the first order is too old")
            world.tick("AAPL", 0.5)
            world.wait_for("order_sent", order_id=2, side="SELL", quantity=20)
            assert world.events("order_filled") == world.events("order_rejected") == []
        finally:
            manager.send_signal(signal.SIGCONT)
        if is_first_rejected:
            world.wait_for("order_rejected", order_id=1, position=0)
            world.wait_for("order_rejected", order_id=2, position=0)
        else:
            world.wait_for("order_filled", order_id=1, position=10)
            world.wait_for("order_filled", order_id=2, position=-10)
        # And the strategy believes what the ledger says: the next order fits.
        world.publish_news(GOOD)
        world.tick("AAPL", 5, 6, 7, 8)
        size = 10 if is_first_rejected else 20
        world.wait_for("order_sent", order_id=3, side="BUY", quantity=size)
        world.wait_for("order_filled", order_id=3, position=10)
