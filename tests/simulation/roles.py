"""The four roles around their pure cores, driven by a simulated world.

What a role's daemon does with sockets, files and the clock is done here with what the world gives
instead; what it decides is the product's own code. A role is made anew at each start, and reads
what its predecessor left: the gateway's position, the price book, the last evaluated tick and the
ledger are real files. At its crash points it may die in the middle of things.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chaos.judge.records import AppliedNews, BegunBy, Evaluation, LoggedOn, OrderAnswer, SentOrder
from lib.clock import MILLISECOND_NS, to_ns
from lib.execution.order_desk import OrderDesk, Receipt, Session
from lib.execution.risk import Risk
from lib.ledger.writer import Ledger
from lib.price_book.ingest import TickIngest, client_for
from lib.process.throttled_log import ThrottledLog
from lib.settings import RiskSettings
from lib.shared_memory_utils import PriceBookReader, SharedPriceBook
from lib.signals import MovingAverageAndNews, Side
from lib.streams.feed import StreamFeed
from lib.streams.publication import (
    Publication,
    continue_or_begin,
    news_publication,
    price_publication,
)
from lib.streams.schedule import Pacer, Schedule
from lib.streams.stream_client import StreamClient
from lib.streams.subscriber import Subscriber
from lib.trading.checkpoint import LastEvaluated
from lib.trading.evaluator import Evaluator
from lib.trading.order_client import OrderClient
from lib.trading.order_connection import OrderEntry
from lib.trading.trader import Decision, Trader
from lib.wire.framing import MessageTooLongError
from lib.wire.order_messages import ExecutionReport, LogonAck, Order
from lib.wire.stream_messages import ProtocolError
from lib.wire.ticks import TICK, Ticks
from tests.simulation.network import Connector, End

if TYPE_CHECKING:
    from tests.simulation.world import World

ATTACH_RETRY_NS = 50 * MILLISECOND_NS


class Crashed(BaseException):
    """The role dies here. No core may catch it, as none can catch SIGKILL."""


class Role(Protocol):
    """One process of a role."""

    def step(self) -> None:
        """One pass of its loop."""

    def die(self) -> None:
        """The kernel takes back what the process had open."""


class Timed(Protocol):
    def next_deadline_ns(self) -> int | None: ...
    def on_time(self, now_ns: int) -> None: ...


def call_timed(now_ns: int, timed: Iterable[Timed]) -> None:
    """What the event loop does at the end of a pass."""
    for one in timed:
        deadline_ns = one.next_deadline_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            one.on_time(now_ns)


class Gateway:
    """Publishes ticks and news to its subscribers."""

    def __init__(self, world: World) -> None:
        self._world = world
        tapes = world.tapes_of(world.run)
        state = continue_or_begin(world.path / "gateway.state", [world.run], tapes, world.name_tape)
        self.prices = price_publication(state, tapes, world.symbols)
        self.news = news_publication(state, tapes)
        self._clients: dict[str, dict[Subscriber, End]] = {"price": {}, "news": {}}
        now_ns = world.clock()
        self._pacers = [
            Pacer("price", Schedule(world.rate, now_ns), partial(self._publish, "price")),
            Pacer("news", Schedule(world.news_rate, now_ns), partial(self._publish, "news")),
        ]
        for place in self._clients:
            world.network.listening[place] = []

    def _publication(self, place: str) -> Publication:
        return self.prices if place == "price" else self.news

    def _publish(self, place: str, count: int) -> int:
        if place == "price" and self._world.tape_is_stopped:
            return count
        published = self._publication(place).publish(count)
        self._world.crash_point("gateway")
        self._pump(place)
        return published

    def _pump(self, place: str) -> None:
        if place == "news" and self._world.news_is_silent:
            return
        now_ns = self._world.clock()
        for subscriber, end in self._clients[place].items():
            pieces = subscriber.take(now_ns)
            if pieces:
                end.send(b"".join(pieces))
                self._world.crash_point("gateway")

    def step(self) -> None:
        for place, clients in self._clients.items():
            arriving = self._world.network.listening[place]
            while arriving:
                end = arriving.pop(0)
                subscriber = Subscriber(self._publication(place).stream, self._world.clock())
                clients[subscriber] = end
                end.on_data = partial(self._on_data, subscriber, end)
                end.on_closed = partial(self._on_closed, clients, subscriber)
            for end in list(clients.values()):
                end.deliver()
        call_timed(self._world.clock(), self._pacers)
        self._pump("price")
        self._pump("news")

    def _on_data(self, subscriber: Subscriber, end: End, data: bytes) -> None:
        try:
            answer = subscriber.receive(data)
        except (ProtocolError, MessageTooLongError) as error:
            self._world.protocol_errors.append(f"gateway: {error}")
            end.close(f"protocol error: {error}")
            return
        end.send(answer)

    def _on_closed(self, clients: dict[Subscriber, End], subscriber: Subscriber, _: str) -> None:
        del clients[subscriber]

    def die(self) -> None:
        network = self._world.network
        for place, clients in self._clients.items():
            for end in (*clients.values(), *network.listening.pop(place)):
                self._world.abandon(end)


def doom(book: SharedPriceBook, world: World) -> None:
    """Let its writer die, perhaps, before what it stored counts, and just after."""
    publish = book._writer._publish

    def publish_or_die(position: int) -> None:
        world.stored_to = position
        world.crash_point("orderbook")
        publish(position)
        world.read_book()
        world.crash_point("orderbook")

    book._writer._publish = publish_or_die  # type: ignore[method-assign]


class OrderBook:
    """Takes ticks from the gateway and books them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._book = SharedPriceBook(
            world.symbols, world.book_name, ring_capacity=world.ring_capacity
        )
        doom(self._book, world)
        self._book.become_writer()
        throttled_log = ThrottledLog(stream="price", peer="price")
        ingest = TickIngest(self._book, throttled_log, clock=world.clock)
        self.client = client_for(self._book)
        connect = self._to_prices = Connector(world.network, "price")
        feed = StreamFeed(
            "price",
            self.client,
            connect,
            on_begin=ingest.begin,
            on_frames=ingest.ingest_frames,
            clock=world.clock,
        )
        self._timed: list[Timed] = [feed, throttled_log]

    def step(self) -> None:
        self._to_prices.link.step()
        call_timed(self._world.clock(), self._timed)

    def die(self) -> None:
        self._world.abandon(self._to_prices.link.end)
        self._book.close()


class SlowSignal(MovingAverageAndNews):
    """The signal of the house, which takes time: as much as the world says for each tick."""

    world: World

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        side = super().on_tick(symbol, price, sentiment)
        self.world.look_at_ticks(1)
        return side

    def on_batch(
        self,
        symbols: NDArray[np.int32],
        prices: NDArray[np.int64],
        sentiment: int | None,
        names: tuple[str, ...],
    ) -> NDArray[np.int8]:
        says = super().on_batch(symbols, prices, sentiment, names)
        self.world.look_at_ticks(len(says))
        return says


class SlowSingleSignal(SlowSignal):
    """The same, one tick after the other."""

    def on_tick(self, symbol: str, price: int, sentiment: int | None) -> Side | None:
        return super().on_tick(symbol, price, sentiment)


class WatchedEvaluated(LastEvaluated):
    """Around the store, the strategy may die; once it is done, what was evaluated counts."""

    strategy: Strategy

    def store(self, tape: str, sequence: int) -> None:
        self.strategy.world.crash_point("strategy")
        super().store(tape, sequence)
        self.strategy.count_as_evaluated(sequence)
        self.strategy.world.crash_point("strategy")


class WatchedTrader(Trader):
    """Writes down what it was given to evaluate, what it decided, and what it was answered."""

    strategy: Strategy

    def refill(self, ticks: Ticks) -> None:
        self.strategy.world.crash_point("strategy")
        super().refill(ticks)
        self.strategy.world.crash_point("strategy")

    def evaluate(self, ticks: Ticks, now_ns: int, capacity: int) -> list[Decision]:
        news = self.news_in_force(now_ns)
        self.strategy.evaluating = (self.tape, ticks, news.sentiment if news else None)
        decisions = super().evaluate(ticks, now_ns, capacity)
        self.strategy.decided += decisions
        return decisions

    def logged_on(self, ack: LogonAck, under_way: AbstractSet[str]) -> None:
        before = self._positions[:]
        super().logged_on(ack, under_way)
        if self.strategy.is_new:
            return
        records = self.strategy.world.records
        records.logons.append(
            LoggedOn(
                ack.last_order_id,
                ack.positions,
                len(records.sent),
                len(records.answers),
                frozenset(records.given_up),
            )
        )
        if before != self._positions:
            self.strategy.world.events["logon corrects a position"] += 1

    def answered(self, report: ExecutionReport) -> None:
        super().answered(report)
        assert report.position is not None
        self.strategy.world.records.answers.append(
            OrderAnswer(
                report.order_id,
                report.status,
                report.symbol,
                report.side,
                report.trade_id,
                report.position,
                len(self.strategy.world.records.sent),
            )
        )


class Strategy:
    """Reads the book and the news, and sends orders."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.evaluating: tuple[str, Ticks, int | None] = ("", np.empty(0, TICK), None)
        self.decided: list[Decision] = []
        self._latest: Evaluation | None = None
        self._read_up_to = 0
        self._sentiment: tuple[str, int | None] | None = None
        self.client = OrderClient(world.settings.client_id)
        trader = WatchedTrader(world.symbols, world.settings, world.signal_class, clock=world.clock)
        trader.strategy = self
        self._evaluated = WatchedEvaluated(world.path / "strategy.state")
        self._evaluated.strategy = self
        to_orders = self._to_orders = Connector(world.network, "orders")
        self._orders = OrderEntry(
            self.client, trader, to_orders, order_ttl_ns=to_ns(world.order_ttl), clock=world.clock
        )
        self.news = StreamClient(may_be_plain=True)
        throttled_log = ThrottledLog(stream="news", peer="news")
        self._evaluator = Evaluator(
            trader,
            self.client,
            self.news,
            self._evaluated,
            throttled_log,
            send=self._send,
            on_decided=lambda *_: None,
            clock=world.clock,
        )
        to_news = self._to_news = Connector(world.network, "news")
        feed = StreamFeed(
            "news",
            self.news,
            to_news,
            on_begin=lambda _: None,
            on_frames=self._evaluator.take_news,
            clock=world.clock,
        )
        self._timed: list[Timed] = [self._orders, feed, throttled_log]
        self._book: SharedPriceBook | None = None
        self._reader: PriceBookReader | None = None
        self._next_look_ns = 0
        self.beat_ns = world.clock()
        """When its loop came round last."""

    @property
    def position(self) -> int:
        """How far it has read the book."""
        return self._reader.position if self._reader else 0

    @property
    def is_new(self) -> bool:
        """Whether it has evaluated nothing yet."""
        return self._latest is None

    def _send(self, frames: list[bytes]) -> None:
        self.world.crash_point("strategy")
        self._orders.send(frames)
        self.world.crash_point("strategy")

    def count_as_evaluated(self, last: int) -> None:
        """The last batch is evaluated up to this tick, whatever happens from here on."""
        tape, ticks, sentiment = self.evaluating
        first_position, first = int(ticks[0][0]), int(ticks[0][1])
        last_position = next(int(tick[0]) for tick in ticks if tick[1] == last)
        records = self.world.records
        if self._sentiment != (tape, sentiment):
            self._sentiment = (tape, sentiment)
            records.news.append(AppliedNews(tape, first, sentiment))
        latest = self._latest
        follows_on = self._read_up_to + 1 == first_position
        if latest and latest.tape == tape and follows_on:
            records.evaluations[-1] = latest._replace(last=last)
        else:
            # A ring that was lapped where a tape began: the windows are empty and not refilled.
            begun_by: BegunBy = "start" if not latest else "tape" if follows_on else "lap"
            records.evaluations.append(Evaluation(tape, first, last, begun_by))
        self._latest = records.evaluations[-1]
        self._read_up_to = last_position
        for order, _tick_sent_ns, sentiment, _explanation in self.decided:
            assert order.tick_sequence is not None
            records.sent.append(
                SentOrder(
                    order.order_id,
                    order.symbol,
                    order.side,
                    order.quantity,
                    order.price,
                    tape,
                    order.tick_sequence,
                    sentiment,
                )
            )
        self.decided.clear()

    def step(self) -> None:
        world = self.world
        now_ns = self.beat_ns = world.clock()
        self._to_orders.link.step()
        self._to_news.link.step()
        call_timed(now_ns, self._timed)
        if self._reader is None and self._orders.knows_positions and now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + ATTACH_RETRY_NS
            self._attach()
        if self._reader is not None:
            self._evaluator.evaluate_all(self._reader)

    def _attach(self) -> None:
        with suppress(FileNotFoundError):
            self._book = SharedPriceBook.attach(self.world.book_name)
            self.world.note_attached()
            self._reader = self._evaluator.attach(self._book)

    def die(self) -> None:
        for connector in (self._to_orders, self._to_news):
            self.world.abandon(connector.link.end)
        if self._book:
            self._book.close()


class DoomedLedger(Ledger):
    """A ledger whose disk refuses for a while, and whose process may die round a commit."""

    world: World

    def record(self, order: Order, report: ExecutionReport, *receipt: Any) -> None:
        super().record(order, report, *receipt)
        self.world.note_booking(report)

    def _write(self, connection: sqlite3.Connection) -> None:
        world = self.world
        world.crash_point("order_manager")
        refuses = world.disk_refuses
        if refuses and world.random.random() < 0.5:
            raise sqlite3.OperationalError("disk I/O error")
        super()._write(connection)
        world.crash_point("order_manager")
        if refuses:  # it is on disk, and the disk says that it is not
            raise sqlite3.OperationalError("disk I/O error")


class OrderManager:
    """Books and answers orders."""

    def __init__(self, world: World) -> None:
        self._world = world
        risk = Risk(
            RiskSettings(),
            to_ns(world.order_ttl),
            world.symbols,
            lambda symbol: world.latest(symbol),
        )
        self._ledger = DoomedLedger(world.path / "orders.sqlite")
        self._ledger.world = world
        self._ledger.open()
        self._desk = OrderDesk(self._ledger, risk)
        self._connections: dict[Session, End] = {}
        self._arrived: list[tuple[Session, bytes]] = []
        world.network.listening["orders"] = []

    def step(self) -> None:
        world = self._world
        arriving = world.network.listening["orders"]
        while arriving:
            end = arriving.pop(0)
            session = Session("peer")
            self._connections[session] = end
            end.on_data = partial(self._on_data, session)
            end.on_closed = partial(self._on_closed, session)
        for end in list(self._connections.values()):
            end.deliver()
        receipt = Receipt(world.clock(), world.wall_ns(), world.utc(), halted=world.is_halted)
        for session, data in self._arrived:
            if session in self._connections:
                self._desk.receive(session, data, receipt)
        self._arrived.clear()
        outcome = self._desk.commit()
        # The strategy may die before it hears of them.
        world.records.answered_with_error.update(
            order_id
            for session, order_id in outcome.failed
            if session.client_id == world.settings.client_id
        )
        world.crash_point("order_manager")
        goodbyes = {session for session, _ in outcome.replaced}
        for session, answer in (*outcome.answers, *outcome.replaced):
            if session in self._connections:
                self._connections[session].send(answer)
                world.crash_point("order_manager")
        for session in goodbyes & self._connections.keys():
            self._connections[session].close("replaced by a newer logon")
        world.confirmations += outcome.confirmations
        world.failed_commits += outcome.failure is not None

    def _on_data(self, session: Session, data: bytes) -> None:
        self._arrived.append((session, data))

    def _on_closed(self, session: Session, _: str) -> None:
        del self._connections[session]
        self._desk.closed(session, self._world.clock())

    def die(self) -> None:
        for end in (*self._connections.values(), *self._world.network.listening.pop("orders")):
            self._world.abandon(end)
        self._ledger.close()
