"""Whether the orders are those that the trading rules give. Pure; the larger half of the judge.

Needs complete records (`Records.whole`) of a stack that settled.

Each instance of a strategy is replayed: over the booked ticks that it evaluated, in order, with the
news it applied, windows refilled from the book, and the positions that the ledger had when the
instance began. An order is judged with the knowledge of all answers and logons that were logged
before it. The records do not say when exactly an answer came between two orders, so a missing order
is a defect only if no answer that may have come by then explains it.

Exact requirements:
- An order of an instance has the number, side, quantity, price, tick and sentiment of the rules.
- A decision of the rules has an order, and an order is in the ledger, if any later order of the
  same instance is, or if its tick is before the tail of the last instance's tape. Then it was
  answered, too.
- An order that the strategy gave up (`Records.given_up`) is not in the ledger, or was rejected.
- The ledger fills an order only if nothing in the records is a reason to reject it. A rejection has
  a reason that is true as far as the records show, with the limits of the settings.

Requirements within bounds:
- A strategy that is killed may have decided without sending at its last `MAX_LOST_TICKS`, and its
  last orders may never have been read. Orders that were answered with an error are sent again out
  of order, so they may be missing before booked ones.
- If supervisord was killed (`Records.cut_off`), the last log lines are lost, also those of news: an
  order that only the ledger has is accepted as it is, and later decisions need not have an order.
- Ticks of `Records.held_back` need not have an order.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from chaos.judge.records import (
    BookAttachment,
    BookedTick,
    Evaluation,
    LedgerOrder,
    LoggedOn,
    OrderAnswer,
    Records,
    SentOrder,
)
from chaos.judge.trading_rules import Rules, Side
from lib.clock import SECOND_NS
from lib.prices import format_price

MAX_LOST_TICKS: Final = 100
"""More ticks than one pass of a strategy that keeps up evaluates."""


def trading_findings(records: Records) -> list[str]:
    """Return every difference between the orders and the rules, one line each."""
    if not (records.whole and records.settled):
        return []
    return _TradingJudge(records).findings()


class _KnownOrder(NamedTuple):
    """An order from the strategy's log, from the ledger, or from both."""

    order_id: int
    symbol: str
    side: str
    quantity: int
    price: int
    tape: str
    tick_sequence: int
    sentiment: int | None
    sent_index: int | None
    """Its index in `Records.sent`; None if its log line was lost."""
    row: LedgerOrder | None

    @property
    def name(self) -> str:
        return f"tape {self.tape}, tick {self.tick_sequence}, order {self.order_id}"


class _PriceWindows:
    """The last prices of each symbol."""

    def __init__(self, long_window: int) -> None:
        self._long_window = long_window
        self._prices: dict[str, deque[int]] = {}

    def add_tick(self, tick: BookedTick) -> list[int]:
        """Add the price of a tick; return the prices of its symbol."""
        prices = self._prices.setdefault(tick.symbol, deque(maxlen=self._long_window))
        prices.append(tick.price)
        return list(prices)

    def copy(self) -> _PriceWindows:
        windows = _PriceWindows(self._long_window)
        windows._prices = {symbol: prices.copy() for symbol, prices in self._prices.items()}
        return windows


class _Instance:
    """The state of one strategy instance in the replay."""

    def __init__(
        self,
        positions: dict[str, int],
        next_id: int,
        answers: list[OrderAnswer | LoggedOn],
        sent: list[int],
    ) -> None:
        self.positions = positions
        self.next_id = next_id
        self.orders: list[_KnownOrder] = []
        self.ticks = 0
        """How many ticks it has evaluated so far."""
        self.missing: list[tuple[int, BookedTick, str]] = []
        """Decisions without an order since its last order, each with `ticks` at that time."""
        self._settled_before: dict[str, int] = {}
        self._answered: set[int] = set()
        self._answers = deque(answers)
        self._sent = deque(sent)

    def learn_answers_before(self, order: _KnownOrder) -> None:
        """Apply all answers that came before the order was sent."""
        if order.sent_index is None:
            return
        while self._sent and self._sent[0] <= order.sent_index:
            self._sent.popleft()
        while self._answers and self._answers[0].sent_before <= order.sent_index:
            self.learn_answer()

    def may_learn_answer(self) -> bool:
        """Whether the next answer may have come before the next known order."""
        return bool(self._answers) and (
            not self._sent or self._answers[0].sent_before <= self._sent[0]
        )

    def learn_answer(self) -> None:
        """Apply the next answer to the positions.

        After a rejection the position is the ledger's. Of orders that were unanswered at that time,
        only a fill changes it again. At a logon it is the ledger's if no order is unanswered.
        """
        answer = self._answers.popleft()
        if isinstance(answer, LoggedOn):
            ended = self._answered | answer.given_up
            under_way = {o.symbol for o in self.orders if o.order_id not in ended}
            for symbol in (self.positions.keys() | answer.positions.keys()) - under_way:
                self.positions[symbol] = answer.positions.get(symbol, 0)
            self.next_id = max(self.next_id, answer.last_order_id + 1)
            return
        self._answered.add(answer.order_id)
        was_under_way = answer.order_id < self._settled_before.get(answer.symbol, 0)
        if was_under_way == (answer.status == "FILLED"):
            self.positions[answer.symbol] = answer.position
            self._settled_before[answer.symbol] = self.next_id


def _refill(attached: BookAttachment | None, evaluation: Evaluation) -> int | None:
    """Return how many ticks filled the windows before an evaluation; None: all before it.

    A book that replaces a lost one is filled again while the strategy is attached to it already.
    """
    if attached is None or attached.refilled is None or not attached.sequence:
        return None
    passed = evaluation.first - 1 - attached.sequence if attached.tape == evaluation.tape else 0
    return attached.refilled + max(0, passed)


class _TradingJudge:
    """Replays the instances one after the other and collects the findings."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._rules = Rules(
            records.short_window,
            records.long_window,
            records.bullish_threshold,
            records.bearish_threshold,
            records.quantity,
        )
        self._found: list[str] = []
        self._orders: dict[tuple[str, int], list[_KnownOrder]] = {}  # by tick
        self._news = {
            (news.tape, news.first_tick_sequence): news.sentiment for news in records.news
        }
        self._answers: list[OrderAnswer | LoggedOn] = list(records.answers)
        for logon in reversed(records.logons):
            self._answers.insert(logon.answers_before, logon)
        self._assumed: dict[int, int] = {}  # position by order_id, if known
        self._positions: dict[str, int] = {}  # the ledger's when the last instance ended
        self._last_id = 0  # the last order_id of earlier instances
        self._last_index = {tick.tape: index for index, tick in enumerate(records.booked)}
        self._last_of_tape = {evaluation.tape: evaluation for evaluation in records.evaluations}
        self._next_index = 0  # of the book
        self._refilled = iter(self._refills())
        self._seen = _PriceWindows(records.long_window)
        """Windows over every tick of the book, evaluated or not."""
        self._windows = self._seen
        self._sentiment: int | None = None

    def _refills(self) -> list[int | None]:
        """How many ticks filled the windows before each evaluation; None: all before it."""
        attached = {a.evaluations_before: a for a in self._records.attached}
        evaluations = self._records.evaluations
        return [_refill(attached.get(number), one) for number, one in enumerate(evaluations)]

    def findings(self) -> list[str]:
        self._gather_orders()
        instances: list[list[Evaluation]] = []
        for evaluation in self._records.evaluations:
            if evaluation.begun_by == "start" or not instances:
                instances.append([])
            instances[-1].append(evaluation)
        begins = [self._orders_of(instance) for instance in instances]
        for number, (instance, sent) in enumerate(zip(instances, begins, strict=True)):
            later = [indices[0] for indices in begins[number + 1 :] if indices]
            self._replay(
                instance, sent, min(later, default=None), is_last=number + 1 == len(instances)
            )
        for orders in self._orders.values():
            for order in orders:
                self._add_finding(order, "no strategy evaluated that tick of the book")
        self._judge_answers()
        return self._found

    def _add_finding(self, order: _KnownOrder, what: str) -> None:
        self._found.append(f"{order.name}: {what}")

    def _gather_orders(self) -> None:
        """Match each order in the log with its row in the ledger."""
        rows = {(row.order_id, row.tape, row.tick_sequence): row for row in self._records.ledger}
        for index, sent in enumerate(self._records.sent):
            row = rows.pop((sent.order_id, sent.tape, sent.tick_sequence), None)
            order = _KnownOrder(*sent, index, row)
            if row and sent[1:5] != row[1:5]:
                self._add_finding(order, f"sent was {_text(sent)}, and booked is {_text(row)}")
            self._orders.setdefault((sent.tape, sent.tick_sequence), []).append(order)
        for row in rows.values():
            if row.tape is None or row.tick_sequence is None:
                self._found.append(f"order {row.order_id}: in the ledger without tape and tick")
                continue
            key = row.tape, row.tick_sequence
            self._orders.setdefault(key, []).append(_KnownOrder(*row[:5], *key, None, None, row))

    def _orders_of(self, instance: list[Evaluation]) -> list[int]:
        """Return the indices of the orders that an instance sent, in order."""
        return [
            index
            for index, sent in enumerate(self._records.sent)
            for e in instance
            if e.tape == sent.tape and e.first <= sent.tick_sequence <= e.last
        ]

    def _replay(
        self, evaluations: list[Evaluation], sent: list[int], until: int | None, *, is_last: bool
    ) -> None:
        """Replay one instance. `until` is the index of the first order of the next one."""
        first = sent[0] if sent else math.inf
        last = math.inf if until is None else until
        answers = [answer for answer in self._answers if first < answer.sent_before <= last]
        instance = _Instance(dict(self._positions), self._last_id + 1, answers, sent)
        self._sentiment = None
        for evaluation in evaluations:
            self._evaluate(instance, evaluation)
        for ticks, tick, what in instance.missing:
            is_last_of_tape = self._last_of_tape.get(tick.tape) in evaluations
            may_be_lost = instance.ticks - ticks < MAX_LOST_TICKS
            if is_last:
                may_be_lost = not self._is_before_tail(tick.tape, tick.sequence)
            if not may_be_lost and not (is_last_of_tape and tick.tape in self._records.cut_off):
                self._found.append(what)
        self._judge_booking(instance, is_last=is_last)
        of_instance = {order.row for order in instance.orders}
        for row in self._records.ledger:
            if row in of_instance:
                self._positions[row.symbol] = row.position
                self._last_id = max(self._last_id, row.order_id)

    def _judge_booking(self, instance: _Instance, *, is_last: bool) -> None:
        """Judge which orders of an instance are in the ledger and answered."""
        answered = {answer.order_id for answer in self._records.answers}
        is_before_another = False
        for order in reversed(instance.orders):
            is_given_up = order.order_id in self._records.given_up
            must_be_there = is_last and self._is_before_tail(order.tape, order.tick_sequence)
            if order.row:
                is_before_another = True
                if is_given_up and order.row.status == "FILLED":
                    self._add_finding(order, "filled, and the strategy has given it up")
                if (
                    must_be_there
                    and not is_given_up
                    and order.sent_index is not None
                    and order.order_id not in answered
                ):
                    self._add_finding(order, "in the ledger, and the strategy never got an answer")
            elif not is_given_up and (
                must_be_there
                or (is_before_another and order.order_id not in self._records.answered_with_error)
            ):
                self._add_finding(order, "sent, and not in the ledger")

    def _evaluate(self, instance: _Instance, evaluation: Evaluation) -> None:
        """Replay the ticks of one evaluation."""
        tape = evaluation.tape
        begun = evaluation.begun_by == "lap"
        refilled = next(self._refilled)
        booked = self._records.booked
        while self._next_index <= self._last_index.get(tape, -1):
            tick = booked[self._next_index]
            if tick.tape == tape and tick.sequence > evaluation.last:
                break
            if self._next_index == 0 or tick.tape != booked[self._next_index - 1].tape:
                self._seen = _PriceWindows(self._records.long_window)
                self._windows = self._seen.copy()
            is_evaluated = tick.tape == tape and tick.sequence >= evaluation.first
            if is_evaluated and not begun:
                self._windows = self._windows_of(refilled, tape)
                begun = True
            self._seen.add_tick(tick)
            self._next_index += 1
            if is_evaluated:
                self._judge_tick(instance, tick)

    def _windows_of(self, refilled: int | None, tape: str) -> _PriceWindows:
        """Return windows over so many ticks of the tape before the next one; None: over all."""
        if refilled is None:
            return self._seen.copy()
        windows = _PriceWindows(self._records.long_window)
        for tick in self._records.booked[max(0, self._next_index - refilled) : self._next_index]:
            if tick.tape == tape:
                windows.add_tick(tick)
        return windows

    def _is_before_tail(self, tape: str, sequence: int) -> bool:
        tail = self._records.tail_begins.get(tape)
        return tail is None or sequence < tail

    def _judge_tick(self, instance: _Instance, tick: BookedTick) -> None:
        """Compare the orders at a tick with the rules."""
        instance.ticks += 1
        key = tick.tape, tick.sequence
        if key in self._news:
            self._sentiment = self._news[key]
        orders = self._orders.pop(key, [])
        side = self._rules.signal(self._windows.add_tick(tick), self._sentiment)
        if not orders:
            if side:
                self._judge_missing_order(instance, tick, side)
            return
        if orders[0].sent_index is None and tick.tape in self._records.cut_off:
            instance.missing.clear()  # the log line of the news that explains it may be lost, too
            self._accept_order(instance, orders[0])
        else:
            self._compare(instance, tick, side, orders[0])
        for order in orders[1:]:
            self._add_finding(
                order, f"a second order at this tick, after order {orders[0].order_id}"
            )

    def _judge_missing_order(self, instance: _Instance, tick: BookedTick, side: Side) -> None:
        """Judge a tick without an order. If the rules give one, an answer may explain it."""
        held = self._records.held_back
        if any(gap.tape == tick.tape and gap.first <= tick.sequence <= gap.last for gap in held):
            return  # it does not show which answers the strategy knew
        while (quantity := self._quantity(instance, tick, side)) and instance.may_learn_answer():
            instance.learn_answer()
        if not quantity:
            return
        what = (
            f"tape {tick.tape}, tick {tick.sequence}, order {instance.next_id}: missing, the rules "
            f"give {side} {quantity} {tick.symbol}"
        )
        instance.missing.append((instance.ticks, tick, what))
        instance.positions[tick.symbol] = self._rules.position_after(side)
        instance.next_id += 1

    def _compare(
        self, instance: _Instance, tick: BookedTick, side: Side | None, order: _KnownOrder
    ) -> None:
        instance.learn_answers_before(order)
        if order.sent_index is None:  # its place among the answers is unknown
            while (
                side
                and self._quantity(instance, tick, side) != order.quantity
                and instance.may_learn_answer()
            ):
                instance.learn_answer()
        position = instance.positions.get(tick.symbol, 0)
        quantity = self._quantity(instance, tick, side) if side else None
        if side is None or quantity is None:
            self._add_finding(
                order,
                f"{_text(order)}, and the rules give no order: the signal is "
                f"{side or 'none'}, the sentiment {self._sentiment}, the position {position}",
            )
        else:
            expected: dict[str, object] = {
                "order_id": instance.next_id,
                "symbol": tick.symbol,
                "side": side,
                "quantity": quantity,
                "price": tick.price,
            }
            if order.sent_index is not None:
                expected["sentiment"] = self._sentiment
            for name, value in expected.items():
                is_sent = getattr(order, name)
                if is_sent != value:
                    if name == "price":
                        is_sent, value = format_price(is_sent), format_price(tick.price)
                    self._add_finding(order, f"{name} is {is_sent}, and the rules give {value}")
            self._assumed[order.order_id] = position
        self._accept_order(instance, order)

    def _quantity(self, instance: _Instance, tick: BookedTick, side: Side) -> int | None:
        return self._rules.order_quantity(side, instance.positions.get(tick.symbol, 0))

    def _accept_order(self, instance: _Instance, order: _KnownOrder) -> None:
        """Continue from this order, whatever the rules say: later decisions depend on it."""
        instance.learn_answers_before(order)
        self._found += [what for *_, what in instance.missing]
        instance.missing.clear()
        instance.orders.append(order)
        instance.next_id = order.order_id + 1
        side: Side = "BUY" if order.side == "BUY" else "SELL"
        instance.positions[order.symbol] = self._rules.position_after(side)

    def _judge_answers(self) -> None:
        """Check that fills had no reason to be rejected and that rejections give a true reason."""
        positions: dict[str, int] = {}
        for row in self._records.ledger:
            before = positions.get(row.symbol, 0)
            positions[row.symbol] = row.position
            receipt = _ReceiptCheck(row, before, self._assumed.get(row.order_id), self._records)
            where = f"tape {row.tape}, tick {row.tick_sequence}, order {row.order_id}"
            if row.status == "FILLED":
                for reason in receipt.refusals():
                    self._found.append(f"{where}: FILLED, and not refused: {reason}")
            elif not receipt.accounts_for(row.reason or ""):
                self._found.append(
                    f"{where}: rejected at a position of {before}, and this does not account for "
                    f"it: {row.reason}"
                )


class _ReceiptCheck(NamedTuple):
    """The receipt of an order at the order manager, with its position in the symbol."""

    row: LedgerOrder
    position: int
    assumed: int | None
    """The position that the order's quantity was computed from, if known."""
    records: Records

    def refusals(self) -> Iterator[str]:
        """Yield every certain reason to reject the order, in the order manager's words."""
        row, risk = self.row, self.records.risk
        age_ns = row.received_ns - (row.received_ns if row.sent_ns is None else row.sent_ns)
        if age_ns > self.records.order_ttl_ns:
            yield (
                f"expired: first sent {_seconds(age_ns)} s before its receipt, and the limit is "
                f"{_seconds(self.records.order_ttl_ns)} s"
            )
        if row.symbol not in self.records.symbols:
            yield f"unknown symbol {row.symbol}"
        if 0 < risk.max_order_quantity < row.quantity:
            yield f"the quantity is {row.quantity}, and the limit is {risk.max_order_quantity}"
        if self.assumed not in (None, self.position):
            yield f"the position is {self.position}, and the order assumes {self.assumed}"
        after = self.position + (row.quantity if row.side == "BUY" else -row.quantity)
        only_reduces = after * self.position >= 0 and abs(after) < abs(self.position)
        if 0 < risk.max_position < abs(after) and not only_reduces:
            yield (
                f"the position would be {after}, and the limit is {risk.max_position} long or short"
            )

    def accounts_for(self, reason: str) -> bool:
        """Whether a reason exists and is true as far as the records show."""
        if reason == "halted" or reason in self.refusals() or self._is_too_many(reason):
            return True
        # The position that was assumed may be known from the reason only.
        said = re.fullmatch(r"the position is (-?\d+), and the order assumes (-?\d+)", reason)
        if said and self.assumed is None and self.position == int(said[1]) != int(said[2]):
            return True
        return self._is_without_price(reason) or self._is_beyond_collar(reason)

    def _is_without_price(self, reason: str) -> bool:
        """Whether the collar had no price, as far as is known: the book was lost at some time."""
        has_collar = self.records.risk.price_collar_percent > 0
        is_lost = has_collar and self.records.lost_books > 0
        return is_lost and reason.startswith("no price to compare with: ")

    def _is_too_many(self, reason: str) -> bool:
        """Whether the rate limit was reached. Orders answered with errors may have counted, too."""
        records, limit = self.records, self.records.risk.max_orders_per_second
        said = f"{records.client_id} has sent {limit} orders within a second, which is the limit"
        if reason != said or not limit:
            return False
        to_ns = self.row.received_ns
        others = sum(to_ns - SECOND_NS < row.received_ns <= to_ns for row in records.ledger) - 1
        return others >= limit or bool(records.answered_with_error)

    def _is_beyond_collar(self, reason: str) -> bool:
        """Whether the collar was exceeded, by a latest price that the book had at some time."""
        percent = self.records.risk.price_collar_percent
        said = re.fullmatch(
            rf"the price {re.escape(format_price(self.row.price))} is more than "
            rf"{re.escape(f'{percent:.15g}')}% from the latest, ([\d.]+)",
            reason,
        )
        if said is None or not percent:
            return False
        latest = int(Decimal(said[1]).scaleb(8))
        is_beyond = abs(self.row.price - latest) * 100 > latest * Decimal(str(percent))
        booked = self.records.booked
        return is_beyond and any(tick[2:] == (self.row.symbol, latest) for tick in booked)


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / SECOND_NS:.3f}"


def _text(order: _KnownOrder | SentOrder | LedgerOrder) -> str:
    return f"{order.side} {order.quantity} {order.symbol} at {format_price(order.price)}"
