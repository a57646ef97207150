"""The oracle: an independent, slow re-computation of the trading rules, order by order.

A running stack plays the real tape. Then everything it should have done is computed anew, here,
from the CSV file and the `news_applied` events alone: no code of the project, plain lists, exact
fractions, one tick after the other. The two must agree to the last order.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["NVDA", "AMZN", "META", "TSM", "BRK-B", "AAPL", "AVGO", "GOOGL", "MSFT"]
SHORT, LONG, BULLISH, BEARISH, QUANTITY = 20, 50, 60, 40, 10
TICKS_A_SECOND = 2000.0
NEWS_INTERVAL_S = 0.08
SENTIMENTS = [60, 61, 40, 39, 50, 90, 10]
"""Most of them at the thresholds, where off by one shows."""


class Tick(NamedTuple):
    """A row of the tape."""

    symbol: str
    price: Decimal


class Order(NamedTuple):
    """What the rules order, and why there: the tick and the position before it."""

    order_id: int
    symbol: str
    side: str
    quantity: int
    price: Decimal
    tick_sequence: int
    sentiment: int


@dataclass
class Rules:
    """The trading rules. A test changes one to see that the comparison notices."""

    short: int = SHORT
    long: int = LONG
    bullish: int = BULLISH
    bearish: int = BEARISH
    reversal: int = 2
    second_buy: bool = False
    news_late: int = 0

    def orders(
        self, tape: list[Tick], news: dict[int, int], first_evaluated: int
    ) -> Iterator[Order]:
        """All orders over `tape`; `news` is by the first tick evaluated with it."""
        prices: dict[str, list[Decimal]] = {symbol: [] for symbol in SYMBOLS}
        positions = dict.fromkeys(SYMBOLS, 0)
        sentiment = None
        order_id = 0
        for sequence, (symbol, price) in enumerate(tape, 1):
            window = prices[symbol]
            window.append(price)
            del window[: -self.long]
            sentiment = news.get(sequence - self.news_late, sentiment)
            if sequence < first_evaluated or len(window) < self.long or sentiment is None:
                continue
            short_mean = Fraction(sum(window[-self.short :])) / self.short
            long_mean = Fraction(sum(window)) / self.long
            if short_mean > long_mean and sentiment > self.bullish:
                side, sign = "BUY", 1
            elif short_mean < long_mean and sentiment < self.bearish:
                side, sign = "SELL", -1
            else:
                continue
            if positions[symbol] * sign > 0 and not (self.second_buy and sign > 0):
                continue
            quantity = QUANTITY * (self.reversal if positions[symbol] else 1)
            positions[symbol] = sign * QUANTITY
            order_id += 1
            yield Order(order_id, symbol, side, quantity, price, sequence, sentiment)


@dataclass
class Run:
    """What a stack did over the whole tape."""

    tape: list[Tick]
    news: dict[int, int]
    first_evaluated: int
    sent: list[Order]
    events: list[dict[str, Any]]
    filled: list[dict[str, Any]]
    printed: list[str]

    def expected(self, rules: Rules) -> list[Order]:
        """What the rules give over the same tape and news."""
        return list(rules.orders(self.tape, self.news, self.first_evaluated))


def read_tape(path: Path) -> list[Tick]:
    """The tape as the test understands it: the column Close, rounded to 8 decimals."""
    with path.open(newline="") as file:
        return [
            Tick(
                row["Symbol"],
                Decimal(row["Close"]).quantize(Decimal("1e-8"), rounding=ROUND_HALF_EVEN),
            )
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def run(real_tape_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Let a stack of its own trade the whole tape."""
    tape = read_tape(real_tape_path)
    news_csv = tmp_path_factory.mktemp("news") / "news.csv"
    random = Random(2)
    news_csv.write_text("".join(f"{random.choice(SENTIMENTS)}\n" for _ in range(1000)))
    stack = PrivateStack(
        {
            "": {"symbols": SYMBOLS},
            "gateway": {
                "source": "csv",
                "csv_path": str(real_tape_path),
                "rate": TICKS_A_SECOND,
                "news_csv": str(news_csv),
                "news_interval": NEWS_INTERVAL_S,
            },
            # What depends on how busy the machine is must not decide: no tick is too old.
            "strategy": {"max_tick_age": 1000.0, "news_timeout": 1000.0},
        }
    )
    try:
        stack.start()
        stack.wait_for_event("gateway", "tape_ended")
        sent: list[dict[str, Any]] = []

        def all_answered() -> bool:
            sent[:] = stack.events("strategy", "order_sent")
            return len(stack.events("strategy", "order_filled")) == len(sent)

        wait_until(lambda: last_evaluated(stack) == len(tape), "the last tick is evaluated")
        wait_until(all_answered, "every order is answered")
        stack.stop()
        started = stack.events("strategy", "evaluation_started")
        assert len(started) == 1
        yield Run(
            tape=tape,
            news={
                entry["first_tick_sequence"]: entry["sentiment"]
                for entry in stack.events("strategy", "news_applied")
            },
            first_evaluated=started[0]["first_evaluated"],
            sent=[
                Order(
                    entry["order_id"],
                    entry["symbol"],
                    entry["side"],
                    entry["quantity"],
                    Decimal(repr(entry["price"])),
                    entry["tick_sequence"],
                    entry["sentiment"],
                )
                for entry in sent
            ],
            events=[entry for role in ("orderbook", "strategy") for entry in stack.events(role)],
            filled=stack.events("order_manager", "order_filled"),
            printed=stack.output("order_manager"),
        )
    finally:
        stack.close()


def last_evaluated(stack: PrivateStack) -> int:
    """The last tick that the strategy has evaluated, from the file in which it keeps that."""
    state = (stack.var_dir / "strategy-strategy.state").read_bytes()
    return int.from_bytes(state[-8:], "little")


def test_the_stack_sends_the_orders_of_the_rules_and_no_others(run: Run) -> None:
    expected = run.expected(Rules())
    assert run.sent == expected
    assert len(run.tape) >= 20_000
    assert len(run.news) >= 100
    assert len(expected) >= 200


def test_no_tick_was_missed_on_the_way(run: Run) -> None:
    assert [entry for entry in run.events if entry["event"] == "ticks_missed"] == []


def test_every_order_is_filled_once_and_printed_once(run: Run) -> None:
    assert [entry["order_id"] for entry in run.filled] == [order.order_id for order in run.sent]
    assert run.printed == [
        f"Received Order {o.order_id}: {o.side} {o.quantity} {o.symbol} @ {for_people(o.price)}"
        for o in run.sent
    ]


def for_people(price: Decimal) -> str:
    """Two decimals, more where the price has more."""
    return re.sub(r"(\.\d\d\d*?)0*$", r"\1", f"{price:.8f}")


@pytest.mark.parametrize(
    "changed",
    [
        Rules(short=SHORT - 1),
        Rules(long=LONG + 1),
        Rules(bullish=BULLISH + 1),
        Rules(bearish=BEARISH - 1),
        Rules(reversal=1),
        Rules(second_buy=True),
        Rules(news_late=1),
    ],
    ids=lambda rules: ",".join(
        f"{key}={value}" for key, value in vars(rules).items() if value != getattr(Rules(), key)
    ),
)
def test_the_comparison_notices_when_one_rule_is_another(run: Run, changed: Rules) -> None:
    assert run.sent != run.expected(changed)
