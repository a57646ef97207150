"""The trader: the trading rules, one by one, and what it believes when orders are refused.

`Scripted` is a signal whose price says what it says, so that most tests need no averages. The last
part wires a trader, an order client and an order desk together over connections that are slow,
lose things and break, and refuses orders at random: in the end both sides must agree.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib import signals as signals_module
from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.execution.order_desk import OrderDesk, Receipt, Session
from lib.execution.risk import Risk
from lib.ledger.writer import Ledger
from lib.prices import MAX_PRICE, PRICE_SCALE
from lib.settings import RiskSettings, StrategySettings
from lib.signals import BatchSignal, MovingAverageAndNews, Side
from lib.trading import order_client as order_client_module
from lib.trading.order_client import RETRY_NS, OrderClient
from lib.trading.signal_loading import load_signal_class
from lib.trading.signal_pace import PASS_NS
from lib.trading.trader import MIN_BATCH_TICKS, Decision, News, Trader
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import (
    ErrorMessage,
    ExecutionReport,
    LogonAck,
    Order,
    decode_from_client,
    encode,
)
from lib.wire.ticks import TICK, Ticks
from tests.helpers import fresh_ledger

SYMBOLS = ("AAPL", "MSFT", "BRK-B")
AAPL, MSFT = 0, 1
NOW = 10**15
WALL_NS = 1_763_000_000 * 10**9
SETTINGS = StrategySettings()
TTL_NS = 5 * SECOND_NS
NEAR_MIN_BATCH = (MIN_BATCH_TICKS - 1, MIN_BATCH_TICKS)
BUY, SELL, NONE = 300_000_001, 300_000_002, 300_000_000
"""Prices at which `Scripted` says so."""


class Scripted:
    """Says what the price's remainder by three says; remembers what it was shown."""

    shown: list[tuple[str, int, int | None]]

    def __init__(self, settings: StrategySettings) -> None:
        self.shown = []
        Scripted.latest = self

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        self.shown.append((symbol, price, sentiment))
        return (None, "BUY", "SELL")[price % 3]


class ScriptedBatches(Scripted):
    """The same for many ticks at once, and for nothing else: a tick alone fails the test.

    It has an `on_tick` of its own, because one that is inherited would not belong to `on_batch`,
    and no batch would ever come.
    """

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        raise AssertionError("a batch was to come")

    def on_batch(
        self, symbols: np.ndarray, prices: np.ndarray, sentiment: int | None, names: tuple[str, ...]
    ) -> np.ndarray:
        shown = zip(symbols.tolist(), prices.tolist(), strict=True)
        said = [Scripted.on_tick(self, names[symbol], price, sentiment) for symbol, price in shown]
        return np.array([{"BUY": 1, "SELL": -1, None: 0}[side] for side in said], np.int8)

    def explain_batch(self, tick: int) -> dict[str, float]:
        return {}


def ticks_of(pairs: Iterable[tuple[int, int]], first: int = 1, sent_ns: int = NOW) -> np.ndarray:
    """Ticks of (symbol index, price), numbered from `first`, as the price book gives them."""
    pairs = list(pairs)
    ticks = np.zeros(len(pairs), TICK)
    ticks["sequence"] = np.arange(first, first + len(pairs))
    ticks["sent_ns"] = sent_ns
    for index, (symbol, price) in enumerate(pairs):
        ticks[index]["symbol"] = symbol
        ticks[index]["price"] = price
    return ticks


class Desk:
    """A trader whose orders are taken and not yet answered."""

    def __init__(self, signal_class: type = Scripted, settings: StrategySettings = SETTINGS):
        self.client = OrderClient("strategy")
        self.now_ns = NOW
        self.trader = Trader(SYMBOLS, settings, signal_class, clock=lambda: self.now_ns)
        self.trader.begin_tape("tape")
        self.sequence = 0

    def log_on(self, ack: LogonAck) -> None:
        self.trader.logged_on(ack, self.client.symbols_under_way())

    def decide(self, ticks: Ticks, now_ns: int = NOW) -> list[Decision]:
        decisions = []
        for decision in self.trader.evaluate(ticks, now_ns, self.client.capacity):
            self.client.submit(decision.order, now_ns)
            decisions.append(decision)
        return decisions

    def tick(self, *prices: int, symbol: int = AAPL, sent_ns: int = NOW) -> list[Order]:
        """Show ticks of one symbol, one at a time; return the orders."""
        orders = []
        for price in prices:
            self.sequence += 1
            ticks = ticks_of([(symbol, price)], self.sequence, sent_ns)
            orders += [decision.order for decision in self.decide(ticks)]
        return orders

    def answer(self, order: Order, status: str, position: int) -> None:
        del self.client.unanswered[order.order_id]
        self.trader.answered(
            ExecutionReport(
                client_id="strategy",
                order_id=order.order_id,
                status=status,
                symbol=order.symbol,
                side=order.side,
                quantity=order.quantity,
                raw_price=order.raw_price,
                position=position,
            )
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def summary(orders: list[Order]) -> list[tuple]:
    return [(order.side, order.quantity, order.position) for order in orders]


# Positions and sizes.


@pytest.mark.parametrize(("price", "side"), [(BUY, "BUY"), (SELL, "SELL")])
def test_the_first_order_is_of_the_quantity(desk, price, side):
    assert summary(desk.tick(price)) == [(side, 10, 0)]


@pytest.mark.parametrize("price", [BUY, SELL])
def test_there_is_no_second_order_in_the_same_direction(desk, price):
    assert len(desk.tick(price, price, NONE, price)) == 1


def test_a_reversal_is_twice_the_quantity(desk):
    assert summary(desk.tick(BUY, SELL, BUY)) == [
        ("BUY", 10, 0),
        ("SELL", 20, 10),
        ("BUY", 20, -10),
    ]


def test_an_order_carries_what_it_was_decided_on():
    desk = Desk(settings=StrategySettings(quantity=7))
    desk.trader.begin_tape("csv-1")
    ticks = ticks_of([(AAPL, NONE), (MSFT, SELL)], first=41, sent_ns=NOW - 5)
    (decision,) = desk.decide(ticks)
    assert encode(decision.order) == (
        b'{"type":"order","order_id":1,"symbol":"MSFT","side":"SELL","quantity":7,'
        b'"price":3.00000002,"position":0,"tape":"csv-1","tick_sequence":42,'
        b'"sent_ns":1000000000000000}*'
    )
    assert (decision.tick_sent_ns, decision.sentiment, decision.explanation) == (NOW - 5, None, {})


def test_orders_are_numbered_without_gaps_from_the_last_one_the_ledger_knows(desk):
    desk.log_on(LogonAck("strategy", 11, {}))
    assert [order.order_id for order in desk.tick(BUY, NONE, BUY, SELL)] == [12, 13]
    desk.log_on(LogonAck("strategy", 11, {}))
    assert [order.order_id for order in desk.tick(BUY)] == [14]


def test_after_the_last_number_that_there_is_nothing_is_decided(desk):
    desk.log_on(LogonAck("strategy", MAX_INTEGER - 1, {}))
    assert not desk.trader.has_no_order_ids
    (order,) = desk.tick(BUY, SELL)
    assert order.order_id == MAX_INTEGER
    assert desk.trader.has_no_order_ids
    # The position is what was ordered, and not what was not.
    desk.answer(order, "FILLED", 10)
    desk.log_on(LogonAck("strategy", 0, {"AAPL": 10}))
    assert summary(desk.tick(SELL)) == []


def test_the_positions_of_the_ledger_are_taken_at_the_logon(desk):
    desk.log_on(LogonAck("strategy", 3, {"AAPL": 10, "MSFT": -4, "GONE": 5}))
    assert summary(desk.tick(BUY)) == []
    assert summary(desk.tick(SELL, symbol=MSFT)) == []
    assert summary(desk.tick(SELL)) == [("SELL", 20, 10)]
    assert summary(desk.tick(BUY, symbol=MSFT)) == [("BUY", 14, -4)]


def test_a_later_logon_does_not_touch_symbols_with_orders_under_way(desk):
    desk.tick(BUY)
    desk.tick(BUY, symbol=MSFT)
    desk.answer(desk.client.unanswered[2], "FILLED", 10)
    # The ledger was lost, say: what no answer will correct any more is believed at once.
    desk.log_on(LogonAck("strategy", 0, {}))
    assert summary(desk.tick(SELL)) == [("SELL", 20, 10)]
    assert summary(desk.tick(SELL, symbol=MSFT)) == [("SELL", 10, 0)]


def test_with_too_many_orders_unanswered_nothing_is_decided(desk, monkeypatch):
    monkeypatch.setattr(order_client_module, "MAX_UNANSWERED", 2)
    orders = desk.tick(BUY, SELL, BUY, SELL)
    assert summary(orders) == [("BUY", 10, 0), ("SELL", 20, 10)]
    desk.answer(orders[0], "FILLED", 10)
    assert summary(desk.tick(BUY)) == [("BUY", 20, -10)]


@pytest.mark.parametrize("said", ["buy", "HOLD", 1, True])
def test_a_signal_that_says_something_else_is_named(said):
    class Mumbling(Scripted):
        def on_tick(self, symbol, price, sentiment):
            return said

    with pytest.raises(ValueError, match=r'^Mumbling\.on_tick must say "BUY", "SELL" or None, not'):
        Desk(Mumbling).tick(BUY)


# The age of a tick.


@pytest.mark.parametrize("count", [1, MIN_BATCH_TICKS])
def test_a_tick_older_than_max_tick_age_moves_the_averages_and_never_an_order(count):
    settings = StrategySettings(short_window=1, long_window=2, max_tick_age=2.0)
    too_old = NOW - 2 * SECOND_NS - 1
    for sent_ns, orders in ((NOW - 2 * SECOND_NS, 1), (too_old, 0)):
        desk = Desk(MovingAverageAndNews, settings)
        desk.trader.take_news(News(61, 1, "n"))
        desk.trader.heard_news(NOW)
        rising = ticks_of([(AAPL, 100 + n) for n in range(count + 1)], sent_ns=sent_ns)
        assert len(desk.decide(rising)) == orders
        # If the old ticks had not moved them, there would be no averages yet.
        (decision, *_) = desk.decide(ticks_of([(AAPL, 500)])) or [None]
        assert (decision is None) == bool(orders)


def test_old_and_new_ticks_in_one_batch_are_distinguished():
    settings = StrategySettings(short_window=1, long_window=2)
    desk = Desk(MovingAverageAndNews, settings)
    desk.trader.take_news(News(61, 1, "n"))
    desk.trader.heard_news(NOW)
    ticks = ticks_of([(AAPL, 100 + n) for n in range(100)])
    ticks["sent_ns"][:70] = NOW - 3 * SECOND_NS
    (decision,) = desk.decide(ticks)
    assert decision.order.tick_sequence == 71


# News.


def sentiment_shown(desk: Desk, now_ns: int) -> int | None:
    desk.decide(ticks_of([(AAPL, NONE)]), now_ns)
    return Scripted.latest.shown[-1][2]


def test_without_news_there_is_no_sentiment(desk):
    assert sentiment_shown(desk, NOW) is None
    desk.trader.heard_news(NOW)
    assert sentiment_shown(desk, NOW) is None
    assert desk.trader.news_in_force(NOW) is None


def test_the_last_sentiment_received_is_in_force(desk):
    desk.trader.heard_news(NOW)
    for sentiment in (0, 100, 50):
        desk.trader.take_news(News(sentiment, 1, "n"))
    assert sentiment_shown(desk, NOW) == 50
    assert desk.trader.news_in_force(NOW) == News(50, 1, "n")


def test_a_batch_of_ticks_has_one_sentiment(desk):
    desk.trader.heard_news(NOW)
    desk.trader.take_news(News(70, 1, "n"))
    decisions = []
    for decision in desk.trader.evaluate(ticks_of([(AAPL, BUY), (AAPL, SELL)]), NOW, 2):
        decisions.append(decision)
        desk.trader.take_news(News(30, 2, "n"))
    assert [decision.sentiment for decision in decisions] == [70, 70]
    assert sentiment_shown(desk, NOW) == 30


def test_news_is_in_force_for_as_long_as_the_stream_is_heard_if_only_by_heartbeats(desk):
    timeout_ns = round(SETTINGS.news_timeout * SECOND_NS)
    desk.trader.heard_news(NOW)
    desk.trader.take_news(News(70, 1, "n"))
    assert sentiment_shown(desk, NOW + timeout_ns) == 70
    assert sentiment_shown(desk, NOW + timeout_ns + 1) is None
    desk.trader.heard_news(NOW + timeout_ns)
    assert sentiment_shown(desk, NOW + 2 * timeout_ns) == 70


# Tapes.


def test_a_new_tape_forgets_the_windows_and_keeps_news_and_positions(desk):
    desk.trader.heard_news(NOW)
    desk.trader.take_news(News(70, 1, "n"))
    desk.tick(BUY)
    before = Scripted.latest
    desk.trader.begin_tape("next")
    assert Scripted.latest is not before
    (order,) = desk.tick(BUY, SELL)
    assert summary([order]) == [("SELL", 20, 10)]
    assert order.tape == "next"
    assert Scripted.latest.shown[-1][2] == 70


@pytest.mark.parametrize("signal_class", [Scripted, ScriptedBatches, MovingAverageAndNews])
@pytest.mark.parametrize("count", [5, 500])
def test_a_refill_trades_nothing_and_fills_the_windows(signal_class, count):
    if signal_class is ScriptedBatches and count < MIN_BATCH_TICKS:
        pytest.skip("so few are no batch")
    settings = StrategySettings(short_window=2, long_window=5)
    pairs = [(AAPL, PRICE_SCALE * (n + 1)) for n in range(count)]
    desk = Desk(signal_class, settings)
    desk.trader.heard_news(NOW)
    desk.trader.take_news(News(100, 1, "n"))
    assert desk.trader.refill(ticks_of(pairs)) is None
    assert desk.client.unanswered == {}
    if signal_class is not MovingAverageAndNews:
        shown = [(SYMBOLS[symbol], price, None) for symbol, price in pairs]
        assert Scripted.latest.shown == shown
    else:
        assert summary(desk.tick(PRICE_SCALE * count * 2)) == [("BUY", 10, 0)]


# Time.


def test_a_pass_ends_between_two_ticks_when_its_time_is_up_and_says_how_far_it_came(desk):
    ticks = ticks_of([(AAPL, BUY)] * 10)

    def takes_a_third_of_a_pass(*_args: Any) -> Side:
        desk.now_ns += PASS_NS // 3
        return "BUY"

    desk.trader._signal.on_tick = takes_a_third_of_a_pass
    assert len(desk.decide(ticks)) == 1
    assert desk.trader.reached == ticks[3].tolist()
    desk.decide(ticks[4:], desk.now_ns)
    assert desk.trader.reached == ticks[7].tolist()
    desk.trader.refill(ticks[:3])
    assert desk.trader.reached == ticks[2].tolist()
    desk.trader.refill(ticks)
    assert desk.trader.reached == ticks[3].tolist()


@pytest.mark.parametrize("count", [1, 3])
def test_however_long_one_tick_takes_it_is_taken(desk, count):
    def takes_a_minute(*_args: Any) -> Side:
        desk.now_ns += 60 * SECOND_NS
        return "BUY"

    desk.trader._signal.on_tick = takes_a_minute
    ticks = ticks_of([(MSFT, BUY)] * count)
    assert len(desk.decide(ticks)) == 1
    assert desk.trader.reached == ticks[0].tolist()


def test_a_pass_whose_time_is_up_before_its_first_tick_takes_that_one(desk):
    ticks = ticks_of([(AAPL, BUY)] * 4)
    desk.decide(ticks, desk.now_ns - PASS_NS)
    assert desk.trader.reached == ticks[0].tolist()
    desk.trader._clock = itertools.count(0, PASS_NS).__next__
    desk.trader.refill(ticks[1:])
    assert desk.trader.reached == ticks[1].tolist()


def test_a_signal_that_has_seen_nothing_is_not_made_anew_for_a_tape(desk):
    signal = Scripted.latest
    for tape in ("", "another", ""):
        desk.trader.begin_tape(tape)
        assert Scripted.latest is signal
    desk.tick(NONE)
    desk.trader.begin_tape("another")
    assert Scripted.latest is not signal
    signal = Scripted.latest
    desk.trader.refill(ticks_of([(AAPL, NONE)]))
    desk.trader.begin_tape("a third")
    assert Scripted.latest is not signal


# Batches.


def seen(decisions: list[Decision]) -> list[tuple]:
    return [(encode(order), *rest) for order, *rest in decisions]


def random_ticks(
    random: np.random.Generator, kinds: tuple[str, ...], count: int, window: int
) -> np.ndarray:
    """Ticks of all symbols, of prices up to MAX_PRICE, some of them too old to trade on."""
    ticks = np.zeros(count, TICK)
    ticks["sequence"] = np.arange(1, count + 1)
    ticks["symbol"] = random.integers(0, len(SYMBOLS), count)
    age_ns = random.choice([0, 2 * SECOND_NS, 2 * SECOND_NS + 1], count, p=[0.8, 0.1, 0.1])
    ticks["sent_ns"] = NOW - age_ns
    for index, kind in enumerate(kinds):
        mine = ticks["symbol"] == index
        number = int(mine.sum())
        steps = random.integers(-3, 4, number).cumsum()
        base = {
            "flat": 17_000_000_000,
            "cents": 17_000_000_000 + PRICE_SCALE // 100 * steps,
            "far": random.integers(1, min(MAX_PRICE, 2**66 // window), number),
            "highest": MAX_PRICE - np.abs(steps),
            "any": random.integers(1, MAX_PRICE, number),
        }[kind]
        ticks["price"][mine] = np.clip(base, 1, MAX_PRICE)
    return ticks


@given(
    seed=st.integers(0, 2**32),
    kinds=st.tuples(*[st.sampled_from(["flat", "cents", "far", "highest", "any"])] * 3),
    windows=st.sampled_from([(1, 2), (2, 3), (5, 17), (20, 50)]),
    cuts=st.lists(st.sampled_from([1, 10, *NEAR_MIN_BATCH, 200, 400]), min_size=1, max_size=5),
    sentiments=st.lists(st.sampled_from([None, 0, 39, 40, 60, 61, 100]), min_size=5, max_size=5),
    most_unanswered=st.sampled_from([3, 1000]),
)
@hypothesis_settings(max_examples=150)
def test_a_batch_gives_exactly_the_orders_of_a_tick_at_a_time(
    seed, kinds, windows, cuts, sentiments, most_unanswered
):
    short, long = windows
    settings = StrategySettings(short_window=short, long_window=long)
    ticks = random_ticks(np.random.default_rng(seed), kinds, sum(cuts), short * long)
    batched, single = (Desk(MovingAverageAndNews, settings) for _ in range(2))
    begin = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_client_module, "MAX_UNANSWERED", most_unanswered)
        for number, (size, sentiment) in enumerate(zip(cuts, sentiments, strict=False)):
            for desk in (batched, single):
                desk.client.unanswered.clear()
                if sentiment is not None:
                    desk.trader.heard_news(NOW)
                    desk.trader.take_news(News(sentiment, number, "n"))
            now_ns = NOW if sentiment is not None else NOW + 10 * SECOND_NS
            batch = ticks[begin : begin + size]
            batch["sent_ns"] += now_ns - NOW
            begin += size
            together = batched.decide(batch, now_ns)
            one_by_one = [
                decision
                for tick in range(size)
                for decision in single.decide(batch[tick : tick + 1].tolist(), now_ns)
            ]
            assert seen(together) == seen(one_by_one)


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([BUY, SELL, NONE])),
        min_size=MIN_BATCH_TICKS,
        max_size=2 * MIN_BATCH_TICKS,
    ),
    most_unanswered=st.sampled_from([5, 1000]),
)
def test_a_batch_in_which_the_signal_turns_often_gives_the_same_orders_too(pairs, most_unanswered):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_client_module, "MAX_UNANSWERED", most_unanswered)
        together = Desk(ScriptedBatches).decide(ticks_of(pairs))
        assert seen(together) == seen(Desk(Scripted).decide(ticks_of(pairs)))


def orders_by_the_rules(
    ticks: np.ndarray, sentiments: list[int | None], short: int, long: int
) -> list[tuple]:
    """The trading rules, written down once more, slowly; one sentiment a tick."""
    prices: dict[int, list[int]] = {}
    position = dict.fromkeys(range(len(SYMBOLS)), 0)
    orders = []
    for tick, sentiment in zip(ticks, sentiments, strict=True):
        symbol, price = int(tick["symbol"]), int(tick["price"])
        series = prices.setdefault(symbol, [])
        series.append(price)
        if len(series) < long or sentiment is None or NOW - tick["sent_ns"] > 2 * SECOND_NS:
            continue
        difference = sum(series[-short:]) * long - sum(series[-long:]) * short
        if difference > 0 and sentiment > 60 and position[symbol] <= 0:
            side, target = "BUY", 10
        elif difference < 0 and sentiment < 40 and position[symbol] >= 0:
            side, target = "SELL", -10
        else:
            continue
        quantity = abs(target - position[symbol])
        orders.append((int(tick["sequence"]), SYMBOLS[symbol], side, quantity, price))
        position[symbol] = target
    return orders


@pytest.mark.parametrize("batch_ticks", [1, 50, *NEAR_MIN_BATCH, 1000])
def test_the_orders_are_those_of_the_trading_rules(batch_ticks):
    random = np.random.default_rng(5)
    ticks = random_ticks(random, ("cents", "highest", "any"), 12_000, 1000)
    sentiments: list[int | None] = np.repeat(random.integers(0, 101, 120), 100).tolist()
    sentiments[:100] = [None] * 100
    desk = Desk(MovingAverageAndNews)
    decisions = []
    for begin in range(0, len(ticks), 100):  # the sentiment changes every 100 ticks
        if sentiments[begin] is not None:
            desk.trader.heard_news(NOW)
            desk.trader.take_news(News(sentiments[begin], begin, "n"))
        for first in range(begin, begin + 100, batch_ticks):
            batch = ticks[first : min(first + batch_ticks, begin + 100)]
            decisions += desk.decide(batch)
    expected = orders_by_the_rules(ticks, sentiments, 20, 50)
    assert [
        (order.tick_sequence, order.symbol, order.side, order.quantity, order.price)
        for order, *_ in decisions
    ] == expected
    assert len(expected) >= 50


# A signal of the user's own.


def example_of_the_documentation() -> str:
    text = signals_module.__doc__
    return textwrap.dedent(text[text.index("    class MySignal:") : text.index("Optional are")])


@pytest.mark.parametrize("count", [1, 2 * MIN_BATCH_TICKS])
def test_the_example_of_the_documentation_trades(tmp_path, monkeypatch, count):
    text = example_of_the_documentation()
    assert len(text.strip().splitlines()) <= 10
    (tmp_path / "my_documented_signal.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    signal_class = load_signal_class("my_documented_signal:MySignal")
    desk = Desk(signal_class)
    assert not isinstance(signal_class(SETTINGS), BatchSignal)
    desk.trader.refill(ticks_of([(AAPL, 100)]))
    rising = ticks_of([(AAPL, 101 + n) for n in range(count)])
    assert desk.decide(rising) == []  # no news
    desk.trader.heard_news(NOW)
    desk.trader.take_news(News(61, 1, "n"))
    (decision,) = desk.decide(ticks_of([(AAPL, 1000 + n) for n in range(count)]))
    assert summary([decision.order]) == [("BUY", 10, 0)]
    assert decision.explanation == {}


# The ledger has the last word.


def test_the_next_decision_is_sized_from_whatever_the_ledger_says(desk):
    (buy,) = desk.tick(BUY)
    desk.answer(buy, "REJECTED", -3)
    assert summary(desk.tick(BUY)) == [("BUY", 13, -3)]


def test_an_answer_that_was_expected_changes_nothing(desk):
    buy, sell = desk.tick(BUY, SELL)
    desk.answer(buy, "FILLED", 10)  # by now the trader is short
    assert desk.tick(SELL) == []
    desk.answer(sell, "FILLED", -10)
    assert summary(desk.tick(BUY)) == [("BUY", 20, -10)]


def test_a_refusal_of_what_was_sized_on_a_refused_order_is_no_news(desk):
    buy, sell = desk.tick(BUY, SELL)
    desk.answer(buy, "REJECTED", 0)
    (again,) = desk.tick(BUY)
    assert summary([again]) == [("BUY", 10, 0)]
    desk.answer(sell, "REJECTED", 0)
    assert desk.tick(BUY) == []  # it is long on behalf of `again`
    desk.answer(again, "FILLED", 10)
    assert summary(desk.tick(SELL)) == [("SELL", 20, 10)]


def test_a_fill_of_what_should_have_been_refused_is_news(desk):
    buy, sell = desk.tick(BUY, SELL)
    desk.answer(sell, "REJECTED", 0)  # the BUY was answered with an error and is sent again
    desk.answer(buy, "FILLED", 10)
    assert summary(desk.tick(SELL)) == [("SELL", 20, 10)]


def test_a_rejection_in_one_symbol_says_nothing_of_another(desk):
    (buy,) = desk.tick(BUY)
    desk.tick(BUY, symbol=MSFT)
    desk.answer(buy, "REJECTED", 0)
    assert desk.tick(BUY, symbol=MSFT) == []


def test_an_answer_about_a_symbol_that_is_not_traded_is_ignored(desk):
    (buy,) = desk.tick(BUY)
    desk.trader.answered(
        ExecutionReport(
            client_id="strategy",
            order_id=99,
            status="REJECTED",
            symbol="GONE",
            side="BUY",
            quantity=1,
            raw_price=buy.raw_price,
            position=5,
        )
    )
    assert summary(desk.tick(SELL)) == [("SELL", 20, 10)]


class MoodyRisk(Risk):
    """Refuses so many of the next new orders for no good reason."""

    refusals = 0

    def refusal(self, *order: Any, **circumstances: Any) -> str | None:
        if self.refusals:
            self.refusals -= 1
            return "because"
        return super().refusal(*order, **circumstances)


class World:
    """A trader, its order client, and a desk, with connections between them that may be cut."""

    def __init__(self, ledger: Ledger) -> None:
        self.now_ns = NOW
        self.ledger = ledger
        self.risk = MoodyRisk(RiskSettings(), TTL_NS, SYMBOLS, {}.get)
        self.desk = OrderDesk(ledger, self.risk)
        self.client = OrderClient("strategy")
        self.trader = Trader(SYMBOLS, SETTINGS, Scripted, clock=lambda: self.now_ns)
        self.sequence = 0
        self.errors = 0  # so many of the next orders are answered "disk full"
        self.booked: list[ExecutionReport] = []
        self.printed: list[str] = []
        self.session: Session | None = None
        self.old: list[tuple[Session, bytes]] = []  # sent over connections that were cut
        self._watch_the_books()
        self.connect()
        self.manager(99)
        self.strategy(99)
        assert self.client.logged_on

    def _watch_the_books(self) -> None:
        record = self.ledger.record

        def watched_record(order: Order, report: ExecutionReport, *receipt: Any) -> None:
            self.booked.append(report)
            record(order, report, *receipt)

        self.ledger.record = watched_record

    def refuse(self) -> None:
        self.risk.refusals += 1

    def err(self) -> None:
        self.errors += 1

    def connect(self) -> None:
        if self.session:
            return
        self.session = Session("peer")
        self.upward: list[bytes] = []
        self.downward: list[bytes] = []
        self.send(self.client.connected(self.now_ns))

    def send(self, data: bytes) -> None:
        if self.session:
            self.upward += [frame + b"*" for frame in data.split(b"*")[:-1]]

    def cut(self, desk_notices: bool) -> None:
        """What is on its way down is lost; what is on its way up may still arrive, or not."""
        if self.session:
            self.client.disconnected()
            if desk_notices:
                self.desk.closed(self.session, self.now_ns)
            else:
                self.old += [(self.session, frame) for frame in self.upward]
            self.session = None

    def tick(self, symbol: int, price: int) -> None:
        self.sequence += 1
        ticks = ticks_of([(symbol, price)], self.sequence, self.now_ns)
        for decision in self.trader.evaluate(ticks, self.now_ns, self.client.capacity):
            self.send(self.client.submit(decision.order, self.now_ns))

    def late(self, count: int) -> None:
        """Let the desk read what came over connections that the client has given up."""
        for session, frame in self.old[:count]:
            self._deliver(session, frame)
        del self.old[:count]

    def manager(self, count: int) -> None:
        """Let the desk read so many messages, and answer them as one."""
        if self.session:
            for frame in self.upward[:count]:
                self._deliver(self.session, frame)
            del self.upward[:count]
            self._commit()

    def _deliver(self, session: Session, frame: bytes) -> None:
        message = decode_from_client(frame[:-1])
        if self.errors and isinstance(message, Order):
            self.errors -= 1
            error = ErrorMessage(order_id=message.order_id, reason="disk full")
            self._commit()
            if session is self.session:
                self.downward.append(encode(error))
        else:
            self.desk.receive(session, frame, Receipt(self.now_ns, WALL_NS, "now", halted=False))

    def _commit(self) -> None:
        outcome = self.desk.commit()
        self.printed += outcome.confirmations
        self.downward += [answer for to, answer in outcome.answers if to is self.session]

    def strategy(self, count: int) -> None:
        """Let the strategy read so many messages."""
        for data in self.downward[:count] if self.session else []:
            for event in self.client.receive(data, self.now_ns):
                if isinstance(event, ExecutionReport):
                    self.trader.answered(event)
                elif isinstance(event, LogonAck):
                    self.trader.logged_on(event, self.client.symbols_under_way())
                    self.send(self.client.resend())
        del self.downward[:count]

    def wait(self) -> None:
        self.now_ns += RETRY_NS + MILLISECOND_NS
        if self.client.is_dead(self.now_ns):
            self.cut(desk_notices=False)
            self.connect()
        elif self.client.retry_due(self.now_ns):
            self.send(self.client.resend())

    def settle(self) -> None:
        """Let everything be answered: no more moods, no more cuts."""
        self.risk.refusals = self.errors = 0
        for _ in range(20):
            self.connect()
            self.manager(10_000)
            self.strategy(10_000)
            if not self.client.unanswered:
                return
            self.wait()
        raise AssertionError(f"never answered: {self.client.unanswered}")

    def check_the_books(self) -> None:
        """No order was booked twice, and every fill is printed and in the position."""
        identities = [(report.client_id, report.order_id) for report in self.booked]
        assert len(set(identities)) == len(identities)
        assert {client_id for client_id, _ in identities} <= {"strategy"}
        filled = [report for report in self.booked if report.status == "FILLED"]
        assert len(self.printed) == len(set(self.printed)) == len(filled)
        for symbol in SYMBOLS:
            position = self.ledger.position("strategy", symbol)
            assert position in (-10, 0, 10)
            assert position == sum(
                report.quantity if report.side == "BUY" else -report.quantity
                for report in filled
                if report.symbol == symbol
            )

    def check_that_both_sides_agree(self) -> None:
        """What the trader believes is seen in what it does next."""
        self.check_the_books()
        for index, symbol in enumerate(SYMBOLS):
            position = self.ledger.position("strategy", symbol)
            self.tick(index, SELL if position > 0 else BUY)
            (order,) = self.client.unanswered.values()
            assert order.position == position
            self.settle()
            assert self.booked[-1].order_id == order.order_id
            assert self.booked[-1].status == "FILLED"


@pytest.fixture
def world() -> Iterator[World]:
    with fresh_ledger() as ledger:
        yield World(ledger)


@pytest.mark.parametrize("refused", range(4))
@pytest.mark.parametrize("answered_at_once", [True, False])
def test_when_one_of_a_chain_of_reversals_is_refused_both_sides_agree_in_the_end(
    world, refused, answered_at_once
):
    for number, price in enumerate((BUY, SELL, BUY, SELL)):
        world.tick(AAPL, price)
        if answered_at_once:
            world.risk.refusals = int(number == refused)
            world.manager(1)
    if not answered_at_once:
        world.manager(refused)
        world.risk.refusals = 1
        world.manager(1)
    world.settle()
    assert [report.status for report in world.booked].count("REJECTED") >= 1
    world.check_that_both_sides_agree()


def test_an_order_that_was_booked_and_whose_answer_was_lost_is_not_booked_again(world):
    world.tick(AAPL, BUY)
    world.manager(1)
    world.cut(desk_notices=False)
    world.tick(AAPL, SELL)
    world.settle()
    assert [report.status for report in world.booked] == ["FILLED", "FILLED"]
    world.check_that_both_sides_agree()


def test_a_repeated_report_may_be_of_the_past_but_the_next_one_is_not(world):
    world.tick(AAPL, BUY)
    world.manager(1)
    world.strategy(1)  # both sides at 10
    world.err()
    world.tick(AAPL, SELL)
    world.tick(AAPL, BUY)  # refused, because the SELL is not booked
    world.manager(2)
    world.strategy(2)
    world.tick(AAPL, SELL)
    world.tick(AAPL, BUY)
    world.manager(2)
    world.cut(desk_notices=False)  # before the answers to the last two are read
    world.settle()  # the first SELL is filled last
    assert world.ledger.position("strategy", "AAPL") == -10
    world.tick(AAPL, SELL)
    world.settle()
    assert world.booked[-1].reason == "the position is -10, and the order assumes 10"
    world.check_that_both_sides_agree()


steps = [
    *[st.tuples(st.just("tick"), st.integers(0, 2), st.sampled_from([BUY, SELL]))] * 4,
    *[st.tuples(st.just(name), st.integers(1, 4)) for name in ("manager", "strategy")] * 2,
    st.tuples(st.just("late"), st.integers(1, 4)),
    st.tuples(st.just("cut"), st.booleans()),
    st.tuples(st.sampled_from(["connect", "wait", "refuse"])),
]


@contextmanager
def world_after(script: list[tuple]) -> Iterator[World]:
    with fresh_ledger() as ledger:
        world = World(ledger)
        for step, *arguments in script:
            getattr(world, step)(*arguments)
        world.settle()
        yield world


@given(st.lists(st.one_of(steps), max_size=80))
@hypothesis_settings(max_examples=500)
def test_whatever_is_refused_delayed_lost_or_cut_both_sides_agree_in_the_end(script):
    with world_after(script) as world:
        world.check_that_both_sides_agree()


@given(st.lists(st.one_of(*steps, st.tuples(st.just("err"))), max_size=80))
@hypothesis_settings(max_examples=500)
def test_with_errors_as_well_one_more_rejection_is_enough_for_both_sides_to_agree(script):
    # An order that was answered with an error is judged again after later ones. If the answers to
    # those were lost, they are repeated, and tell of a position that is no longer the ledger's.
    with world_after(script) as world:
        world.check_the_books()
        for symbol in range(len(SYMBOLS)):
            orders_before = len(world.booked)
            for price in (BUY, SELL, BUY):
                world.tick(symbol, price)
                world.settle()
            statuses = [report.status for report in world.booked[orders_before:]]
            assert statuses.count("REJECTED") <= 1
        world.check_that_both_sides_agree()
