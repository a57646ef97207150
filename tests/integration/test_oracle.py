"""The oracle: an independent, slow re-computation of the trading rules, order by order.

A running stack plays the real tape. Then everything it should have done is computed anew, here,
from the CSV file and the `news_applied` events alone: no code of what is judged, plain lists,
exact integers, one tick after the other. The two must agree to the last order.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from chaos.judge.trading_rules import Rules, Side
from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["NVDA", "AMZN", "META", "TSM", "BRK-B", "AAPL", "AVGO", "GOOGL", "MSFT"]
SHORT, LONG, BULLISH, BEARISH, QUANTITY = 20, 50, 60, 40, 10
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


RULES = Rules(SHORT, LONG, BULLISH, BEARISH, QUANTITY)


class EqualMeansBuy(Rules):
    """Equal averages are taken for rising ones."""

    def trend(self, prices: Sequence[int]) -> Side | None:
        return super().trend(prices) or ("BUY" if len(prices) == self.long_window else None)


class ReversalOfOnce(Rules):
    """A reversal only closes the position."""

    def order_quantity(self, side: Side, position: int) -> int | None:
        return self.quantity if super().order_quantity(side, position) else None


class SecondBuy(Rules):
    """Who is long buys again."""

    def order_quantity(self, side: Side, position: int) -> int | None:
        if side == "BUY" and position > 0:
            return 2 * self.quantity
        return super().order_quantity(side, position)


def orders_of(
    rules: Rules, tape: list[Tick], news: dict[int, int], first_evaluated: int, news_late: int = 0
) -> Iterator[Order]:
    """All orders over `tape`; `news` is by the first tick evaluated with it."""
    prices: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
    positions = dict.fromkeys(SYMBOLS, 0)
    sentiment = None
    order_id = 0
    for sequence, (symbol, price) in enumerate(tape, 1):
        window = prices[symbol]
        window.append(int(price.scaleb(8)))
        del window[: -rules.long_window]
        sentiment = news.get(sequence - news_late, sentiment)
        side = rules.signal(window, sentiment) if sequence >= first_evaluated else None
        if side is None or sentiment is None:
            continue
        quantity = rules.order_quantity(side, positions[symbol])
        if quantity is None:
            continue
        positions[symbol] = rules.position_after(side)
        order_id += 1
        yield Order(order_id, symbol, side, quantity, price, sequence, sentiment)


class Run(NamedTuple):
    """What a stack did over the whole tape."""

    is_coarse: bool
    tape: list[Tick]
    news: dict[int, int]
    first_evaluated: int
    sent: list[Order]
    missed: list[dict[str, Any]]
    filled: list[dict[str, Any]]
    printed: list[str]

    def expected(self, rules: Rules = RULES, *, news_late: int = 0) -> list[Order]:
        """What the rules give over the same tape and news."""
        return list(orders_of(rules, self.tape, self.news, self.first_evaluated, news_late))


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


class Case(NamedTuple):
    """How a tape is played."""

    rate: float
    news_interval: float
    whole_dollars: bool


CASES = {
    # The real prices, a few ticks at a time.
    "real": Case(rate=2000.0, news_interval=0.08, whole_dollars=False),
    # So fast that ticks come in batches; prices so coarse that averages are often equal.
    "coarse and fast": Case(rate=25_000.0, news_interval=0.002, whole_dollars=True),
}


@pytest.fixture(scope="module", params=CASES)
def run(
    request: pytest.FixtureRequest, real_tape_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Let a stack of its own trade the whole tape."""
    case = CASES[request.param]
    directory = tmp_path_factory.mktemp("oracle")
    tape_path = real_tape_path
    if case.whole_dollars:
        tape_path = directory / "tape.csv"
        rows = [f"{tick.symbol},{tick.price.quantize(1)}\n" for tick in read_tape(real_tape_path)]
        tape_path.write_text("".join(["Symbol,Close\n", *rows]))
    tape = read_tape(tape_path)
    news_path = directory / "news.csv"
    random = Random(2)
    news_path.write_text("".join(f"{random.choice(SENTIMENTS)}\n" for _ in range(1000)))
    settings = {
        "": {"symbols": SYMBOLS},
        "gateway": {
            "source": "file",
            "path": str(tape_path),
            "rate": case.rate,
            "news_path": str(news_path),
            "news_interval": case.news_interval,
        },
        # What depends on how busy the machine is must not decide: no tick is too old.
        "strategy": {"max_tick_age": 1000.0, "news_timeout": 1000.0},
    }
    with PrivateStack(settings) as stack:
        start(stack, case)
        stack.wait_for_event("gateway", "tape_ended")
        wait_until(lambda: last_evaluated(stack) == len(tape), "the last tick is evaluated")

        sent = stack.events("strategy", "order_sent")
        wait_until(
            lambda: len(stack.events("strategy", "order_filled")) == len(sent), "all are filled"
        )
        yield run_of(stack, tape, case)


def start(stack: PrivateStack, case: Case) -> None:
    """Under supervisord; but a tape that lasts a fraction of a second begins when all are there."""
    if not case.whole_dollars:
        stack.start()
        return
    for role in ("order_manager", "orderbook", "strategy"):
        stack.start_by_hand(role)
    stack.wait_for_event("strategy", "attached")
    stack.start_by_hand("gateway")


def price_of(entry: dict[str, Any]) -> Decimal:
    return Decimal(repr(entry["price"]))


def run_of(stack: PrivateStack, tape: list[Tick], case: Case) -> Run:
    """Gather what the stack did from its logs."""
    [started] = stack.events("strategy", "evaluation_started")
    return Run(
        is_coarse=case.whole_dollars,
        tape=tape,
        news={
            entry["first_tick_sequence"]: entry["sentiment"]
            for entry in stack.events("strategy", "news_applied")
        },
        first_evaluated=started["first_evaluated"],
        sent=[
            Order(**{name: entry[name] for name in Order._fields} | {"price": price_of(entry)})
            for entry in stack.events("strategy", "order_sent")
        ],
        missed=[e for r in ("orderbook", "strategy") for e in stack.events(r, "ticks_missed")],
        filled=stack.events("order_manager", "order_filled"),
        printed=stack.output("order_manager"),
    )


def last_evaluated(stack: PrivateStack) -> int:
    """The last tick that the strategy has evaluated, from the file in which it keeps that."""
    state = stack.var_dir / "strategy-strategy.state"
    return int.from_bytes(state.read_bytes()[-8:], sys.byteorder) if state.exists() else 0


def test_the_stack_sends_the_orders_of_the_rules_and_no_others(run: Run) -> None:
    assert run.missed == []
    assert run.sent == run.expected()
    assert len(run.tape) >= 20_000
    # How many it is depends on the tick at which news arrive.
    assert len(run.news) >= (50 if run.is_coarse else 100)
    assert len(run.sent) >= (50 if run.is_coarse else 200)


def test_every_order_is_filled_once_and_printed_once(run: Run) -> None:
    assert [entry["order_id"] for entry in run.filled] == [order.order_id for order in run.sent]
    assert run.printed == [
        f"Received Order {o.order_id}: {o.side} {o.quantity} {o.symbol} @ {for_people(o.price)}"
        for o in run.sent
    ]


def for_people(price: Decimal) -> str:
    """Two decimals, more where the price has more."""
    return re.sub(r"(\.\d\d\d*?)0*$", r"\1", f"{price:.8f}")


def test_the_comparison_notices_when_one_rule_is_another_or_news_are_late(run: Run) -> None:
    others = {
        "short window": Rules(SHORT - 1, LONG, BULLISH, BEARISH, QUANTITY),
        "long window": Rules(SHORT, LONG + 1, BULLISH, BEARISH, QUANTITY),
        "bullish": Rules(SHORT, LONG, BULLISH + 1, BEARISH, QUANTITY),
        "bearish": Rules(SHORT, LONG, BULLISH, BEARISH - 1, QUANTITY),
        "reversal": ReversalOfOnce(SHORT, LONG, BULLISH, BEARISH, QUANTITY),
        "second buy": SecondBuy(SHORT, LONG, BULLISH, BEARISH, QUANTITY),
    }
    if run.is_coarse:
        others["equal averages"] = EqualMeansBuy(SHORT, LONG, BULLISH, BEARISH, QUANTITY)
    assert [name for name, rules in others.items() if run.sent == run.expected(rules)] == []
    assert run.sent != run.expected(news_late=1)
