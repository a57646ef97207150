"""What the strategy decides. Pure: no socket, no file, no state but its own.

Ticks, news, answers and the capacity for further orders go in; decisions come out. The price signal
and what the news means are the job of a signal class (`lib.signals`). This module makes orders of
signals: the position per symbol, the size, the age limit of a tick, the numbering, and what to
believe when the ledger disagrees.

A decision moves the position at once, so that decisions depend on ticks and news alone and not on
how quickly an answer comes back. The ledger has the last word: see `Trader.answered`.

A signal may be slow. Where it takes one tick after the other, a clock is read between them, and the
rest is left for the next call once PASS_NS have passed: `Trader.reached` says how far it came.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.clock import Clock, to_ns
from lib.settings import StrategySettings
from lib.signals import BatchSignal, ExplainedSignal, Side, Signal
from lib.trading.signal_loading import takes_batches
from lib.trading.signal_pace import PASS_NS
from lib.wire.order_fields import MAX_INTEGER
from lib.wire.order_messages import ExecutionReport, LogonAck, Order, make_order
from lib.wire.ticks import NO_TICK, PlainTick, Ticks

MIN_BATCH_TICKS: Final = 88
"""From here on a signal that can take batches is given batches. (Where that of the house is as fast
either way: at 80 ticks of 4 symbols, at 100 of 64.)"""


class News(NamedTuple):
    """A sentiment and its number on its tape."""

    sentiment: int
    sequence: int
    tape: str


class Decision(NamedTuple):
    """An order, and what led to it."""

    order: Order
    tick_sent_ns: int
    sentiment: int | None
    explanation: dict[str, float]


class Trader:
    """Turns ticks and news into orders. One a strategy."""

    def __init__(
        self,
        symbols: tuple[str, ...],
        settings: StrategySettings,
        signal_class: type[Signal],
        *,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._symbols = symbols
        self._settings = settings
        self._signal_class = signal_class
        self._clock = clock
        self._max_tick_age_ns = to_ns(settings.max_tick_age)
        self._news_timeout_ns = to_ns(settings.news_timeout)
        self.takes_batches = takes_batches(signal_class)
        """Whether many ticks are given to the signal at once."""
        self._signal = signal_class(settings)
        self.reached = NO_TICK
        """The last tick that the signal has seen."""
        self._news: News | None = None
        self._news_heard_ns: int | None = None
        self._next_order_id = 1
        self._indices = {symbol: index for index, symbol in enumerate(symbols)}
        self._positions = array("q", [0]) * len(symbols)
        """By index, for one tick to look up and for many to be compared with."""
        self._settled_before = dict.fromkeys(symbols, 0)
        self.tape = ""

    @property
    def has_no_order_ids(self) -> bool:
        """Whether the last order_id that there is has been used: nothing is ordered any more."""
        return self._next_order_id > MAX_INTEGER

    @property
    def long_window(self) -> int:
        """How many ticks of a symbol the signal should have seen before those it trades on."""
        return self._settings.long_window

    def is_too_old(self, age_ns: int) -> bool:
        """Whether a tick of this age is not traded on."""
        return age_ns > self._max_tick_age_ns

    def begin_tape(self, tape: str) -> None:
        """The ticks from here on are of another tape: forget the windows.

        A signal that has seen no tick is not made anew: that may take long.
        """
        self.tape = tape
        if self.reached is not NO_TICK:
            self._signal = self._signal_class(self._settings)
            self.reached = NO_TICK

    def take_news(self, news: News) -> None:
        """A sentiment came. It is in force while the news stream is heard."""
        self._news = news

    def heard_news(self, heard_ns: int | None) -> None:
        """When the news stream last said something, if only a heartbeat; None for never."""
        self._news_heard_ns = heard_ns

    def news_in_force(self, now_ns: int) -> News | None:
        """The last sentiment received, None if there is none or the stream has been silent."""
        if self._news_heard_ns is None or now_ns - self._news_heard_ns > self._news_timeout_ns:
            return None
        return self._news

    def logged_on(self, ack: LogonAck, under_way: AbstractSet[str]) -> None:
        """Take the ledger's positions, but for the symbols with orders `under_way`.

        The answers to those orders bring the positions of their symbols.
        """
        self._next_order_id = max(self._next_order_id, ack.last_order_id + 1)
        for index, symbol in enumerate(self._symbols):
            if symbol not in under_way:
                self._positions[index] = ack.positions.get(symbol, 0)

    def answered(self, report: ExecutionReport) -> None:
        """Take an answer. After one that was not expected, the position is what the ledger says.

        Orders that were under way at that moment were sized on a position that never came about.
        The ledger will refuse them one by one for that reason; these refusals are no news. But
        should one of them be filled all the same, that is.

        A report that is repeated after a reconnection tells the position of its time. Where an
        error made the ledger take orders out of turn, that may be past; then the next order that
        assumes it is refused, and what its report says is new.
        """
        symbol = report.symbol
        index = self._indices.get(symbol)
        if index is None or report.position is None:
            return
        settled = report.order_id < self._settled_before[symbol]
        if settled == (report.status == "FILLED"):
            self._positions[index] = report.position
            self._settled_before[symbol] = self._next_order_id

    def refill(self, ticks: NDArray[np.void]) -> None:
        """Let the windows see ticks that are not to be traded on.

        `reached` is the last of them, or an earlier one if the pass has taken long enough.
        """
        signal = self._signal
        if self._is_batch(len(ticks)) and isinstance(signal, BatchSignal):
            signal.on_batch(ticks["symbol"], ticks["price"], None, self._symbols)
            self.reached = ticks[-1].tolist()
            return
        plain_ticks = ticks.tolist()
        first, end_ns = plain_ticks[0], self._clock() + PASS_NS
        for tick in plain_ticks:
            if tick is not first and self._clock() >= end_ns:
                break
            _position, _sequence, price, _sent_ns, symbol, _epoch = self.reached = tick
            signal.on_tick(self._symbols[symbol], price, None)

    def evaluate(self, ticks: Ticks, now_ns: int, capacity: int) -> list[Decision]:
        """Look at the next ticks, in order; return at most `capacity` decisions about them.

        `ticks` are as the price book's reader gives them, of one tape. A signal without capacity
        left moves no position, as if it had not been. In the end `reached` is the last tick, or an
        earlier one if the pass has taken long enough: give what is behind it again.
        """
        news = self.news_in_force(now_ns)
        sentiment = news.sentiment if news else None
        if isinstance(ticks, list):
            return self._evaluate_one_by_one(ticks, sentiment, now_ns, capacity)
        signal = self._signal
        if self._is_batch(len(ticks)) and isinstance(signal, BatchSignal):
            return self._evaluate_batch(signal, ticks, sentiment, now_ns, capacity)
        return self._evaluate_one_by_one(ticks.tolist(), sentiment, now_ns, capacity)

    def _evaluate_batch(
        self,
        signal: BatchSignal,
        ticks: NDArray[np.void],
        sentiment: int | None,
        now_ns: int,
        capacity: int,
    ) -> list[Decision]:
        decisions: list[Decision] = []
        self.reached = ticks[-1].tolist()
        says = signal.on_batch(ticks["symbol"], ticks["price"], sentiment, self._symbols)
        if not says.any():
            return decisions
        says = says * (ticks["sent_ns"] >= now_ns - self._max_tick_age_ns)
        for number in _turns(ticks["symbol"], says, np.sign(self._positions)):
            _position, sequence, price, sent_ns, symbol, _epoch = ticks[number].tolist()
            room = capacity - len(decisions)
            order = self._decide(symbol, _SIDES[int(says[number])], price, sequence, now_ns, room)
            if order:
                explanation = signal.explain_batch(number)
                decisions.append(Decision(order, sent_ns, sentiment, explanation))
        return decisions

    def _evaluate_one_by_one(
        self, ticks: list[PlainTick], sentiment: int | None, now_ns: int, capacity: int
    ) -> list[Decision]:
        decisions: list[Decision] = []
        signal, symbols = self._signal, self._symbols
        clock, end_ns, first = self._clock, now_ns + PASS_NS, ticks[0]
        oldest_ns = now_ns - self._max_tick_age_ns
        for tick in ticks:
            if tick is not first and clock() >= end_ns:
                break
            _position, sequence, price, sent_ns, symbol, _epoch = reached = tick
            side = signal.on_tick(symbols[symbol], price, sentiment)
            if side and sent_ns >= oldest_ns:
                room = capacity - len(decisions)
                order = self._decide(symbol, side, price, sequence, now_ns, room)
                if order:
                    explanation = self._explain(order.symbol)
                    decisions.append(Decision(order, sent_ns, sentiment, explanation))
        self.reached = reached
        return decisions

    def _is_batch(self, ticks: int) -> bool:
        """Whether the signal is to be given so many at once."""
        return self.takes_batches and ticks >= MIN_BATCH_TICKS

    def _explain(self, symbol: str) -> dict[str, float]:
        signal = self._signal
        return signal.explain(symbol) if isinstance(signal, ExplainedSignal) else {}

    def _decide(
        self, index: int, side: Side, price: int, sequence: int, now_ns: int, room: int
    ) -> Order | None:
        """Make an order of a signal, unless it would not change the position's direction.

        None, too, where there is no `room` for a further order, or no order_id left.
        """
        symbol = self._symbols[index]
        position = self._positions[index]
        if side == "BUY":
            is_held, target = position > 0, self._settings.quantity
        elif side == "SELL":
            is_held, target = position < 0, -self._settings.quantity
        else:
            signal = type(self._signal).__name__
            raise ValueError(f'{signal}.on_tick must say "BUY", "SELL" or None, not {side!r}')
        if is_held or room <= 0 or self.has_no_order_ids:
            return None
        order = make_order(
            order_id=self._next_order_id,
            symbol=symbol,
            side=side,
            quantity=abs(target - position),
            price=price,
            position=position,
            tape=self.tape,
            tick_sequence=sequence,
            sent_ns=now_ns,
        )
        self._next_order_id += 1
        self._positions[index] = target
        return order


_SIDES: Final[dict[int, Side]] = {1: "BUY", -1: "SELL"}


def _turns(
    symbols: NDArray[np.int32], says: NDArray[np.int8], held: NDArray[np.int64]
) -> list[int]:
    """The ticks, in order, at which a symbol's signal is another than it was before.

    Only these can be decisions: after a BUY the position is long, and a further BUY says nothing.
    For the same reason there is none if all that is said agrees with what is `held` already, by
    symbol: 1 where the position is long, -1 where it is short.
    """
    agrees = says * held.astype(np.int8).take(symbols)
    if not (agrees < np.abs(says)).any():
        return []
    speaking = np.flatnonzero(says)
    # A price book's symbols fit 16 bits, and words of 16 bits are sorted by radix.
    by_symbol = speaking[symbols[speaking].astype(np.uint16).argsort(kind="stable")]
    symbol, say = symbols[by_symbol], says[by_symbol]
    turned = np.ones(len(by_symbol), np.bool_)
    turned[1:] = (symbol[1:] != symbol[:-1]) | (say[1:] != say[:-1])
    turns: list[int] = np.sort(by_symbol[turned]).tolist()
    return turns
