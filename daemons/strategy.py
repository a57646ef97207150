"""Strategy: reads every tick from the price book, follows the news, sends orders.

`lib.trading.trader` and the signal decide, `lib.trading.evaluator` evaluates each tick once, and
`lib.trading.order_connection` gets each order answered. This module wires them up: it opens the two
connections, waits for the price book, attaches to it and leaves it.

`strategy NAME` is the strategy of `[strategies.NAME]`. Any number may run side by side, each with
its own client_id, and so with its own positions and files.

The first tick waits for the first sentiment, for a second at most: a tape from a file may be over
before the news have come.

A restarted strategy refills its windows from the ring and evaluates from the first tick after it
attached; the ticks of its absence are logged by number and never traded.
"""

from __future__ import annotations

import selectors
from functools import partial
from typing import Final

import structlog

from lib.clock import SECOND_NS, coarse_deadline, to_ns
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.reconnect import ReconnectingConnection
from lib.price_book.own_price_book import RolePriceBook
from lib.process.kept_files import FileKeeper
from lib.process.log_events import NoPriceBook, WakeUpLost, log_event
from lib.process.log_once import LogOnce
from lib.process.role import run_role
from lib.process.throttled_log import ThrottledLog
from lib.settings import Settings
from lib.shared_memory_utils import MAX_SLEEP_S, PriceBookReader
from lib.streams.feed import StreamFeed
from lib.streams.stream_client import StreamClient
from lib.trading.checkpoint import LastEvaluated, last_evaluated_path
from lib.trading.decision_log import DecisionLog, decision_log_path
from lib.trading.evaluator import Evaluator
from lib.trading.order_client import OrderClient
from lib.trading.order_connection import OrderEntry
from lib.trading.signal_frames import SIGNALS
from lib.trading.signal_loading import load_signal_class
from lib.trading.strategy_lock import hold_client_id
from lib.trading.trader import Trader

MAX_SLEEP_NS: Final = int(MAX_SLEEP_S * SECOND_NS)
"""`MAX_SLEEP_S` in the unit of the loop."""
NO_BOOK_NS: Final = 2 * SECOND_NS
"""How long a strategy may be without a price book before it says so: longer than an orderbook takes
to start."""
FIRST_NEWS_NS: Final = 1 * SECOND_NS
"""How long the first tick waits for the first sentiment, which comes at once if a gateway is up."""


class Strategy:
    """The role."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        # First, so that a strategy that loses the race never touches the other one's files.
        lock = hold_client_id(settings.var_dir, settings.strategy.client_id)
        client = OrderClient(settings.strategy.client_id)
        key = f"{settings.strategy_key}.class"
        signal_class = load_signal_class(settings.strategy.signal_class, key)
        manager, gateway = settings.order_manager, settings.gateway
        may_end = gateway.news_path or gateway.news_query
        self._trader = trader = Trader(
            settings.symbols,
            settings.strategy,
            signal_class,
            clock=loop.clock,
            news_every_ns=to_ns(gateway.news_interval) if may_end else None,
        )
        self._orders = OrderEntry(
            client,
            trader,
            partial(ReconnectingConnection, loop, *_order_address(settings)),
            order_ttl_ns=to_ns(manager.order_ttl),
            clock=loop.clock,
        )
        news_client = StreamClient(may_be_plain=True)
        to_news = partial(ReconnectingConnection, loop, gateway.host, gateway.news_port)
        self._throttled_log = ThrottledLog(
            stream="news", peer=f"{gateway.host}:{gateway.news_port}"
        )
        evaluated = _last_evaluated(settings)
        decisions = DecisionLog(decision_log_path(settings.var_dir, settings.strategy.client_id))
        loop.add_timed(FileKeeper(loop.clock, [lock, evaluated, decisions]))
        self._evaluator = Evaluator(
            trader,
            client,
            news_client,
            evaluated,
            self._throttled_log,
            send=self._orders.send,
            on_decided=decisions.add,
            clock=loop.clock,
        )
        news = StreamFeed(
            "news",
            news_client,
            to_news,
            on_begin=lambda _: None,
            on_frames=self._evaluator.take_news,
            clock=loop.clock,
        )
        for timed in (self._orders, news, self._throttled_log):
            loop.add_timed(timed)
        self._own_book = RolePriceBook(settings.price_book.name, settings.symbols)
        self._reader: PriceBookReader | None = None
        self._first_tick_ns: int | None = None
        self._may_await_news = True
        self._bookless_since_ns: int | None = None
        self._no_book = LogOnce()
        self._log = structlog.get_logger()
        loop.add_timed(self)

    def step(self) -> None:
        """One pass: sleep until there is a tick, news or an answer, then evaluate the ticks."""
        reader = self._reader
        self._loop.poll(may_sleep=reader is None or reader.arm() or self._awaits_news(reader))
        if self._reader is None or self._awaits_news(self._reader):
            return
        is_retired = self._reader.retired  # asked first: then no tick can come after the read
        has_read_all = self._evaluator.evaluate_all(self._reader)
        if is_retired and has_read_all:
            self._detach()

    def _awaits_news(self, reader: PriceBookReader) -> bool:
        """Whether the first tick waits for the first sentiment, or is still to come itself."""
        if not self._may_await_news or not self._evaluator.is_ready:
            return False
        if self._trader.has_news:
            self._may_await_news = False
            return False
        if reader.arm():
            return True
        now_ns = self._loop.clock()
        if self._first_tick_ns is None:
            self._first_tick_ns = now_ns
        self._may_await_news = now_ns < self._first_tick_ns + FIRST_NEWS_NS
        return self._may_await_news

    def close(self) -> None:
        """Give the wake-up slot back, and log the last counts."""
        self._throttled_log.on_time(self._loop.clock())
        if self._reader:
            self._detach()

    def next_deadline_ns(self) -> int | None:
        """When to look for the price book, or for ticks in case a wake-up was lost."""
        look_ns = self._own_book.next_look_ns
        if self._reader is None:
            return look_ns if self._orders.knows_positions else None
        return coarse_deadline(self._loop.clock(), look_ns, MAX_SLEEP_NS)

    def on_time(self, now_ns: int) -> None:
        """Look for the price book once the positions are known, then whether it is still there."""
        book = self._own_book.look(now_ns)
        if book is None:
            self._note_absence(now_ns)
        elif self._reader is None:
            self._bookless_since_ns = None
            self._no_book.over()
            self._wait_on(self._evaluator.attach(book))
        elif self._reader.has_lost_its_fifo():
            log_event(self._log, WakeUpLost(price_book=book.name))
            self._wait_on(self._stop_waiting())

    def _note_absence(self, now_ns: int) -> None:
        """Log that there is no price book, once it has been so for a while."""
        if self._bookless_since_ns is None:
            self._bookless_since_ns = now_ns
        if now_ns - self._bookless_since_ns >= NO_BOOK_NS and not self._own_book.problem:
            reason = "the orderbook makes it when it starts: is it running?"
            self._no_book.log_first(NoPriceBook(price_book=self._own_book.name, reason=reason))

    def _wait_on(self, reader: PriceBookReader) -> None:
        self._reader = reader
        self._loop.register(reader.fileno(), selectors.EVENT_READ, lambda _: None)

    def _stop_waiting(self) -> PriceBookReader:
        assert self._reader
        reader, self._reader = self._reader, None
        self._loop.unregister(reader.fileno())
        reader.close()
        return reader

    def _detach(self) -> None:
        self._stop_waiting()
        self._own_book.let_go()


def _order_address(settings: Settings) -> tuple[str, int]:
    """Return where to log on: at the Unix socket, where no token is asked for, if there is one."""
    manager = settings.order_manager
    path = settings.orders_socket
    return (str(path), 0) if path else (manager.host, manager.port)


def _last_evaluated(settings: Settings) -> LastEvaluated:
    path = last_evaluated_path(settings.var_dir, settings.strategy.client_id)
    try:
        return LastEvaluated(path)
    except OSError as error:
        raise CannotStartError(f"cannot write {path}: {error.strerror}") from None


if __name__ == "__main__":
    run_role("strategy", Strategy, plugins=SIGNALS)
