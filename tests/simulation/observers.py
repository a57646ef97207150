"""What the world sees of its roles: parts of them that write down what goes in and out.

Each takes the place of a part of the same name where a role is wired (`patches`), does what that
part does, and is a place where the process may be killed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from chaos.judge.records import (
    AppliedNews,
    BegunBy,
    Evaluation,
    Gap,
    LoggedOn,
    OrderAnswer,
    SentOrder,
)
from daemons import gateway, order_manager, strategy
from lib.clock import SECOND_NS, to_ns
from lib.execution.order_desk import CommitResult, OrderDesk
from lib.ledger.writer import Ledger
from lib.price_book.writer import PriceBookWriter
from lib.shared_memory_utils import PriceBookReader, SharedPriceBook
from lib.signals import MovingAverageAndNews, Side
from lib.trading.checkpoint import LastEvaluated
from lib.trading.evaluator import Evaluator
from lib.trading.strategy_lock import ClientIdLock
from lib.trading.trader import Decision, Trader
from lib.wire.order_messages import ExecutionReport, LogonAck, Order
from lib.wire.ticks import POSITION, SENT_NS, SEQUENCE, TICK, Ticks
from tests.simulation.seeded_world import Patches

if TYPE_CHECKING:
    from tests.simulation.world import World


class SlowSignal(MovingAverageAndNews):
    """The signal of the house, which takes time: as much as the world says for each tick."""

    world: ClassVar[Any] = None
    """The present one."""

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


class StrategyWatch:
    """What one process of the strategy was given to evaluate, decided and was answered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.evaluating: tuple[str, Ticks, int | None] = ("", np.empty(0, TICK), None)
        self.decided: list[Decision] = []
        self._latest: Evaluation | None = None
        self._read_up_to = 0
        self._sentiment: tuple[str, int | None] | None = None

    @property
    def is_new(self) -> bool:
        """Whether it has evaluated nothing yet."""
        return self._latest is None

    def count_as_evaluated(self, last: int) -> None:
        """The last batch is evaluated up to this tick, whatever happens from here on."""
        tape, ticks, sentiment = self.evaluating
        first_position, first = int(ticks[0][POSITION]), int(ticks[0][SEQUENCE])
        last_position = next(int(tick[POSITION]) for tick in ticks if tick[SEQUENCE] == last)
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


class WatchedEvaluator(Evaluator):
    """Notes where in the price book a strategy begins."""

    def __init__(self, world: World, *parts: Any, **further: Any) -> None:
        super().__init__(*parts, **further)
        self._world = world

    def attach(self, book: SharedPriceBook) -> PriceBookReader:
        self._world.note_attached()
        return super().attach(book)


class WatchedEvaluated(LastEvaluated):
    """Around the store, the strategy may die; once it is done, what was evaluated counts."""

    def __init__(self, world: World, *parts: Any) -> None:
        super().__init__(*parts)
        self._watch = world.strategy_watch

    def store(self, tape: str, sequence: int) -> None:
        self._watch.world.crash_point("strategy")
        super().store(tape, sequence)
        self._watch.count_as_evaluated(sequence)
        self._watch.world.crash_point("strategy")


class WatchedTrader(Trader):
    """Writes down what it was given to evaluate, what it decided, and what it was answered."""

    def __init__(self, world: World, *parts: Any, **further: Any) -> None:
        super().__init__(*parts, **further)
        self._world = world
        self._watch = world.strategy_watch

    def refill(self, ticks: NDArray[np.void]) -> None:
        self._world.crash_point("strategy")
        super().refill(ticks)
        self._world.crash_point("strategy")

    def evaluate(self, ticks: Ticks, now_ns: int, capacity: int) -> list[Decision]:
        news = self.news_in_force(now_ns)
        self._watch.evaluating = (self.tape, ticks, news.sentiment if news else None)
        decisions = super().evaluate(ticks, now_ns, capacity)
        self._watch.decided += decisions
        self._look_at_ages(ticks, now_ns, decisions)
        return decisions

    def _look_at_ages(self, ticks: Ticks, now_ns: int, decisions: list[Decision]) -> None:
        """A tick that is too old never gives an order."""
        max_age_ns = to_ns(self._world.strategy_settings.max_tick_age)
        plain_ticks = ticks if isinstance(ticks, list) else ticks.tolist()
        old = [t[SEQUENCE] for t in plain_ticks if now_ns - t[SENT_NS] > max_age_ns]
        if old:
            self._world.events["tick too old to trade on"] += len(old)
            self._world.records.held_back.append(Gap(self.tape, old[0], old[-1]))
        for order, tick_sent_ns, *_ in decisions:
            if now_ns - tick_sent_ns > max_age_ns:
                self._world.misjudged.append(
                    f"order {order.order_id}: decided at a tick of "
                    f"{(now_ns - tick_sent_ns) / SECOND_NS:.1f} s ago, and max_tick_age is "
                    f"{max_age_ns / SECOND_NS} s"
                )

    def logged_on(self, ack: LogonAck, under_way: AbstractSet[str]) -> None:
        before = self._positions[:]
        super().logged_on(ack, under_way)
        if self._watch.is_new:
            return
        records = self._world.records
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
            self._world.events["logon corrects a position"] += 1

    def answered(self, report: ExecutionReport) -> None:
        super().answered(report)
        assert report.position is not None
        self._world.records.answers.append(
            OrderAnswer(
                report.order_id,
                report.status,
                report.symbol,
                report.side,
                report.trade_id,
                report.position,
                len(self._world.records.sent),
            )
        )


class WatchedLedger(Ledger):
    """A ledger whose disk refuses for a while, and whose process may die round a commit."""

    def __init__(self, world: World, *parts: Any) -> None:
        super().__init__(*parts)
        self._world = world

    def record(self, order: Order, report: ExecutionReport, *receipt: Any) -> None:
        super().record(order, report, *receipt)
        self._world.note_booking(report)

    def _write(self, connection: sqlite3.Connection, *place: Any) -> None:
        world = self._world
        world.note_commit(len(self._rows))
        world.crash_point("order_manager")
        refuses = world.disk_refuses
        if refuses and world.random.random() < 0.5:
            raise sqlite3.OperationalError("disk I/O error")
        super()._write(connection, *place)
        world.crash_point("order_manager")
        if refuses:  # it is on disk, and the disk says that it is not
            raise sqlite3.OperationalError("disk I/O error")


class WatchedDesk(OrderDesk):
    """Writes down which orders of the strategy are answered with a failure."""

    def __init__(self, world: World, *parts: Any) -> None:
        super().__init__(*parts)
        self._world = world

    def commit(self, *place: Any) -> CommitResult:
        outcome = super().commit(*place)
        # The strategy may die before it hears of them.
        self._world.records.answered_with_error.update(
            order_id
            for session, order_id in outcome.failed
            if session.client_id == self._world.strategy_settings.client_id
        )
        return outcome


def watched_parts(world: World) -> Patches:
    """Return the parts by which the world watches its roles, and what they take the place of."""
    publish_tick = PriceBookWriter._publish

    def publish_or_die(writer: PriceBookWriter, position: int) -> None:
        world.stored_to = position
        world.crash_point("orderbook")
        publish_tick(writer, position)
        world.read_book()
        world.crash_point("orderbook")

    def hold_client_id(*of: Any) -> ClientIdLock:
        lock = ClientIdLock(*of)
        world.process("strategy").at_kill.append(lock.let_go)
        return lock

    return (
        (SlowSignal, "world", world),
        (gateway, "current_run", lambda: (world.run,)),
        (strategy, "hold_client_id", hold_client_id),
        (strategy, "Evaluator", partial(WatchedEvaluator, world)),
        (strategy, "LastEvaluated", partial(WatchedEvaluated, world)),
        (strategy, "Trader", partial(WatchedTrader, world)),
        (order_manager, "Ledger", partial(WatchedLedger, world)),
        (order_manager, "OrderDesk", partial(WatchedDesk, world)),
        (PriceBookWriter, "_publish", publish_or_die),
    )
