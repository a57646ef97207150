"""Whether the orders are those that the trading rules give. Pure; the larger half of the judge.

Each life of a strategy is lived once more: over the ticks of the book that it evaluated, in order,
with the news as it was applied, windows refilled from the book, and positions as the ledger had
them when the life began. What the strategy was told is learned when it was told: an order is
decided in the knowledge of all answers and later logons logged before it. When exactly an answer
came between two orders the records do not say; so a decision that was not made is a fault only if
no answer that may have been known by then explains it.

Exactly required:
- An order of a life has the number, side, quantity, price, tick and sentiment of the rules.
- A decision of the rules has an order, and an order is in the ledger, if any later order of the
  same life is; or, with `Records.settled`, if its tick is before the tail of the last life's tape.
- The ledger fills an order only if it was sized on the position that it has; one that it rejects
  has a reason that is true as far as the records tell.

Only within bounds:
- A strategy that is killed may have decided and not sent, or sent what nobody read, or have lost
  the last lines of its log: at the end of a life at most `MAX_LOST_ORDERS` decisions may have no
  order, and its last orders may not be in the ledger. Those that were answered with an error are
  sent again out of turn, so that they may be missing before others that are there.
- Where supervisord was killed (`Records.cut_off`), the lines that were on their way to the logs are
  lost, those of news too: an order that only the ledger knows is taken as it is.
- Ticks of `Records.held_back` need not have an order.
- Where the book's records begin in the middle of a tape, what came before is unknown: an order is
  taken as it is until the windows are full. So are orders on tapes that nobody recorded, which are
  of earlier runs. Of a stack that goes on (without `Records.settled`) the logs and the ledger end
  after the book's records: orders at ticks of the tail behind these are not looked at.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from chaos.records import (
    BookedTick,
    Evaluation,
    LedgerOrder,
    LoggedOn,
    Records,
    SentOrder,
    ToldOrder,
)
from chaos.rules import Rules, Side
from lib.prices import format_price

MAX_LOST_ORDERS: Final = 1000
"""So many decisions of a life that was ended may be unknown: no strategy has more under way."""


def trading_findings(records: Records) -> list[str]:
    """Name every order that is not as the rules say, one line each."""
    return _Trading(records).findings()


class _Order(NamedTuple):
    """An order that is known of: from the log, from the ledger, or from both."""

    order_id: int
    symbol: str
    side: str
    quantity: int
    price: int
    tape: str
    tick_sequence: int
    sentiment: int | None
    sent_index: int | None
    """Its index in `Records.sent`; None if it is not there: its line was lost."""
    row: LedgerOrder | None

    @property
    def name(self) -> str:
        return f"tape {self.tape}, tick {self.tick_sequence}, order {self.order_id}"


class _Windows:
    """The last prices of each symbol."""

    def __init__(self, long_window: int, *, whole: bool) -> None:
        self._long_window = long_window
        self._whole = whole  # from the beginning of the tape
        self._prices: dict[str, deque[int]] = {}

    def add(self, tick: BookedTick) -> None:
        prices = self._prices.setdefault(tick.symbol, deque(maxlen=self._long_window))
        prices.append(tick.price)

    def of(self, symbol: str) -> list[int] | None:
        """The prices of a symbol; None if there may have been others that are not known."""
        prices = self._prices.get(symbol, ())
        return list(prices) if self._whole or len(prices) == self._long_window else None

    def copy(self) -> _Windows:
        windows = _Windows(self._long_window, whole=self._whole)
        windows._prices = {symbol: prices.copy() for symbol, prices in self._prices.items()}
        return windows


class _Life:
    """What one life of a strategy knows and believes."""

    def __init__(
        self,
        positions: dict[str, int],
        next_id: int,
        told: list[ToldOrder | LoggedOn],
        sent: list[int],
    ) -> None:
        self.positions = positions
        self.next_id = next_id
        self.orders: list[_Order] = []
        self.missing: list[tuple[BookedTick, str]] = []
        """Decisions without an order since the last order; at the end of a life they may be."""
        self._settled_before: dict[str, int] = {}
        self._answered: set[int] = set()
        self._told = deque(told)
        self._sent = deque(sent)

    def learn_before(self, order: _Order) -> None:
        """Take all answers that came before the order was sent."""
        if order.sent_index is None:
            return
        while self._sent and self._sent[0] <= order.sent_index:
            self._sent.popleft()
        while self._told and self._told[0].sent_before <= order.sent_index:
            self.learn()

    def may_learn(self) -> bool:
        """Whether an answer may have come before the next order that is known of."""
        return bool(self._told) and (not self._sent or self._told[0].sent_before <= self._sent[0])

    def learn(self) -> None:
        """Take the next answer, as the trading rules say.

        After a rejection the position is what the ledger says. Of orders that were under way then,
        only a fill is news. At a logon, it is what the ledger says where nothing is under way.
        """
        told = self._told.popleft()
        if isinstance(told, LoggedOn):
            under_way = {o.symbol for o in self.orders if o.order_id not in self._answered}
            for symbol in (self.positions.keys() | told.positions.keys()) - under_way:
                self.positions[symbol] = told.positions.get(symbol, 0)
            self.next_id = max(self.next_id, told.last_order_id + 1)
            return
        self._answered.add(told.order_id)
        was_under_way = told.order_id < self._settled_before.get(told.symbol, 0)
        if was_under_way == (told.status == "FILLED"):
            self.positions[told.symbol] = told.position
            self._settled_before[told.symbol] = self.next_id


class _Trading:
    """The lives, one after the other, and what is found in them."""

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
        self._told: list[ToldOrder | LoggedOn] = list(records.told)
        for logon in reversed(records.logons):
            self._told.insert(logon.told_before, logon)
        self._assumed: dict[int, int] = {}  # by order_id, where it is known
        self._positions: dict[str, int] = {}  # what the ledger said when the last life ended
        self._last_id = 0  # of the orders that were booked in the lives before
        self._first_booked: dict[str, int] = {}
        self._last_index: dict[str, int] = {}  # of each tape, in the book
        for index, tick in enumerate(records.booked):
            self._first_booked.setdefault(tick.tape, tick.sequence)
            self._last_index[tick.tape] = index
        self._next_index = 0  # of the book
        self._seen = _Windows(records.long_window, whole=False)
        """What windows hold that see every tick of the book."""
        self._windows = self._seen
        self._sentiment: int | None = None

    def findings(self) -> list[str]:
        self._gather_orders()
        self._take_history()
        lives: list[list[Evaluation]] = []
        for evaluation in self._records.evaluations:
            if evaluation.begun_by == "life" or not lives:
                lives.append([])
            lives[-1].append(evaluation)
        begins = [self._sent_of(life) for life in lives]
        for number, (life, sent) in enumerate(zip(lives, begins, strict=True)):
            later = [indices[0] for indices in begins[number + 1 :] if indices]
            self._live(life, sent, min(later, default=None), is_last=number + 1 == len(lives))
        for orders in self._orders.values():
            for order in orders:
                if not self._is_behind_records(order):
                    self._find(order, "no strategy evaluated that tick of the book")
        self._judge_answers()
        return self._found

    def _find(self, order: _Order, what: str) -> None:
        self._found.append(f"{order.name}: {what}")

    def _gather_orders(self) -> None:
        """Put together what the log and the ledger know of the same order."""
        rows = {(row.order_id, row.tape, row.tick_sequence): row for row in self._records.ledger}
        for index, sent in enumerate(self._records.sent):
            row = rows.pop((sent.order_id, sent.tape, sent.tick_sequence), None)
            order = _Order(*sent, index, row)
            if row and sent[1:5] != row[1:5]:
                self._find(order, f"sent was {_text(sent)}, and booked is {_text(row)}")
            self._orders.setdefault((sent.tape, sent.tick_sequence), []).append(order)
        for row in rows.values():
            if row.tape is None or row.tick_sequence is None:
                self._found.append(f"order {row.order_id}: in the ledger without tape and tick")
                continue
            key = row.tape, row.tick_sequence
            self._orders.setdefault(key, []).append(_Order(*row[:5], *key, None, None, row))

    def _take_history(self) -> None:
        """Take what runs before the recorded one left in the ledger."""
        known = {*self._first_booked, *self._records.tapes}
        known.update(evaluation.tape for evaluation in self._records.evaluations)
        self._orders = {key: orders for key, orders in self._orders.items() if key[0] in known}
        is_over = False
        for row in self._records.ledger:
            if row.tape in known:
                is_over = True
            elif is_over and row.tape is not None:
                self._found.append(
                    f"tape {row.tape}, tick {row.tick_sequence}, order {row.order_id}: booked "
                    "among those of this run, and nobody knows that tape"
                )
            else:
                self._positions[row.symbol] = row.position
                self._last_id = max(self._last_id, row.order_id)

    def _sent_of(self, life: list[Evaluation]) -> list[int]:
        """The indices of what a life sent, in order."""
        return [
            index
            for index, sent in enumerate(self._records.sent)
            if any(e.tape == sent.tape and e.first <= sent.tick_sequence <= e.last for e in life)
        ]

    def _live(
        self, evaluations: list[Evaluation], sent: list[int], until: int | None, *, is_last: bool
    ) -> None:
        """Live a life again. `until` is the index of the first order of the next one."""
        told = [
            told
            for told in self._told
            if sent and sent[0] < told.sent_before and (until is None or told.sent_before <= until)
        ]
        life = _Life(dict(self._positions), self._last_id + 1, told, sent)
        self._sentiment = None
        for evaluation in evaluations:
            self._evaluate(life, evaluation)
        must_be_there = self._is_before_tail if is_last and self._records.settled else _never
        too_many = len(life.missing) > MAX_LOST_ORDERS
        for tick, what in life.missing:
            if too_many or must_be_there(tick.tape, tick.sequence):
                self._found.append(what)
        is_before_another = False
        for order in reversed(life.orders):
            if order.row:
                is_before_another = True
            elif must_be_there(order.tape, order.tick_sequence) or (
                is_before_another and order.order_id not in self._records.answered_with_error
            ):
                self._find(order, "sent, and not in the ledger")
        of_life = {order.row for order in life.orders}
        for row in self._records.ledger:
            if row in of_life:
                self._positions[row.symbol] = row.position
                self._last_id = max(self._last_id, row.order_id)

    def _evaluate(self, life: _Life, evaluation: Evaluation) -> None:
        """Go through the ticks of one evaluation."""
        tape = evaluation.tape
        self._take_unrecorded(life, evaluation)
        begun = evaluation.begun_by == "lap"
        booked = self._records.booked
        while self._next_index <= self._last_index.get(tape, -1):
            tick = booked[self._next_index]
            if tick.tape == tape and tick.sequence > evaluation.last:
                break
            if self._begins_epoch():
                whole = self._next_index > 0 or tick.sequence == 1
                self._seen = _Windows(self._records.long_window, whole=whole)
                self._windows = self._seen.copy()
            is_evaluated = tick.tape == tape and tick.sequence >= evaluation.first
            if is_evaluated and not begun:
                self._windows = self._seen.copy()
                begun = True
            self._seen.add(tick)
            self._next_index += 1
            if is_evaluated:
                self._windows.add(tick)
                self._take_tick(life, tick)

    def _begins_epoch(self) -> bool:
        """Whether the next tick of the book is of another tape than the one before it."""
        booked, index = self._records.booked, self._next_index
        return index == 0 or booked[index].tape != booked[index - 1].tape

    def _is_before_tail(self, tape: str, sequence: int) -> bool:
        tail = self._records.tail_begins.get(tape)
        return tail is None or sequence < tail

    def _is_behind_records(self, order: _Order) -> bool:
        """Whether it is of a stack that went on when the book was recorded no longer."""
        if self._records.settled or self._is_before_tail(order.tape, order.tick_sequence):
            return False
        index = self._last_index.get(order.tape)
        return index is None or order.tick_sequence > self._records.booked[index].sequence

    def _take_unrecorded(self, life: _Life, evaluation: Evaluation) -> None:
        """Take the orders and the news of an evaluation before the first tick in the records."""
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
                self._take_as_it_is(life, order)
        for tick in are_unrecorded(self._news):
            self._sentiment = self._news[tick]

    def _take_tick(self, life: _Life, tick: BookedTick) -> None:
        """Compare what the rules say of a tick with what was sent."""
        key = tick.tape, tick.sequence
        if key in self._news:
            self._sentiment = self._news[key]
        orders = self._orders.pop(key, [])
        prices = self._windows.of(tick.symbol)
        if prices is None:
            for order in orders:
                self._take_as_it_is(life, order)
            return
        side = self._rules.signal(prices, self._sentiment)
        if not orders:
            if side:
                self._miss(life, tick, side)
            return
        if orders[0].sent_index is None and tick.tape in self._records.cut_off:
            life.missing.clear()  # the line of the news that explains it may be lost as well
            self._take_as_it_is(life, orders[0])
        else:
            self._compare(life, tick, side, orders[0])
        for order in orders[1:]:
            self._find(order, f"a second order at this tick, after order {orders[0].order_id}")

    def _miss(self, life: _Life, tick: BookedTick, side: Side) -> None:
        """Nothing was sent. If the rules order something, an answer may explain it."""
        while (quantity := self._quantity(life, tick, side)) and life.may_learn():
            life.learn()
        if not quantity or self._may_be_held_back(tick):
            return
        what = (
            f"tape {tick.tape}, tick {tick.sequence}, order {life.next_id}: missing, the rules "
            f"give {side} {quantity} {tick.symbol}"
        )
        life.missing.append((tick, what))
        life.positions[tick.symbol] = self._rules.position_after(side)
        life.next_id += 1

    def _may_be_held_back(self, tick: BookedTick) -> bool:
        return any(
            gap.tape == tick.tape and gap.first <= tick.sequence <= gap.last
            for gap in self._records.held_back
        )

    def _compare(self, life: _Life, tick: BookedTick, side: Side | None, order: _Order) -> None:
        life.learn_before(order)
        if order.sent_index is None:  # its place among the answers is not known
            while side and self._quantity(life, tick, side) != order.quantity and life.may_learn():
                life.learn()
        position = life.positions.get(tick.symbol, 0)
        quantity = self._quantity(life, tick, side) if side else None
        if side is None or quantity is None:
            self._find(
                order,
                f"{_text(order)}, and the rules give no order: the signal is "
                f"{side or 'none'}, the sentiment {self._sentiment}, the position {position}",
            )
        else:
            expected: dict[str, object] = {
                "order_id": life.next_id,
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
                    self._find(order, f"{name} is {is_sent}, and the rules give {value}")
            self._assumed[order.order_id] = position
        self._take_as_it_is(life, order)

    def _quantity(self, life: _Life, tick: BookedTick, side: Side) -> int | None:
        return self._rules.order_quantity(side, life.positions.get(tick.symbol, 0))

    def _take_as_it_is(self, life: _Life, order: _Order) -> None:
        """Whatever the rules say: this was decided, so the decisions after it follow from it."""
        life.learn_before(order)
        self._found += [what for _, what in life.missing]
        life.missing.clear()
        life.orders.append(order)
        life.next_id = order.order_id + 1
        side: Side = "BUY" if order.side == "BUY" else "SELL"
        life.positions[order.symbol] = self._rules.position_after(side)

    def _judge_answers(self) -> None:
        """The ledger filled what was sized on its position, and rejected with a true reason."""
        positions: dict[str, int] = {}
        for row in self._records.ledger:
            before = positions.get(row.symbol, 0)
            positions[row.symbol] = row.position
            assumed = self._assumed.get(row.order_id)
            where = f"tape {row.tape}, tick {row.tick_sequence}, order {row.order_id}"
            if row.status == "FILLED":
                if assumed is not None and assumed != before:
                    self._found.append(
                        f"{where}: FILLED at a position of {before}, and decided at {assumed}"
                    )
            elif not _accounts_for(row, before, assumed, self._records.symbols):
                self._found.append(
                    f"{where}: rejected at a position of {before}, and this does not account for "
                    f"it: {row.reason}"
                )


def _never(_tape: str, _sequence: int) -> bool:
    return False


def _accounts_for(
    row: LedgerOrder, before: int, assumed: int | None, symbols: tuple[str, ...]
) -> bool:
    """Whether the reason of a rejection is one that there is, and true as far as can be told."""
    for pattern, is_true in _REASONS:
        if match := re.fullmatch(pattern, row.reason or ""):
            return is_true(_Rejection(row, before, assumed, symbols), match)
    return False


class _Rejection(NamedTuple):
    row: LedgerOrder
    before: int
    assumed: int | None
    symbols: tuple[str, ...]

    @property
    def position_if_filled(self) -> int:
        return self.before + self.row.quantity * (1 if self.row.side == "BUY" else -1)


def _is_other_position(rejection: _Rejection, said: re.Match[str]) -> bool:
    position, assumed = int(said[1]), int(said[2])
    return position == rejection.before != assumed and rejection.assumed in (None, assumed)


def _is_beyond_collar(rejection: _Rejection, said: re.Match[str]) -> bool:
    price, percent, latest = (Decimal(text) for text in said.groups())
    return price.scaleb(8) == rejection.row.price and abs(price - latest) * 100 > latest * percent


_REASONS: Final[list[tuple[str, Callable[[_Rejection, re.Match[str]], bool]]]] = [
    (r"the position is (-?\d+), and the order assumes (-?\d+)", _is_other_position),
    (
        r"expired: first sent (\d+\.\d+) s before its receipt, and the limit is (\d+\.\d+) s",
        # Both are rounded to the millisecond.
        lambda _, said: Decimal(said[1]) >= Decimal(said[2]),
    ),
    (r"halted", lambda *_: True),
    (r".+ has sent \d+ orders within a second, which is the limit", lambda *_: True),
    (r"unknown symbol (.+)", lambda rejection, said: said[1] not in rejection.symbols),
    (
        r"the quantity is (\d+), and the limit is (\d+)",
        lambda rejection, said: rejection.row.quantity == int(said[1]) > int(said[2]),
    ),
    (
        r"the position would be (-?\d+), and the limit is (\d+) long or short",
        lambda rejection, said: (
            rejection.position_if_filled == int(said[1]) and abs(int(said[1])) > int(said[2])
        ),
    ),
    (
        r"the price ([\d.]+) is more than ([\d.]+)% from the latest, ([\d.]+)",
        _is_beyond_collar,
    ),
]


def _text(order: _Order | SentOrder | LedgerOrder) -> str:
    return f"{order.side} {order.quantity} {order.symbol} at {format_price(order.price)}"
