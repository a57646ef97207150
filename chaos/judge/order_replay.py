"""Whether the orders are those that the trading rules give. Pure; the larger half of the judge.

Each instance of a strategy is replayed: over the booked ticks that it evaluated, in order, with the
news it applied, windows refilled from the book, and the positions that the ledger had when the
instance began. An order is judged with the knowledge of all answers and logons that were logged
before it. The records do not say when exactly an answer came between two orders, so a missing order
is a defect only if no answer that may have come by then explains it.

Exact requirements:
- An order of an instance has the number, side, quantity, price, tick and sentiment of the rules.
- A decision of the rules has an order, and an order is in the ledger, if any later order of the
  same instance is; or, with `Records.settled`, if its tick is before the tail of the last
  instance's tape. Then it was answered, too.
- An order that the strategy gave up (`Records.given_up`) need not be in the ledger. If it is, it
  was rejected.
- The ledger fills an order only if nothing in the records is a reason to reject it. A rejection has
  a reason that is true as far as the records show, with the limits of the settings.

Requirements within bounds:
- A strategy that is killed may have decided without sending, or sent orders that were never read.
  It logs an order in the pass that decides it: decisions at the last `MAX_LOST_TICKS` of an
  instance may have no order, and its last orders may not be in the ledger. Orders that were
  answered with an error are sent again out of order, so they may be missing before booked ones.
- If supervisord was killed (`Records.cut_off`), the last log lines are lost, also those of news: an
  order that only the ledger has is accepted as it is, and later decisions need not have an order.
- Ticks of `Records.held_back` need not have an order.
- If the book's records begin in the middle of a tape, or the strategy's log in the middle of an
  instance, the earlier part is unknown: orders are accepted as they are until the windows are full.
  Orders on unrecorded tapes (of earlier runs) and at ticks before `Records.known_from` are history:
  only the resulting positions count. Of a stack that is still running (without `Records.settled`),
  logs and ledger end later than the book's records: orders at ticks after these are not judged.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from chaos.judge.records import (
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
    return _TradingJudge(records).findings()


class _Order(NamedTuple):
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

    def __init__(self, long_window: int, *, whole: bool) -> None:
        self._long_window = long_window
        self._whole = whole  # whether they hold the tape from its beginning on
        self._prices: dict[str, deque[int]] = {}

    def add_tick(self, tick: BookedTick) -> None:
        prices = self._prices.setdefault(tick.symbol, deque(maxlen=self._long_window))
        prices.append(tick.price)

    def prices_of(self, symbol: str) -> list[int] | None:
        """Return the prices of a symbol; None if some of its window may be unknown."""
        prices = self._prices.get(symbol, ())
        return list(prices) if self._whole or len(prices) == self._long_window else None

    def copy(self) -> _PriceWindows:
        windows = _PriceWindows(self._long_window, whole=self._whole)
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
        self.orders: list[_Order] = []
        self.ticks = 0
        """How many ticks it has evaluated so far."""
        self.missing: list[tuple[int, BookedTick, str]] = []
        """Decisions without an order since its last order, each with `ticks` at that time."""
        self._settled_before: dict[str, int] = {}
        self._answered: set[int] = set()
        self._answers = deque(answers)
        self._sent = deque(sent)

    def learn_answers_before(self, order: _Order) -> None:
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
        self._orders: dict[tuple[str, int], list[_Order]] = {}  # by tick
        self._news = {
            (news.tape, news.first_tick_sequence): news.sentiment for news in records.news
        }
        self._answers: list[OrderAnswer | LoggedOn] = list(records.answers)
        for logon in reversed(records.logons):
            self._answers.insert(logon.answers_before, logon)
        self._assumed: dict[int, int] = {}  # position by order_id, if known
        self._positions: dict[str, int] = {}  # the ledger's when the last instance ended
        self._last_id = 0  # the last order_id of earlier instances
        self._first_booked: dict[str, int] = {}
        self._last_index: dict[str, int] = {}  # of each tape, in the book
        for index, tick in enumerate(records.booked):
            self._first_booked.setdefault(tick.tape, tick.sequence)
            self._last_index[tick.tape] = index
        self._known_tapes = {*self._first_booked, *records.tapes}
        self._known_tapes.update(evaluation.tape for evaluation in records.evaluations)
        self._last_of_tape = {evaluation.tape: evaluation for evaluation in records.evaluations}
        self._next_index = 0  # of the book
        self._seen = _PriceWindows(records.long_window, whole=False)
        """Windows over every tick of the book, evaluated or not."""
        self._windows = self._seen
        self._sentiment: int | None = None

    def findings(self) -> list[str]:
        self._gather_orders()
        self._collect_history()
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
                if not self._is_behind_records(order):
                    self._add_finding(order, "no strategy evaluated that tick of the book")
        self._judge_answers()
        return self._found

    def _add_finding(self, order: _Order, what: str) -> None:
        self._found.append(f"{order.name}: {what}")

    def _gather_orders(self) -> None:
        """Match each order in the log with its row in the ledger."""
        rows = {(row.order_id, row.tape, row.tick_sequence): row for row in self._records.ledger}
        for index, sent in enumerate(self._records.sent):
            row = rows.pop((sent.order_id, sent.tape, sent.tick_sequence), None)
            order = _Order(*sent, index, row)
            if row and sent[1:5] != row[1:5]:
                self._add_finding(order, f"sent was {_text(sent)}, and booked is {_text(row)}")
            self._orders.setdefault((sent.tape, sent.tick_sequence), []).append(order)
        for row in rows.values():
            if row.tape is None or row.tick_sequence is None:
                self._found.append(f"order {row.order_id}: in the ledger without tape and tick")
                continue
            key = row.tape, row.tick_sequence
            self._orders.setdefault(key, []).append(_Order(*row[:5], *key, None, None, row))

    def _collect_history(self) -> None:
        """Take the positions from orders of earlier runs and of instances before the known log."""
        known = self._known_tapes
        self._orders = {
            key: orders
            for key, orders in self._orders.items()
            if key[0] in known and not self._is_before_known(*key)
        }
        is_over = False
        for row in self._records.ledger:
            if row.tape in known and not self._is_before_known(row.tape, row.tick_sequence or 0):
                is_over = True
            elif is_over and row.tape in known:
                continue  # it was sent again, out of order
            elif is_over and row.tape is not None:
                self._found.append(
                    f"tape {row.tape}, tick {row.tick_sequence}, order {row.order_id}: booked "
                    "among those of this run, and that tape is unknown"
                )
            else:
                self._positions[row.symbol] = row.position
                self._last_id = max(self._last_id, row.order_id)

    def _is_before_known(self, tape: str, sequence: int) -> bool:
        """Whether a tick comes before the known part of the strategy's log."""
        if self._records.known_from is None:
            return False
        known_tape, known_sequence = self._records.known_from
        if tape == known_tape:
            return sequence < known_sequence
        tapes = list(self._first_booked)
        return {tape, known_tape} <= self._first_booked.keys() and (
            tapes.index(tape) < tapes.index(known_tape)
        )

    def _orders_of(self, instance: list[Evaluation]) -> list[int]:
        """Return the indices of the orders that an instance sent, in order."""
        return [
            index
            for index, sent in enumerate(self._records.sent)
            if any(
                e.tape == sent.tape and e.first <= sent.tick_sequence <= e.last for e in instance
            )
        ]

    def _replay(
        self, evaluations: list[Evaluation], sent: list[int], until: int | None, *, is_last: bool
    ) -> None:
        """Replay one instance. `until` is the index of the first order of the next one."""
        answers = [
            answer
            for answer in self._answers
            if sent
            and sent[0] < answer.sent_before
            and (until is None or answer.sent_before <= until)
        ]
        instance = _Instance(dict(self._positions), self._last_id + 1, answers, sent)
        self._sentiment = None
        for evaluation in evaluations:
            self._evaluate(instance, evaluation)
        must_be_there = self._is_before_tail if is_last and self._records.settled else _never
        for ticks, tick, what in instance.missing:
            is_cut_off = self._last_of_tape.get(tick.tape) in evaluations and (
                tick.tape in self._records.cut_off
            )
            if not is_cut_off and not self._may_be_lost(
                tick, instance.ticks - ticks, is_last=is_last
            ):
                self._found.append(what)
        answered = {answer.order_id for answer in self._records.answers}
        is_before_another = False
        for order in reversed(instance.orders):
            is_given_up = order.order_id in self._records.given_up
            if order.row:
                is_before_another = True
                if is_given_up and order.row.status == "FILLED":
                    self._add_finding(order, "filled, and the strategy has given it up")
                if (
                    must_be_there(order.tape, order.tick_sequence)
                    and not is_given_up
                    and order.sent_index is not None
                    and order.order_id not in answered
                ):
                    self._add_finding(order, "in the ledger, and the strategy never got an answer")
            elif not is_given_up and (
                must_be_there(order.tape, order.tick_sequence)
                or (is_before_another and order.order_id not in self._records.answered_with_error)
            ):
                self._add_finding(order, "sent, and not in the ledger")
        of_instance = {order.row for order in instance.orders}
        for row in self._records.ledger:
            if row in of_instance:
                self._positions[row.symbol] = row.position
                self._last_id = max(self._last_id, row.order_id)

    def _may_be_lost(self, tick: BookedTick, ticks_after: int, *, is_last: bool) -> bool:
        """Whether a decision may have no order, given how many ticks were evaluated after it."""
        if is_last and not self._is_before_tail(tick.tape, tick.sequence):
            return True
        if is_last and self._records.settled:
            return False
        return ticks_after < MAX_LOST_TICKS

    def _evaluate(self, instance: _Instance, evaluation: Evaluation) -> None:
        """Replay the ticks of one evaluation."""
        tape = evaluation.tape
        self._accept_unrecorded(instance, evaluation)
        begun = evaluation.begun_by == "lap"
        booked = self._records.booked
        while self._next_index <= self._last_index.get(tape, -1):
            tick = booked[self._next_index]
            if tick.tape == tape and tick.sequence > evaluation.last:
                break
            if self._begins_epoch():
                whole = self._next_index > 0 or tick.sequence == 1
                self._seen = _PriceWindows(self._records.long_window, whole=whole)
                self._windows = self._seen.copy()
            is_evaluated = tick.tape == tape and tick.sequence >= evaluation.first
            if is_evaluated and not begun:
                self._windows = self._seen.copy()
                if evaluation.begun_by == "unknown":
                    self._windows = _PriceWindows(self._records.long_window, whole=False)
                begun = True
            self._seen.add_tick(tick)
            self._next_index += 1
            if is_evaluated:
                self._windows.add_tick(tick)
                self._judge_tick(instance, tick)

    def _begins_epoch(self) -> bool:
        """Whether the next tick of the book begins another tape."""
        booked, index = self._records.booked, self._next_index
        return index == 0 or booked[index].tape != booked[index - 1].tape

    def _is_before_tail(self, tape: str, sequence: int) -> bool:
        tail = self._records.tail_begins.get(tape)
        return tail is None or sequence < tail

    def _is_behind_records(self, order: _Order) -> bool:
        """Whether the order came after the end of the book's records, in a running stack."""
        if self._records.settled or self._is_before_tail(order.tape, order.tick_sequence):
            return False
        index = self._last_index.get(order.tape)
        return index is None or order.tick_sequence > self._records.booked[index].sequence

    def _accept_unrecorded(self, instance: _Instance, evaluation: Evaluation) -> None:
        """Accept orders and news of an evaluation before the first tick in the records."""
        end = self._first_booked.get(evaluation.tape, evaluation.last + 1)

        def are_unrecorded(ticks: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
            return sorted(
                (tape, sequence)
                for tape, sequence in ticks
                if tape == evaluation.tape
                and evaluation.first <= sequence < end
                and sequence <= evaluation.last
            )

        for tick in are_unrecorded(self._orders):
            for order in self._orders.pop(tick):
                self._accept_order(instance, order)
        for tick in are_unrecorded(self._news):
            self._sentiment = self._news[tick]

    def _judge_tick(self, instance: _Instance, tick: BookedTick) -> None:
        """Compare the orders at a tick with the rules."""
        instance.ticks += 1
        key = tick.tape, tick.sequence
        if key in self._news:
            self._sentiment = self._news[key]
        orders = self._orders.pop(key, [])
        prices = self._windows.prices_of(tick.symbol)
        if prices is None:
            for order in orders:
                self._accept_order(instance, order)
            return
        side = self._rules.signal(prices, self._sentiment)
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
        if self._may_be_held_back(tick):
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

    def _may_be_held_back(self, tick: BookedTick) -> bool:
        return any(
            gap.tape == tick.tape and gap.first <= tick.sequence <= gap.last
            for gap in self._records.held_back
        )

    def _compare(
        self, instance: _Instance, tick: BookedTick, side: Side | None, order: _Order
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

    def _accept_order(self, instance: _Instance, order: _Order) -> None:
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
            if row.tape not in self._known_tapes:
                continue  # of an earlier run, which may have had other settings
            receipt = _Receipt(row, before, self._assumed.get(row.order_id), self._records)
            where = f"tape {row.tape}, tick {row.tick_sequence}, order {row.order_id}"
            if row.status == "FILLED":
                for reason in receipt.refusals():
                    self._found.append(f"{where}: FILLED, and not refused: {reason}")
            elif not receipt.accounts_for(row.reason or ""):
                self._found.append(
                    f"{where}: rejected at a position of {before}, and this does not account for "
                    f"it: {row.reason}"
                )


def _never(_tape: str, _sequence: int) -> bool:
    return False


class _Receipt(NamedTuple):
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
        return (
            reason == "halted"
            or reason in self.refusals()
            or self._is_too_many(reason)
            or self._is_other_position(reason)
            or self._is_beyond_collar(reason)
        )

    def _is_too_many(self, reason: str) -> bool:
        """Whether the rate limit was reached. Orders answered with errors may have counted, too."""
        records, limit = self.records, self.records.risk.max_orders_per_second
        said = f"{records.client_id} has sent {limit} orders within a second, which is the limit"
        if reason != said or not limit:
            return False
        to_ns = self.row.received_ns
        others = sum(to_ns - SECOND_NS < row.received_ns <= to_ns for row in records.ledger) - 1
        return others >= limit or bool(records.answered_with_error)

    def _is_other_position(self, reason: str) -> bool:
        """Whether the position differs; the assumed one may be known from the reason only."""
        said = re.fullmatch(r"the position is (-?\d+), and the order assumes (-?\d+)", reason)
        return (
            said is not None
            and self.assumed is None
            and self.position == int(said[1]) != int(said[2])
        )

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


def _text(order: _Order | SentOrder | LedgerOrder) -> str:
    return f"{order.side} {order.quantity} {order.symbol} at {format_price(order.price)}"
