"""The loss limit: exact, whatever is filled at whatever prices, until a person lifts it."""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.execution.loss_limit import LossLimit
from lib.execution.order_desk import OrderDesk, Receipt, Session
from lib.execution.risk import Risk
from lib.ledger.schema import LedgerError
from lib.ledger.writer import Ledger
from lib.prices import PRICE_SCALE, decimal_text, units_of
from lib.settings import RiskSettings
from lib.wire.order_messages import ExecutionReport, decode_from_server
from tests.helpers import fresh_ledger

SYMBOLS = ("AAPL", "MSFT")
CLIENTS = ("one", "two")
NO_LIMITS = RiskSettings(**dict.fromkeys(RiskSettings.__struct_fields__, 0))
NOW = Receipt(now_ns=10**15, wall_ns=10**18, utc="2026-11-22T10:00:00.000000Z", halted=False)
REACHED = "one has reached max_loss: its loss is {} and the limit {}; until the file "


class Latches:
    """The files of clients at their limit, without a disk."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.error: OSError | None = None

    def is_held(self, client_id: str) -> bool:
        return client_id in self.held

    def hold(self, client_id: str, loss: int) -> None:
        if self.error:
            raise self.error
        self.held[client_id] = loss


class Counter:
    """A desk with a loss limit, its ledger, its latches and the latest prices, by symbol."""

    def __init__(self, ledger: Ledger, max_loss: float) -> None:
        self.ledger = ledger
        self.max_loss = max_loss
        self.latches = Latches()
        self.prices: dict[str, int | str] = {}
        self.looked_up: set[str] = set()
        self._order_id = 0
        self.restart()

    def restart(self) -> None:
        """Let another order manager go on with the ledger and the files."""
        self.ledger.close()
        self.ledger = Ledger(self.ledger.path)
        risk = Risk(NO_LIMITS, 10**9, SYMBOLS, self.prices.get)
        self.limit = LossLimit(self.max_loss, self.ledger, self._latest_price, self.latches)
        self.desk = OrderDesk(self.ledger, risk, loss_limit=self.limit)
        self.sessions = defaultdict(lambda: Session("peer"))

    def _latest_price(self, symbol: str) -> int | str | None:
        self.looked_up.add(symbol)
        return self.prices.get(symbol)

    def log_on(self, client_id: str) -> Session:
        session = self.sessions[client_id]
        if session.silent:
            self.desk.receive(
                session, b'{"type":"logon","client_id":"%b"}*' % client_id.encode(), NOW
            )
        return session

    def order(self, signed: int, price: int, symbol: str = "AAPL", client_id: str = "one") -> None:
        """Let a client send an order, in this pass."""
        self._order_id += 1
        order = {
            "type": "order", "order_id": self._order_id, "symbol": symbol,
            "side": "BUY" if signed > 0 else "SELL", "quantity": abs(signed),
        }  # fmt: skip
        frame = json.dumps(order)[:-1] + f', "price": {decimal_text(price)}}}*'
        self.desk.receive(self.log_on(client_id), frame.encode(), NOW)

    def end_pass(self) -> list:
        """Commit; return what was answered to orders. The next order is of the next pass."""
        outcome = self.desk.commit()
        self.limit.begin_pass()
        answers = [decode_from_server(frame[:-1]) for _, frame in outcome.answers]
        return [answer for answer in answers if hasattr(answer, "order_id")]

    def ask(self, signed: int, price: int, symbol: str = "AAPL", client_id: str = "one"):
        """Let a client send an order, in a pass of its own."""
        self.order(signed, price, symbol, client_id)
        (answer,) = self.end_pass()
        return answer


@contextmanager
def fresh_counter(max_loss: float) -> Iterator[Counter]:
    with fresh_ledger() as ledger:
        counter = Counter(ledger, max_loss)
        yield counter
        counter.ledger.close()


@pytest.fixture
def counter() -> Iterator[Counter]:
    with fresh_counter(10.0) as counter:
        yield counter


def money(amount: int) -> int:
    return amount * PRICE_SCALE


# The property.


class Account:
    """A client, in plain fractions: every fill, from the beginning."""

    def __init__(self) -> None:
        self.fills: list[tuple[str, int, Fraction]] = []
        self.base = Fraction(0)
        self.is_latched = False

    def position(self, symbol: str) -> int:
        return sum(signed for one, signed, _ in self.fills if one == symbol)

    def profit(self, prices: dict[str, int]) -> Fraction:
        paid = sum((signed * price for _, signed, price in self.fills), Fraction(0))
        return sum(self.position(s) * Fraction(prices[s], PRICE_SCALE) for s in SYMBOLS) - paid

    def judge(
        self, prices: dict[str, int], max_loss: Fraction, symbol: str, signed: int, price: int
    ) -> bool:
        """Whether the order is filled."""
        self.is_latched |= self.base - self.profit(prices) > max_loss
        held = self.position(symbol)
        reduces = held * signed < 0 and abs(signed) <= abs(held)
        if self.is_latched and not reduces:
            return False
        self.fills.append((symbol, signed, Fraction(price, PRICE_SCALE)))
        return True


class Priced(NamedTuple):
    symbol: str
    price: int


class Ordered(NamedTuple):
    client_id: str
    symbol: str
    signed: int
    price: int


class Lifted(NamedTuple):
    client_id: str


class Restarted(NamedTuple):
    pass


units = st.integers(1, 6)
symbols, clients = st.sampled_from(SYMBOLS), st.sampled_from(CLIENTS)
quantities = st.integers(-4, 4).filter(bool) | st.sampled_from([-(10**12), 10**12])
steps = st.one_of(
    st.builds(Priced, symbols, units | st.just(9 * 10**17)),
    st.builds(Ordered, clients, symbols, quantities, units),
    st.builds(Ordered, clients, symbols, quantities, units),
    st.builds(Lifted, clients),
    st.builds(Restarted),
)
AT_THE_LIMIT = [Ordered("one", "AAPL", 5, 2), Priced("AAPL", 1), Ordered("one", "AAPL", 1, 1)]


@given(st.lists(steps, max_size=40), st.sampled_from([1e-8, 2.5e-8, 5e-8, 1e-7, 0.3]))
@example(AT_THE_LIMIT, 5e-8)
@example([*AT_THE_LIMIT, Priced("AAPL", 6), Ordered("one", "AAPL", 1, 1)], 4e-8)
@example([*AT_THE_LIMIT, Lifted("one"), Restarted(), Ordered("one", "AAPL", 1, 1)], 4e-8)
@example([Ordered("one", "AAPL", 2, 6), Ordered("one", "AAPL", -1, 1)] * 2, 5e-8)
def test_beyond_the_limit_and_not_at_it_only_what_reduces_is_filled_until_it_is_lifted(
    done, max_loss
):
    limit = Fraction(str(max_loss))
    accounts = {client_id: Account() for client_id in CLIENTS}
    with fresh_counter(max_loss) as counter:
        counter.prices.update(dict.fromkeys(SYMBOLS, 3))
        expected: list[bool] = []
        removed: set[str] = set()

        def end_pass() -> None:
            filled = [answer.status == "FILLED" for answer in counter.end_pass()]
            assert filled == expected
            expected.clear()

        for step in done:
            if isinstance(step, Ordered):
                account = accounts[step.client_id]
                if step.client_id in removed:  # losses count from the first order after the lifting
                    removed.discard(step.client_id)
                    account.base, account.is_latched = account.profit(counter.prices), False
                expected.append(account.judge(counter.prices, limit, *step[1:]))
                counter.order(step.signed, step.price, step.symbol, step.client_id)
                continue
            end_pass()
            if isinstance(step, Priced):
                counter.prices[step.symbol] = step.price
            elif isinstance(step, Restarted):
                counter.restart()
            elif counter.latches.held.pop(step.client_id, None) is not None:
                removed.add(step.client_id)
        end_pass()
        at_limit = {name for name, one in accounts.items() if one.is_latched} - removed
        assert set(counter.latches.held) == at_limit


# Case by case.


def test_the_reason_names_loss_and_limit_and_how_to_go_on(counter):
    counter.prices["AAPL"] = money(100)
    assert counter.ask(2, money(100)).status == "FILLED"
    counter.prices["AAPL"] = money(95)
    assert counter.ask(1, money(95)).status == "FILLED"  # exactly at the limit
    counter.prices["AAPL"] = units_of("94.99999999")
    refused = counter.ask(1, money(95))
    assert refused.status == "REJECTED"
    assert refused.reason == (
        "one has reached max_loss: its loss is 10.00000003 and the limit 10; until the file "
        "LOSS_LIMIT-one is removed, only orders that reduce a position are filled"
    )
    assert counter.latches.held == {"one": units_of("10.00000003")}


def test_what_reduces_is_filled_up_to_nothing_and_not_beyond(counter):
    counter.prices["AAPL"] = money(100)
    counter.ask(3, money(100))
    counter.prices["AAPL"] = money(1)
    results = [counter.ask(signed, money(1)).status for signed in (-4, 1, -1, -3, -2, -1)]
    assert results == ["REJECTED"] * 2 + ["FILLED", "REJECTED", "FILLED", "REJECTED"]


def test_an_order_that_another_check_refuses_does_not_reach_the_limit(counter):
    counter.prices["AAPL"] = money(100)
    counter.ask(1, money(100))
    counter.prices["AAPL"] = money(1)
    assert "unknown symbol" in counter.ask(1, money(1), "TSLA").reason
    assert counter.latches.held == {}


def test_the_fills_of_a_pass_count_for_its_later_orders(counter):
    counter.prices["AAPL"] = money(100)
    for signed, price in ((1, 100), (-1, 80), (1, 100)):
        counter.order(signed, money(price))
    answers = counter.end_pass()
    assert [answer.status for answer in answers] == ["FILLED", "FILLED", "REJECTED"]


def test_without_a_price_what_is_held_counts_at_its_cost(counter):
    counter.ask(2, money(100))
    assert counter.ask(-1, money(91)).status == "FILLED"
    assert counter.ask(1, money(1)).status == "FILLED"  # 9 lost, and 101 paid for what is held
    counter.prices["AAPL"] = money(40)
    assert REACHED.format(30, 10) in counter.ask(1, money(40)).reason


def test_a_price_that_is_lost_counts_on_as_it_was_last(counter):
    counter.prices["AAPL"] = money(115)
    counter.ask(2, money(100))
    assert counter.ask(-1, money(85)).status == "FILLED"  # 15 lost, and 15 gained of what is held
    del counter.prices["AAPL"]
    assert counter.ask(1, money(115)).status == "FILLED"


def test_without_a_price_that_there_should_be_only_what_reduces_is_filled(counter):
    counter.prices["AAPL"] = money(100)
    counter.ask(2, money(100))
    counter.prices["AAPL"] = "there is no price book"
    for signed in (1, -3):
        refused = counter.ask(signed, money(100))
        assert refused.status == "REJECTED"
        assert refused.reason == "no price to judge the loss by: there is no price book"
    assert counter.ask(-1, money(91)).status == "FILLED"  # 9 lost
    assert counter.ask(-1, money(98)).status == "FILLED"  # 11
    assert counter.latches.held == {}
    assert REACHED.format(11, 10) in counter.ask(1, money(98)).reason
    counter.latches.held.clear()
    counter.prices["AAPL"] = money(100)
    assert counter.ask(1, money(100)).status == "FILLED"


def test_the_price_of_a_symbol_that_is_held_no_more_is_not_looked_up(counter):
    counter.ask(1, money(100))
    counter.ask(-1, money(95))
    counter.looked_up.clear()
    assert counter.ask(1, money(100), "MSFT").status == "FILLED"
    assert counter.looked_up == {"MSFT"}
    counter.prices["MSFT"] = money(95)
    assert counter.ask(1, money(95), "MSFT").status == "FILLED"  # exactly at the limit
    counter.prices["MSFT"] = money(94)
    assert REACHED.format(12, 10) in counter.ask(1, money(94), "MSFT").reason


def test_a_limit_that_was_lifted_counts_from_there_also_after_a_restart(counter):
    counter.prices["AAPL"] = money(100)
    counter.ask(1, money(100))
    counter.prices["AAPL"] = money(50)
    assert counter.ask(1, money(50)).status == "REJECTED"
    counter.latches.held.clear()
    assert counter.ask(1, money(50)).status == "FILLED"
    counter.prices["AAPL"] = money(45)  # two shares, 5 each
    for _ in range(2):
        assert counter.ask(-1, money(45)).status == "FILLED"
        assert counter.ask(1, money(45)).status == "FILLED"
        counter.restart()
    counter.prices["AAPL"] = money(44)
    assert REACHED.format(12, 10) in counter.ask(1, money(44)).reason


def test_a_file_that_a_person_made_is_a_limit_and_its_removal_lifts_it(counter):
    counter.prices["AAPL"] = money(100)
    counter.ask(1, money(100))
    counter.latches.held["one"] = 0
    assert REACHED.format(0, 10) in counter.ask(1, money(1)).reason
    assert counter.ask(1, money(100), client_id="two").status == "FILLED"
    counter.restart()
    counter.prices["AAPL"] = money(50)
    del counter.latches.held["one"]
    assert counter.ask(1, money(50)).status == "FILLED"  # losses count from there


def test_an_anonymous_client_is_at_its_limit_for_as_long_as_it_is_there(counter):
    counter.prices["AAPL"] = money(100)
    session = Session("peer")

    def ask(order_id: int, side: str) -> ExecutionReport:
        frame = (
            b'{"type":"order","order_id":%d,"symbol":"AAPL","side":"%b","quantity":1,"price":100}*'
        )
        counter.desk.receive(session, frame % (order_id, side.encode()), NOW)
        return counter.end_pass()[0]

    ask(1, "BUY")
    ask(2, "BUY")
    counter.prices["AAPL"] = money(1)
    assert ask(3, "BUY").reason.endswith(
        "until its connection ends, only orders that reduce a position are filled"
    )
    counter.prices["AAPL"] = money(100)
    assert [ask(n, side).status for n, side in ((4, "BUY"), (5, "SELL"))] == ["REJECTED", "FILLED"]
    assert counter.latches.held == {}


def test_a_limit_that_cannot_be_kept_lets_nothing_be_booked_but_what_reduces(counter):
    counter.prices["AAPL"] = money(100)
    counter.ask(2, money(100))
    counter.prices["AAPL"] = money(1)
    counter.latches.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error = counter.ask(1, money(1))
    assert (error.order_id, type(error).__name__) == (2, "ErrorMessage")
    assert error.reason.endswith("; that cannot be kept: No space left on device")
    assert counter.ask(-1, money(1)).status == "FILLED"
    counter.latches.error = None
    assert counter.ask(1, money(1)).status == "REJECTED"
    assert set(counter.latches.held) == {"one"}


def test_a_commit_that_fails_takes_its_fills_back_and_leaves_the_file(counter, monkeypatch):
    counter.prices["AAPL"] = money(100)
    counter.ask(1, money(100))
    with monkeypatch.context() as patch:
        patch.setattr(counter.ledger, "_write", fail)
        counter.order(-1, money(50))
        counter.order(1, money(50))
        assert {type(answer).__name__ for answer in counter.end_pass()} == {"ErrorMessage"}
    assert set(counter.latches.held) == {"one"}  # a kill may have come just after the commit
    assert counter.ask(1, money(50)).status == "REJECTED"
    assert REACHED.format(0, 10) in counter.ask(1, money(50)).reason
    counter.latches.held.clear()
    assert counter.ask(1, money(50)).status == "FILLED"


def fail(*_: object) -> None:
    raise LedgerError("disk full")
