"""A small run for the judge: the real trader over a random walk, with everything else made up.

Two tapes; a gap in the book; a strategy that is killed with unanswered orders, and lapped once;
late answers; a ledger that rejects some orders. `play` returns its records, which have no defect.
In `play_storm` some orders are answered with an error first, so that they are booked out of order,
and the connection to the order manager is lost repeatedly.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Final, Literal

import msgspec
import numpy as np

from chaos.judge.records import (
    AppliedNews,
    BegunBy,
    BookAttachment,
    BookedTick,
    Evaluation,
    Gap,
    LedgerOrder,
    LoggedOn,
    OrderAnswer,
    PlayedTick,
    Records,
    SentOrder,
)
from lib.settings import StrategySettings
from lib.signals import MovingAverageAndNews
from lib.trading.order_client import OrderClient
from lib.trading.trader import Decision, News, Trader
from lib.wire.order_messages import ExecutionReport, LogonAck, Order
from lib.wire.ticks import TICK

SYMBOLS: Final = ("AAPL", "MSFT")
SETTINGS: Final = StrategySettings(short_window=3, long_window=6)
TAPES: Final = {"A": 600, "B": 400}
"""The number of ticks of each tape."""
FIRST_PRICES: Final = {"A": 100, "B": 200}
"""Far apart, so that a window with prices of both tapes gives a wrong signal."""
BOOK_GAP: Final = Gap("A", 100, 104)
KILL: Final = 300
"""The tick of tape A after which the strategy is killed."""
ABSENCE: Final = Gap("A", 301, 320)
LAP: Final = Gap("B", 200, 215)
"""Ticks that were overwritten in the ring before the strategy read them."""
MAX_BATCH: Final = 4
MAX_DELAY: Final = 12
"""The most batches that an order or an answer is in transit."""
NEWS: Final = 0.2
"""The share of batches that come with news."""
HALTED: Final = 0.1
"""The share of orders that the ledger rejects as halted."""
ERRORS: Final = 0.3
"""In a storm: the share of orders that are answered with an error before they are booked."""
CUTS: Final = 0.15
"""In a storm: the share of batches before which the connection to the order manager is lost."""

StrategyBug = Literal[
    "", "windows not cleared", "news a batch late", "rejections ignored", "logons ignored"
]


def play(seed: int = 3, fault: StrategyBug = "") -> Records:
    """Play the run, with a bug in the strategy; "" is none."""
    return Run(seed, fault).play()


def play_storm(seed: int, fault: StrategyBug = "") -> Records:
    """Play the run with errors and lost connections."""
    return Run(seed, fault, errors=ERRORS, cuts=CUTS).play()


class Run:
    """One run. A test may override any part of it."""

    def __init__(
        self, seed: int, fault: StrategyBug = "", *, errors: float = 0, cuts: float = 0
    ) -> None:
        self.random = Random(seed)
        self.storm = Random(seed)
        self.errors = errors
        self.cuts = cuts
        self.fault = fault
        self.records = Records(
            SYMBOLS,
            SETTINGS.short_window,
            SETTINGS.long_window,
            SETTINGS.bullish_threshold,
            SETTINGS.bearish_threshold,
            SETTINGS.quantity,
            book_gaps=[BOOK_GAP],
            attached=[BookAttachment("", 0, 0)],
            strategy_gaps=[ABSENCE, LAP],
            positions=dict.fromkeys(SYMBOLS, 0),
        )
        self.now = 0  # batches since the beginning
        self.trade_id = 0
        self.reported: dict[int, ExecutionReport] = {}
        self.begin_instance()

    def begin_instance(self) -> None:
        self.client = OrderClient("strategy")
        self.trader = Trader(SYMBOLS, SETTINGS, MovingAverageAndNews, clock=lambda: 0)
        last = max((row.order_id for row in self.records.ledger), default=0)
        self.trader.logged_on(LogonAck("strategy", last, dict(self.records.positions)), set())
        self.orders: deque[tuple[int, Order]] = deque()
        self.reports: deque[tuple[int, ExecutionReport]] = deque()
        self.is_new = True
        self.applied: int | None = None
        self.sentiment: int | None = None

    def play(self) -> Records:
        for tape, count in TAPES.items():
            self.play_tape(tape, count)
        while self.orders or self.reports:
            self.deliver()
        return self.records

    def play_tape(self, tape: str, count: int) -> None:
        records, random = self.records, self.random
        prices = dict.fromkeys(SYMBOLS, FIRST_PRICES[tape])
        played = records.tapes[tape] = {}
        for sequence in range(1, count + 1):
            symbol = random.choice(SYMBOLS)
            prices[symbol] = max(1, prices[symbol] + random.randint(-2, 2))
            played[sequence] = PlayedTick(symbol, prices[symbol])
        booked = [
            BookedTick(tape, sequence, *tick)
            for sequence, tick in played.items()
            if not (tape == BOOK_GAP.tape and BOOK_GAP.first <= sequence <= BOOK_GAP.last)
        ]
        records.booked += booked
        self.begin_tape(tape)
        if tape != ABSENCE.tape:
            self.evaluate_all([tick for tick in booked if tick.sequence < LAP.first], "tape")
            self.evaluate_all([tick for tick in booked if tick.sequence > LAP.last], "lap")
            return
        self.evaluate_all([tick for tick in booked if tick.sequence <= KILL], "start")
        self.begin_instance()
        records.attached.append(BookAttachment(tape, ABSENCE.last, len(records.evaluations)))
        self.begin_tape(tape)
        self.trader.refill(array([tick for tick in booked if tick.sequence <= ABSENCE.last]))
        self.evaluate_all([tick for tick in booked if tick.sequence > ABSENCE.last], "start")

    def begin_tape(self, tape: str) -> None:
        if self.fault == "windows not cleared" and self.trader.tape:
            self.trader.tape = tape
        else:
            self.trader.begin_tape(tape)

    def evaluate_all(self, ticks: list[BookedTick], begun_by: BegunBy) -> None:
        first, last = ticks[0], ticks[-1]
        self.records.evaluations.append(
            Evaluation(first.tape, first.sequence, last.sequence, begun_by)
        )
        while ticks:
            size = self.random.randint(1, MAX_BATCH)
            self.evaluate(ticks[:size])
            ticks = ticks[size:]

    def evaluate(self, ticks: list[BookedTick]) -> None:
        if not self.is_new and self.storm.random() < self.cuts:
            self.log_on_again()
        self.is_new = False
        self.deliver()
        before = self.sentiment
        if self.random.random() < NEWS:
            self.sentiment = self.random.choice([20, 39, 40, 60, 61, 80])
        in_force = before if self.fault == "news a batch late" else self.sentiment
        if in_force is not None:
            self.trader.take_news(News(in_force, 1, ticks[0].tape))
        self.trader.heard_news(0)
        if self.applied != self.sentiment:
            self.applied = self.sentiment
            self.records.news.append(AppliedNews(ticks[0].tape, ticks[0].sequence, self.sentiment))
        for decision in self.trader.evaluate(array(ticks), 0, self.client.capacity):
            self.submit(decision)

    def submit(self, decision: Decision) -> None:
        order = decision.order
        self.client.submit(order, 0)
        self.orders.append((self.now + self.random.randint(0, MAX_DELAY), order))
        self.records.sent.append(record(SentOrder, order, sentiment=decision.sentiment))

    def log_on_again(self) -> None:
        """Lose everything in transit; send the unanswered orders again."""
        records = self.records
        last = max((row.order_id for row in records.ledger), default=0)
        ack = LogonAck("strategy", last, dict(records.positions))
        if self.fault != "logons ignored":
            self.trader.logged_on(ack, self.client.symbols_under_way())
        records.logons.append(
            LoggedOn(last, ack.positions, len(records.sent), len(records.answers))
        )
        self.reports.clear()
        self.orders = deque((self.now, order) for order in self.client.unanswered.values())

    def deliver(self) -> None:
        """Deliver what is due, in order: orders to the ledger, answers to the strategy."""
        self.now += 1
        while self.orders and self.orders[0][0] <= self.now:
            _, order = self.orders.popleft()
            errors = self.records.answered_with_error
            if order.order_id not in errors and self.storm.random() < self.errors:
                errors.add(order.order_id)
                self.orders.append((self.now + MAX_DELAY, order))
                continue
            self.reports.append((self.now + self.random.randint(0, MAX_DELAY), self.book(order)))
        while self.reports and self.reports[0][0] <= self.now:
            _, report = self.reports.popleft()
            del self.client.unanswered[report.order_id]
            if not (self.fault == "rejections ignored" and report.status == "REJECTED"):
                self.trader.answered(report)
            answer = record(OrderAnswer, report, sent_before=len(self.records.sent))
            self.records.answers.append(answer)

    def book(self, order: Order) -> ExecutionReport:
        """Book an order, or return the report of a booked one."""
        if order.order_id not in self.reported:
            self.reported[order.order_id] = self.execute(order)
        return self.reported[order.order_id]

    def execute(self, order: Order) -> ExecutionReport:
        position = self.records.positions[order.symbol]
        reason = None
        if order.position != position:
            reason = f"the position is {position}, and the order assumes {order.position}"
        elif self.random.random() < HALTED:
            reason = "halted"
        else:
            self.trade_id += 1
            position += order.signed_quantity
            self.records.positions[order.symbol] = position
        outcome = {
            "status": "REJECTED" if reason else "FILLED",
            "reason": reason,
            "trade_id": None if reason else self.trade_id,
            "position": position,
        }
        self.records.ledger.append(record(LedgerOrder, order, **outcome, received_ns=self.now))
        return ExecutionReport(
            client_id="strategy",
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            raw_price=msgspec.Raw(b"1"),
            **outcome,
        )


def record(kind: type[Any], source: object, **fields: Any) -> Any:
    """A record with these fields; the others are those of an order or a report."""
    others = [name for name in kind._fields if name not in fields]
    return kind(**fields, **{name: getattr(source, name) for name in others})


def array(ticks: list[BookedTick]) -> np.ndarray:
    """Ticks as the reader of the price book returns them."""
    given = np.zeros(len(ticks), TICK)
    for index, tick in enumerate(ticks):
        given[index]["sequence"] = tick.sequence
        given[index]["symbol"] = SYMBOLS.index(tick.symbol)
        given[index]["price"] = tick.price
    return given
