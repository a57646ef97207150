"""The trader: the trading rules, one by one, and what it believes when orders are refused.

`Scripted` is a signal whose price says what it says, so that the tests need no averages. That a
trader and a ledger agree in the end, whatever is refused, lost or cut, is shown by the simulation.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import signals as signals_module
from lib.clock import SECOND_NS
from lib.prices import PRICE_SCALE
from lib.settings import StrategySettings
from lib.signals import BatchSignal, Side
from lib.trading import order_client as order_client_module
from lib.trading.order_client import OrderClient
from lib.trading.signal_loading import load_signal_class
from lib.trading.signal_pace import PASS_NS
from lib.trading.trader import MIN_BATCH_TICKS, Decision, News, Trader
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import LogonAck, Order, encode
from lib.wire.ticks import TICK, Ticks
from tests.orders import report

SYMBOLS = ("AAPL", "MSFT", "BRK-B")
AAPL, MSFT = 0, 1
NOW = 10**15
SETTINGS = StrategySettings()
MAX_AGE_NS = 2 * SECOND_NS
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

    def explain(self, symbol: str) -> dict[str, float]:
        return {"ticks_shown": len(self.shown)}


class InBatches(Scripted):
    """The same for many ticks at once."""

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        # Its own: one that is inherited would not belong to `on_batch`, and no batch would come.
        return super().on_tick(symbol, price, sentiment)

    def on_batch(
        self, symbols: np.ndarray, prices: np.ndarray, sentiment: int | None, names: tuple[str, ...]
    ) -> np.ndarray:
        assert len(prices) >= MIN_BATCH_TICKS
        self.shown_before = len(self.shown)
        said = [
            self.on_tick(names[symbol], price, sentiment)
            for symbol, price in zip(symbols.tolist(), prices.tolist(), strict=True)
        ]
        return np.array([{"BUY": 1, "SELL": -1, None: 0}[side] for side in said], np.int8)

    def explain_batch(self, tick: int) -> dict[str, float]:
        return {"ticks_shown": self.shown_before + tick + 1}


def ticks_of(pairs: Iterable[tuple[int, int]], first: int = 1, sent_ns: int = NOW) -> np.ndarray:
    """Ticks of (symbol index, price), numbered from `first`, as the price book gives them."""
    numbered = enumerate(pairs, first)
    return np.array([(0, n, price, sent_ns, symbol, 0) for n, (symbol, price) in numbered], TICK)


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

    def hear_news(self, sentiment: int) -> None:
        self.trader.heard_news(NOW)
        self.trader.take_news(News(sentiment, 1, "n"))

    def decide(self, ticks: Ticks, now_ns: int = NOW) -> list[Decision]:
        decisions = self.trader.evaluate(ticks, now_ns, self.client.capacity)
        for decision in decisions:
            self.client.submit(decision.order, now_ns)
        return decisions

    def tick(self, *prices: int, symbol: int = AAPL) -> list[Order]:
        """Show ticks of one symbol, one at a time; return the orders."""
        orders = []
        for price in prices:
            self.sequence += 1
            ticks = ticks_of([(symbol, price)], self.sequence)
            orders += [decision.order for decision in self.decide(ticks)]
        return orders

    def answer(self, order: Order, status: str, position: int) -> None:
        self.client.unanswered.pop(order.order_id, None)
        self.trader.answered(report(order, status, position))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def summary(orders: list[Order]) -> list[tuple]:
    return [(order.side, order.quantity, order.position) for order in orders]


# Positions and sizes.


def test_an_order_is_for_a_direction_not_held_and_a_reversal_for_twice_the_quantity(desk):
    assert summary(desk.tick(BUY, BUY, NONE, SELL, SELL, BUY)) == [
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
    assert decision[1:] == (NOW - 5, None, {"ticks_shown": 2})


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


@pytest.mark.parametrize("said", ["buy", True])
def test_a_signal_that_says_something_else_is_named(said):
    class Mumbling(Scripted):
        def on_tick(self, symbol, price, sentiment):
            return said

    with pytest.raises(ValueError, match=r'^Mumbling\.on_tick must say "BUY", "SELL" or None, not'):
        Desk(Mumbling).tick(BUY)


def test_a_tick_older_than_max_tick_age_is_shown_to_the_signal_and_never_traded_on(desk):
    for age_ns, orders in ((MAX_AGE_NS + 1, 0), (MAX_AGE_NS, 1)):
        assert len(desk.decide(ticks_of([(AAPL, BUY)], sent_ns=NOW - age_ns))) == orders
    assert len(Scripted.latest.shown) == 2


# News.


def sentiment_shown(desk: Desk, now_ns: int) -> int | None:
    desk.decide(ticks_of([(AAPL, NONE)]), now_ns)
    return Scripted.latest.shown[-1][2]


def test_the_last_sentiment_is_in_force_while_its_stream_is_heard_if_only_by_heartbeats(desk):
    timeout_ns = round(SETTINGS.news_timeout * SECOND_NS)
    assert sentiment_shown(desk, NOW) is None
    desk.trader.heard_news(NOW)
    assert sentiment_shown(desk, NOW) is None
    for sentiment in (0, 100, 70):
        desk.trader.take_news(News(sentiment, 1, "n"))
    assert sentiment_shown(desk, NOW + timeout_ns) == 70
    assert desk.trader.news_in_force(NOW + timeout_ns) == News(70, 1, "n")
    assert sentiment_shown(desk, NOW + timeout_ns + 1) is None
    desk.trader.heard_news(NOW + timeout_ns)
    assert sentiment_shown(desk, NOW + 2 * timeout_ns) == 70


def test_news_that_may_end_are_in_force_until_the_next_is_late_whatever_is_heard(desk):
    timeout_ns, every_ns = round(SETTINGS.news_timeout * SECOND_NS), 7 * SECOND_NS
    desk.trader = Trader(
        SYMBOLS, SETTINGS, Scripted, clock=lambda: desk.now_ns, news_every_ns=every_ns
    )
    end_ns = desk.now_ns + every_ns + timeout_ns
    desk.trader.take_news(News(70, 1, "n"))
    desk.trader.heard_news(end_ns)
    assert sentiment_shown(desk, end_ns) == 70
    desk.now_ns += SECOND_NS
    desk.trader.take_news(News(70, 1, "n"))  # the same one, after a reconnection
    assert sentiment_shown(desk, end_ns + 1) is None
    desk.trader.take_news(News(80, 2, "n"))
    assert sentiment_shown(desk, end_ns + 1) == 80


# Tapes.


def test_a_new_tape_forgets_the_windows_and_keeps_news_and_positions(desk):
    desk.hear_news(70)
    desk.tick(BUY)
    before = Scripted.latest
    desk.trader.begin_tape("next")
    assert Scripted.latest is not before
    (order,) = desk.tick(BUY, SELL)
    assert summary([order]) == [("SELL", 20, 10)]
    assert order.tape == "next"
    assert Scripted.latest.shown[-1][2] == 70


@pytest.mark.parametrize(
    ("signal_class", "count"), [(Scripted, 5), (Scripted, 500), (InBatches, 500)]
)
def test_a_refill_trades_nothing_and_fills_the_windows(signal_class, count):
    pairs = [(AAPL, PRICE_SCALE + n) for n in range(count)]
    desk = Desk(signal_class)
    desk.hear_news(100)
    desk.trader.refill(ticks_of(pairs))
    assert Scripted.latest.shown == [(SYMBOLS[symbol], price, None) for symbol, price in pairs]
    assert Scripted.latest.shown[-1][1] == desk.trader.reached[2]


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


def test_a_pass_whose_time_is_up_before_its_first_tick_takes_that_one(desk):
    ticks = ticks_of([(AAPL, BUY)] * 4)
    desk.decide(ticks, desk.now_ns - PASS_NS)
    assert desk.trader.reached == ticks[0].tolist()
    desk.trader._clock = itertools.count(0, PASS_NS).__next__
    desk.trader.refill(ticks[1:])
    assert desk.trader.reached == ticks[1].tolist()


# Batches.


def seen(decisions: list[Decision]) -> list[tuple]:
    return [(encode(order), *rest) for order, *rest in decisions]


@given(
    seed=st.integers(0, 2**32),
    batches=st.lists(
        st.tuples(
            st.sampled_from([1, 10, *NEAR_MIN_BATCH, 200]),
            st.sampled_from([(BUY,), (SELL,), (BUY, NONE), (BUY, SELL, NONE)]),
        ),
        min_size=1,
        max_size=4,
    ),
    most_unanswered=st.sampled_from([5, 1000]),
)
def test_batches_give_exactly_the_orders_of_a_tick_at_a_time(seed, batches, most_unanswered):
    random = np.random.default_rng(seed)
    together, one_by_one = Desk(InBatches), Desk(Scripted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_client_module, "MAX_UNANSWERED", most_unanswered)
        for number, (count, prices) in enumerate(batches):
            for desk in (together, one_by_one):
                desk.client.unanswered.clear()
                desk.hear_news(number)
            ticks = ticks_of([(random.integers(0, 3), random.choice(prices)) for _ in range(count)])
            ticks["sent_ns"] -= random.choice([0, MAX_AGE_NS, MAX_AGE_NS + 1], count)
            decisions = [one_by_one.decide([tick]) for tick in ticks.tolist()]
            assert seen(together.decide(ticks)) == seen([*itertools.chain(*decisions)])
    assert together.trader._signal.shown == one_by_one.trader._signal.shown


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
    desk.hear_news(61)
    (decision,) = desk.decide(ticks_of([(AAPL, 1000 + n) for n in range(count)]))
    assert summary([decision.order]) == [("BUY", 10, 0)]
    assert decision.explanation == {}


# The ledger has the last word.


def test_the_next_decision_is_sized_from_whatever_the_ledger_says(desk):
    (buy,) = desk.tick(BUY)
    desk.answer(buy, "REJECTED", -3)
    assert summary(desk.tick(BUY)) == [("BUY", 13, -3)]


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
