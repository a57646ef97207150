"""Observes a running stack from outside, and makes views of it.

Used from one thread, which it blocks for a bounded time only: a look reads a bounded number of
ticks and of bytes of the logs, waits a fraction of a second for supervisord and the ledger, and
reads a slow ledger less often. What cannot be read is listed as missing in the view; the next look
tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from lib.clock import SECOND_NS
from lib.dashboard.counters import Counters
from lib.dashboard.health import Condition, Health, RoleHealth, health
from lib.dashboard.holdings import Holdings, HoldingsReader, Total, open_profit
from lib.dashboard.incidents import Incidents
from lib.dashboard.log_lines import TimedEvent
from lib.dashboard.news import NewsCourse
from lib.dashboard.order_counts import OrderCounter
from lib.dashboard.orders import AnsweredOrders
from lib.dashboard.prices import Prices
from lib.dashboard.roles import Restarts, Roles
from lib.dashboard.strategies import watched_strategies
from lib.dashboard.view import (
    ClusterView,
    LatencyView,
    PriceHistory,
    PriceView,
    RoleView,
    View,
)
from lib.execution.loss_latches import clients_at_limit
from lib.execution.risk import HALT_FILE
from lib.ledger.reader import read_ledger
from lib.ledger.schema import DamagedLedgerError, ForeignLedgerError, LedgerError
from lib.process.log_events import (
    ALERTS,
    GATEWAY,
    ORDER_MANAGER,
    STRATEGY,
    TAPE,
    NewsEnded,
    RoleEnded,
    TapeEnded,
    TapePreparing,
    TapeStarted,
)
from lib.process.supervisor import Supervisor
from lib.settings import Settings
from lib.stack.log_follower import SupervisorEvent
from lib.stack.observer import BookFollower, EventFollower, SeenLine

MAX_TICKS_A_LOOK: Final = 65_536
"""The most ticks that one look reads, in 4 ms; earlier ones are skipped."""
EARLIER_LOG_BYTES: Final = 512 * 1024
"""How much of each log is read of what was written before the start."""
LOG_STEP_BYTES: Final = 32 * 1024
"""How much of each log is read at once."""
LOG_NS: Final = SECOND_NS // 10
"""How long one look reads logs, and a step more: under load they can grow faster than they are
read, and the rest waits for the next look."""
LEDGER_NS: Final = SECOND_NS
"""The shortest time between two reads of the ledger."""
LEDGER_SHARE: Final = 20
"""The time between two reads of the ledger is at least this many times as long as a read takes."""
COUNTING_SHARE: Final = 4
"""The same while the orders of a ledger are counted for the first time."""
LOCK_WAIT_S: Final = 0.02
READ_LIMIT_S: Final = 0.5
"""How long one read of the ledger may take on a busy core, whatever is in it."""
LEDGER_LATE_NS: Final = 20 * SECOND_NS
"""How long the ledger may be locked, or take too long to read, before that is a problem of the
stack: with the longest pause between two reads, several tries."""
MAX_PRICES_SHOWN: Final = 100
"""How many symbols are shown; of more, these first ones, the held ones and the chosen one."""
MAX_HELD_SHOWN: Final = 200
"""How many held symbols are shown at most."""

NO_PRICE_BOOK: Final = "no price book is there: the orderbook makes it when it starts"
NO_HOLDING: Final = Total()


class Observer:
    """The observed state of one stack."""

    def __init__(self, settings: Settings, supervisor: Supervisor, directory: Path) -> None:
        """`directory` is supervisord's, where the logs are. `var_dir` may be another one."""
        self._settings = settings
        strategy = settings.strategy
        self.counters = Counters()
        self.strategies = watched_strategies(settings)
        """The strategies, that of [strategy] first."""
        self.roles = Roles(settings.var_dir, supervisor)
        self.restarts = Restarts()
        self.orders = AnsweredOrders()
        client_ids = [one.settings.client_id for one in self.strategies]
        self.order_counts = OrderCounter(client_ids)
        self._holdings = HoldingsReader(client_ids)
        self.ticks = 0
        """The number of ticks in the current price book, from its beginning."""
        self.news = NewsCourse(strategy)
        """The news in the log of the program "strategy"."""
        self._news_of = {STRATEGY: self.news}
        """The news in the log of each program that runs a strategy."""
        self._role_of: dict[str, str] = {}
        """By program, the role in the lines of its log."""
        self._incidents = Incidents()
        self._prices = Prices(settings.symbols, strategy.short_window, strategy.long_window)
        self._book = BookFollower(settings.price_book.name, settings.symbols)
        self._tape: str | None = None
        self._tape_ended: TapeEnded | None = None
        """The last end of a tape that was logged since the last beginning of one."""
        self._have_news_ended = False
        self._preparing = ""
        """How far the tape of a file is prepared, as far as it was logged."""
        self._tick_ns = 0
        """When the newest tick that was seen was sent, 0 before the first."""
        self._open_profit: float | None = None
        self._ticks_per_s = 0.0
        self._sample_ns = 0
        self._sampled_ticks = 0
        self._ledger_ns = 0
        self._log = EventFollower(
            directory, earlier_bytes=EARLIER_LOG_BYTES, read_bytes=LOG_STEP_BYTES
        )
        self._earlier_reads = EARLIER_LOG_BYTES // LOG_STEP_BYTES
        """How many reads of the logs may still return lines from before the start."""
        self.cluster: ClusterView | UnsetType = UNSET
        """What the roles of a cluster's host know of it; UNSET without [cluster]."""
        self._look_at_cluster: Callable[[int], ClusterView] | None = None
        if settings.cluster:
            from lib.dashboard.cluster import cluster_view

            self._look_at_cluster = partial(cluster_view, settings.var_dir, settings.cluster.host)
        self._ledger_problem = "the ledger is not read yet"
        """What /health says of it."""
        self._ledger_read_ns = time.monotonic_ns()
        """When it was last read."""
        self._missing: dict[str, str] = {}

    def look(self) -> None:
        """Read what is new since the last look."""
        now_ns = time.monotonic_ns()
        self._read_logs(now_ns)
        self.roles.look(now_ns)
        self._set_awaited("roles", self.roles.problem)
        if self.roles.programs:
            self._incidents.end_others(self.roles.programs)
        self._read_ticks(now_ns)
        if self._look_at_cluster:
            self.cluster = self._look_at_cluster(now_ns)
        if now_ns >= self._ledger_ns:
            self._read_ledger()
            self._ledger_ns = self._next_ledger_ns(now_ns)
        self._open_profit = open_profit(self._by_symbol(), self._prices.latest)
        self._set_awaited(
            "news", "news that have met a tick" if self.news.sentiment is None else ""
        )

    def view(self, symbol: str) -> View:
        """Return the view of a page that has chosen this symbol."""
        now_ns = time.monotonic_ns()
        holdings = self.holdings
        course = self._prices.course(symbol)
        if course and course.at:
            trades = self.orders.trades(symbol, course.at[0])
            course = replace(course, trades=trades)
        return View(
            at=time.time(),
            tape=self._tape,
            ended_ticks=self._ended_ticks,
            halted=self._is_halted,
            at_loss_limit=self.at_loss_limit,
            roles=self.role_views(),
            incidents=self._incidents.latest(),
            strategies=[
                one.view(
                    self.order_counts.of_client(one.settings.client_id),
                    holdings and holdings.by_client[one.settings.client_id],
                    now_ns,
                )
                for one in self.strategies
            ],
            prices=[self._price(one) for one in self._shown(course)],
            course=course,
            news=self.news.view(),
            latency=self._latency(now_ns),
            orders=self.orders.latest(),
            filled=self.order_counts.filled if holdings else None,
            rejected=self.order_counts.rejected,
            realised=holdings.realised if holdings else None,
            open_profit=self._open_profit if holdings else None,
            missing=self._missing,
            cluster=self.cluster,
        )

    def role_views(self) -> list[RoleView]:
        """Return what is known of each program; not of the gateway of a market host on standby."""
        views = self.roles.views(self.restarts, time.monotonic_ns())
        if self._settings.cluster is None:
            return views
        return [one for one in views if (one.program, one.state) != (GATEWAY, "STOPPED")]

    @property
    def at_loss_limit(self) -> list[str]:
        """The clients that have reached max_loss; none while there is no such limit."""
        settings = self._settings
        return clients_at_limit(settings.var_dir) if settings.risk.max_loss else []

    def health(self) -> Health:
        """Return whether the stack is at work, and what is wrong."""
        now_ns, now = time.monotonic_ns(), time.time()
        news = [one for program, one in self._news_of.items() if program in self.roles.programs]

        def age_s(at: float | None) -> float | None:
            return None if at is None else max(0.0, now - at)

        condition = Condition(
            roles={
                one.program: RoleHealth(
                    self._role_of.get(one.program, one.program),
                    one.state,
                    one.is_up,
                    one.heartbeat_age_s,
                )
                for one in self.role_views()
            },
            supervisord=self.roles.problem,
            price_book="" if self._book.book else self._book.problem or NO_PRICE_BOOK,
            ledger=self._ledger_problem,
            tick_age_s=(now_ns - self._tick_ns) / SECOND_NS if self._tick_ns else None,
            news_age_s=age_s(max((one.latest_at or 0.0 for one in news), default=0.0) or None),
            order_age_s=age_s(self.orders.latest_at),
            is_news_in_force=_of_all(one.is_in_force(now) for one in news),
            has_tape_ended=self._ended_ticks is not None,
            have_news_ended=self._have_news_ended,
            is_halted=self._is_halted,
            cluster=self.cluster,
        )
        return health(condition, self._settings)

    def close(self) -> None:
        """Close everything that is read."""
        self._book.let_go()
        self._log.close()

    # The logs

    def _read_logs(self, now_ns: int) -> None:
        """Read what the logs have, for as long as LOG_NS."""
        while seen := self._log.read():
            self._take_lines(seen)
            self._earlier_reads -= self._earlier_reads > 0
            if time.monotonic_ns() - now_ns > LOG_NS:
                return
        self._earlier_reads = 0

    def _take_lines(self, seen: list[SeenLine]) -> None:
        events: list[tuple[str, TimedEvent]] = []
        for _, program, line in seen:
            if isinstance(line, SupervisorEvent):
                self.restarts.take(line)
            elif at := line.logged_at:
                role, _, name = line.role.partition(":")
                if role == ALERTS:  # it logs into the watchdog's log
                    program = ALERTS
                elif role:
                    self._role_of[program] = role
                if role == STRATEGY and program not in self._news_of:
                    own = self._settings.strategies.get(name, self._settings.strategy)
                    self._news_of[program] = NewsCourse(own)
                events.append((program, TimedEvent(at.timestamp(), line.level, line.event)))
        # What ends in one log may have begun in another.
        for program, event in sorted(events, key=lambda entry: entry[1].at):
            if not self._earlier_reads:
                self.counters.take(program, event)
            self._incidents.take(program, event)
            if program in self._news_of:
                self._news_of[program].take(event)
            elif isinstance(event.event, RoleEnded) and event.event.program in self._news_of:
                self._news_of[event.event.program].end()  # a killed strategy logs nothing
            elif program == ORDER_MANAGER:
                self.orders.take(event)
            elif isinstance(event.event, TapePreparing):
                preparing = event.event
                self._preparing = f": {preparing.what}, {100 * preparing.share:.0f} %"
            elif isinstance(event.event, TapeEnded | TapeStarted):
                self._tape_ended = event.event if isinstance(event.event, TapeEnded) else None
                if isinstance(event.event, TapeStarted):
                    self._have_news_ended = False
            elif isinstance(event.event, NewsEnded):
                self._have_news_ended = True

    # The price book and the decisions

    def _read_ticks(self, now_ns: int) -> None:
        if self._book.attach(now_ns, MAX_TICKS_A_LOOK):
            self._sample_ns = 0
            self._prices.miss_ticks()
        book, reader = self._book.book, self._book.reader
        if book is None or reader is None:
            problem = self._book.problem
            what = "a price book: the orderbook makes it when it starts"
            self._set_awaited(
                "prices", f"a price book that can be used: {problem}" if problem else what
            )
            return
        # In this order: a tick that was decided is already in the ring.
        decisions = [(one, one.read_decisions(self._tape)) for one in self.strategies]
        has_decided = self.strategies[0].has_decided
        self._set_awaited("latency", "" if has_decided else "the first decision of the strategy")
        newest = book.reader().position
        if newest - reader.position > MAX_TICKS_A_LOOK:
            reader.return_to(newest - MAX_TICKS_A_LOOK)
            self._prices.miss_ticks()
        batch = self._book.read(MAX_TICKS_A_LOOK)
        if batch.missed:
            self._prices.miss_ticks()
        ticks = batch.ticks
        if len(ticks):
            tape = book.tape(int(ticks["epoch"][-1]))
            if tape != self._tape:
                self._tape = tape
                self._prices.begin_tape()
                for strategy in self.strategies:
                    strategy.latencies.forget_ticks()
                decisions.clear()
                ticks = ticks[ticks["epoch"] == ticks["epoch"][-1]]
            self._prices.take(ticks["symbol"], ticks["price"])
            self._tick_ns = int(ticks["sent_ns"][-1]) or now_ns  # a plain stream has no times
        for strategy, decided in decisions:
            if decided is not None:
                strategy.latencies.take(decided, ticks["sequence"], ticks["sent_ns"], now_ns)
        self._sample(newest, now_ns)
        self._set_awaited("prices", "" if self._tape is not None else self._before_first_tick())
        if self._book.book is None:
            self._ticks_per_s = 0.0

    def _before_first_tick(self) -> str:
        if any(one.program == TAPE for one in self.role_views()):
            return f"the first tick: the tape is being prepared{self._preparing}"
        return "the first tick"

    def _sample(self, newest: int, now_ns: int) -> None:
        """Once a second, add a point to the courses and count the ticks."""
        self.ticks = newest
        if now_ns < self._sample_ns:
            return
        if self._sample_ns:
            seconds = (now_ns - self._sample_ns) / SECOND_NS + 1
            self._ticks_per_s = (newest - self._sampled_ticks) / seconds
        self._sample_ns = now_ns + SECOND_NS
        self._sampled_ticks = newest
        self._prices.sample(time.time())

    # The ledger

    def _read_ledger(self) -> None:
        path = self._settings.var_dir / self._settings.order_manager.ledger
        try:
            with read_ledger(path, LOCK_WAIT_S, READ_LIMIT_S) as ledger:
                self._holdings.read(ledger)
                self._ledger_problem, self._ledger_read_ns = "", time.monotonic_ns()
                self.order_counts.read(ledger, self.counters.orders["rejected"])
        except FileNotFoundError as error:
            self._ledger_problem = str(error)
            self._set_awaited("ledger", "a ledger: the order manager makes it when it starts")
            return
        except LedgerError as error:
            self._set_awaited("ledger", f"a ledger that can be read: {error}")
            is_late = time.monotonic_ns() - self._ledger_read_ns > LEDGER_LATE_NS
            if is_late or isinstance(error, DamagedLedgerError | ForeignLedgerError):
                self._ledger_problem = str(error)
            return
        awaited = "" if self.holdings else "the positions to be added up"
        self._set_awaited("ledger", awaited or self.order_counts.awaits)

    def _next_ledger_ns(self, begun_ns: int) -> int:
        """Return when to read it again, after a read that begun then."""
        ended_ns = time.monotonic_ns()
        taken_ns = ended_ns - begun_ns
        if (self.order_counts.awaits or not self.holdings) and not self._ledger_problem:
            return ended_ns + COUNTING_SHARE * taken_ns
        return ended_ns + max(LEDGER_NS, LEDGER_SHARE * taken_ns)

    # What comes of it

    @property
    def _ended_ticks(self) -> int | None:
        # Another tape's end is in the log while the first tick of this one is awaited.
        ended = self._tape_ended
        return ended.ticks if ended and ended.tape == self._tape else None

    @property
    def _is_halted(self) -> bool:
        return (self._settings.var_dir / HALT_FILE).exists()

    @property
    def holdings(self) -> Holdings | None:
        """What is held and earned by the ledger; None before it was read."""
        return self._holdings.latest

    def _by_symbol(self) -> dict[str, Total]:
        return self.holdings.by_symbol if self.holdings else {}

    def _shown(self, course: PriceHistory | None) -> Iterable[str]:
        """Return the symbols to show."""
        first = self._settings.symbols[:MAX_PRICES_SHOWN]
        held = (symbol for symbol, total in self._by_symbol().items() if total.position)
        chosen = [course.symbol] if course else []
        return dict.fromkeys([*first, *islice(held, MAX_HELD_SHOWN), *chosen])

    def _price(self, symbol: str) -> PriceView:
        holding = self._by_symbol().get(symbol, NO_HOLDING)
        trend = self._prices.trend(symbol)
        return PriceView(
            symbol=symbol,
            price=self._prices.latest(symbol),
            change=self._prices.change(symbol),
            price_signal=trend,
            agreed=trend if trend == self.news.signal else 0,
            position=holding.position,
            realised=holding.realised,
            open_profit=open_profit({symbol: holding}, self._prices.latest),
        )

    def _latency(self, now_ns: int) -> LatencyView:
        first = self.strategies[0]
        return LatencyView(
            ticks=first.latencies.ticks(now_ns),
            p50_us=first.quantile_us(0.5, now_ns),
            p99_us=first.quantile_us(0.99, now_ns),
            p999_us=first.quantile_us(0.999, now_ns),
            ticks_per_s=self._ticks_per_s,
        )

    def _set_awaited(self, part: str, awaits: str) -> None:
        """Set what a part of the page waits for; "" for nothing."""
        self._missing.pop(part, None)
        if awaits:
            self._missing[part] = awaits


def _of_all(known: Iterable[bool | None]) -> bool | None:
    """Return False if one is, else True if one is, else None."""
    found = set(known)
    return False if False in found else True if True in found else None
