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
"""From how many ticks on a signal that takes batches gets them as one. The built-in signal is as
fast either way at 80 ticks of 4 symbols, and at 100 of 64."""


class News(NamedTuple):
    """A sentiment and its number on its tape."""

    sentiment: int
    sequence: int
    tape: str


class Decision(NamedTuple):
    """An order, and the inputs it was decided on."""

    order: Order
    tick_sent_ns: int
    sentiment: int | None
    explanation: dict[str, float]


class Trader:
    """Turns ticks and news into decisions. One a strategy, used by one thread."""

    def __init__(
        self,
        symbols: tuple[str, ...],
        settings: StrategySettings,
        signal_class: type[Signal],
        *,
        clock: Clock = time.monotonic_ns,
        news_every_ns: int | None = None,
    ) -> None:
        """`news_every_ns` is the time between two sentiments of news that may end, None if unknown.

        The heartbeats go on when the news have ended: then a sentiment is in force until the next
        one is late by `news_timeout`.
        """
        self._symbols = symbols
        self._settings = settings
        self._signal_class = signal_class
        self._clock = clock
        self._max_tick_age_ns = to_ns(settings.max_tick_age)
        self._news_timeout_ns = to_ns(settings.news_timeout)
        self._news_lasts_ns = news_every_ns and news_every_ns + self._news_timeout_ns
        self.takes_batches = takes_batches(signal_class)
        """Whether many ticks are passed to the signal at once."""
        self._signal = signal_class(settings)
        self.reached = NO_TICK
        """The last tick that the signal has seen."""
        self._news: News | None = None
        self._news_heard_ns: int | None = None
        self._news_ends_ns: int | None = None
        """Until when the last sentiment is in force at most, None if heartbeats are enough."""
        self._next_order_id = 1
        self._indices = {symbol: index for index, symbol in enumerate(symbols)}
        self._positions = array("q", [0]) * len(symbols)
        """By symbol index; an array, so that a batch can be compared with it at once."""
        self._settled_before = dict.fromkeys(symbols, 0)
        self.tape = ""

    @property
    def has_no_order_ids(self) -> bool:
        """Whether the largest order_id has been used: nothing is ordered any more."""
        return self._next_order_id > MAX_INTEGER

    @property
    def long_window(self) -> int:
        """How many ticks of a symbol the signal needs before it can trade on one."""
        return self._settings.long_window

    def is_too_old(self, age_ns: int) -> bool:
        """Whether a tick of this age is not traded on."""
        return age_ns > self._max_tick_age_ns

    def begin_tape(self, tape: str) -> None:
        """Begin another tape, with empty windows.

        A signal that has seen no tick is kept: to construct one may take long.
        """
        self.tape = tape
        if self.reached is not NO_TICK:
            self._signal = self._signal_class(self._settings)
            self.reached = NO_TICK

    def take_news(self, news: News) -> None:
        """Take a sentiment. It is in force as long as the news stream is not silent."""
        if self._news_lasts_ns and news != self._news:  # the last one comes at each connection
            self._news_ends_ns = self._clock() + self._news_lasts_ns
        self._news = news

    @property
    def has_news(self) -> bool:
        """Whether a sentiment has ever come."""
        return self._news is not None

    def heard_news(self, heard_ns: int | None) -> None:
        """Take the time of the news stream's last frame or heartbeat; None if there was none."""
        self._news_heard_ns = heard_ns

    def news_in_force(self, now_ns: int) -> News | None:
        """Return the last sentiment; None if there is none, or no news any more."""
        if self._news_heard_ns is None or now_ns - self._news_heard_ns > self._news_timeout_ns:
            return None
        if self._news_ends_ns is not None and now_ns > self._news_ends_ns:
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
        """Take an answer. After an unexpected one, the position is the ledger's.

        Orders that were under way at that moment were sized on a position that never came about.
        The ledger will reject them one by one for that reason; these rejections say nothing new.
        If one of them is filled after all, its position does.

        A report that is repeated after a reconnection has the position of its time. After an error
        made the ledger take orders out of turn, that may be outdated; then the next order that
        assumes it is rejected, and its report has the current position.
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
        """Fill the windows with ticks that are not traded on.

        Afterwards `reached` is the last of them, or an earlier one if PASS_NS have passed.
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
        """Evaluate the next ticks, in order; return at most `capacity` decisions.

        `ticks` are of one tape, as the price book's reader returns them. Once the capacity is used
        up, a further BUY or SELL has no effect. Afterwards `reached` is the last tick, or an
        earlier one if PASS_NS have passed: pass the ticks behind it again.
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
        """Whether so many ticks are passed to the signal at once."""
        return self.takes_batches and ticks >= MIN_BATCH_TICKS

    def _explain(self, symbol: str) -> dict[str, float]:
        signal = self._signal
        return signal.explain(symbol) if isinstance(signal, ExplainedSignal) else {}

    def _decide(
        self, index: int, side: Side, price: int, sequence: int, now_ns: int, room: int
    ) -> Order | None:
        """Return the order for a signal, None if the position has that direction already.

        None, too, if there is no `room` for a further order, or no order_id left.
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
    """Return the ticks, in order, at which the signal of a symbol differs from the one before.

    Only these can become decisions: after a BUY the position is long, and a further BUY changes
    nothing. For the same reason there are none if all signals agree with the positions `held`, by
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
