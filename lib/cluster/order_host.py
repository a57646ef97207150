"""The order manager of a cluster's order host: first a standby, then the one that takes orders.

A standby serves no client. It follows TW_LEDGER into its own ledger (`LedgerJournal`), until the
writer is silent and it has claimed the stream. From then on there is an order manager, whose passes
have two parts: what is decided is appended to the stream, and it is booked and answered when the
stream has it. In between the role goes on polling, and decides nothing. A logon books nothing, but
its answer says what is booked: for it an empty entry is appended.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from lib.clock import to_ns
from lib.cluster.broker import Answer, Broker, Connected, Delivered, Event
from lib.cluster.ledger_journal import NO_ORDERS, LedgerJournal
from lib.cluster.status import ClusterStatus
from lib.cluster.streams import LEDGER, live_subject
from lib.cluster.writer_watch import LOOK_NS
from lib.errors import CannotStartError
from lib.execution.loss_latches import LossLatches
from lib.ledger.journal import JournalError, JournalPlace
from lib.ledger.schema import LedgerError, NotAcknowledgedError
from lib.ledger.watch import LedgerWatch
from lib.ledger.writer import Ledger
from lib.net.event_loop import EventLoop
from lib.process.log_events import (
    ORDER_MANAGER,
    JournalRefused,
    StandingBy,
    StreamClaimed,
    StreamLost,
    StreamOvertaken,
    log_event,
)
from lib.process.log_once import LogOnce
from lib.process.role import RoleEndsError
from lib.settings import ClusterSettings, Settings, cluster_of
from lib.wire.order_messages import ANONYMOUS

MAX_DECIDED_BYTES: Final = 64 * 1024
"""About how many bytes of clients' messages become one message of the stream. With the last turn
it is some 1,000 orders at most, and so less than the 1 MiB that brokers take by default."""
NOT_ACKNOWLEDGED: Final = (
    "the brokers have not acknowledged it ({}), so whether it is booked is not known; send it again"
)


class OrderManager(Protocol):
    """What an order host needs of the order manager."""

    @property
    def has_input(self) -> bool:
        """Whether something has arrived that is not decided."""

    @property
    def has_logons(self) -> bool:
        """Whether the next commit answers a logon, with what the ledger has booked."""

    def decide(self, max_bytes: int) -> None:
        """Decide about so many bytes of what has arrived; record it in the ledger."""

    def commit(self, place: JournalPlace | None = None) -> None:
        """Book what is recorded, with its place in the journal; answer it."""

    def close(self) -> None:
        """Close the ledger, and let the clients go."""


class OrderHost:
    """The role. `make` opens the ports: from then on the order manager serves.

    `connect` is `lib.cluster.connection.connect`.
    """

    def __init__(
        self,
        settings: Settings,
        loop: EventLoop,
        make: Callable[[Settings, EventLoop, Ledger], OrderManager],
        connect: Callable[[EventLoop, ClusterSettings, str, Callable[[Event], None]], Broker],
    ) -> None:
        cluster = cluster_of(settings, "an order host")
        self._settings = settings
        self._loop = loop
        self._make = make
        self._log = structlog.get_logger()
        self._host = cluster.host
        self._manager: OrderManager | None = None
        self._ledger = Ledger(settings.var_dir / settings.order_manager.ledger)
        self._ledger_watch = LedgerWatch(self._ledger, loop.clock())
        self._ledger_watch.look()
        self._standing_by = LogOnce()
        self._events: deque[Event] = deque()
        self._broker = connect(loop, cluster, ORDER_MANAGER, self._events.append)
        self._broker.follow(live_subject(LEDGER))
        claimant = f"{cluster.host}-{os.getpid()}-{loop.host.wall_ns()}"
        self._journal = LedgerJournal(
            self._broker,
            self._ledger,
            cluster.host,
            claimant,
            to_ns(cluster.takeover_after),
            loop.clock(),
        )
        self._status = ClusterStatus(
            settings, loop, self._broker, ORDER_MANAGER, {LEDGER: self._journal.progress}
        )
        self._look_ns = loop.clock()
        loop.add_timed(self)

    @property
    def is_at_work(self) -> bool:
        """Whether it takes orders."""
        return self._manager is not None

    def step(self) -> None:
        """One pass of the loop. Raises RoleEndsError when this host is no longer the writer."""
        journal, manager = self._journal, self._manager
        self._loop.poll(may_sleep=not (manager and manager.has_input and journal.is_idle))
        now_ns = self._loop.clock()
        self._look_ns = now_ns + LOOK_NS
        try:
            self._take_events(now_ns)
            journal.look(now_ns)
            if journal.is_overtaken:
                raise RoleEndsError(StreamOvertaken(stream=LEDGER, epoch=journal.writer.epoch))
            if journal.is_behind:
                raise RoleEndsError(StreamLost(stream=LEDGER, last=journal.writer.last))
            if manager:
                self._serve(manager)
            else:
                self._stand_by(now_ns)
        except JournalError as error:
            raise RoleEndsError(JournalRefused(reason=str(error))) from None

    def close(self) -> None:
        """Close the ledger, and leave the brokers."""
        if self._manager:
            self._manager.close()
        self._ledger.close()
        self._broker.close()

    def next_deadline_ns(self) -> int:
        """When to look again though nothing has come."""
        return self._look_ns

    def on_time(self, _now_ns: int) -> None:
        """`step` looks after each pass."""

    def _take_events(self, now_ns: int) -> None:
        while self._events:
            event = self._events.popleft()
            self._status.take(event)
            if isinstance(event, Connected):
                self._broker.follow(live_subject(LEDGER))
            elif isinstance(event, Answer | Delivered):
                try:
                    self._journal.take(event, now_ns)
                except LedgerError as error:  # in the comparison with the stream: it begins anew
                    self._ledger_watch.failed(str(error))

    def _serve(self, manager: OrderManager) -> None:
        """Book what was appended; decide and append what has arrived since."""
        journal = self._journal
        if place := journal.appended():
            manager.commit(place)
        elif journal.has_failed():
            reason = NOT_ACKNOWLEDGED.format(journal.writer.failure)
            self._ledger.fail(NotAcknowledgedError(reason))
            manager.commit()
        if not journal.is_idle:
            return
        try:
            journal.project()
            if not journal.is_projected:
                return
        except LedgerError as error:  # so every order is answered with it
            self._ledger.fail(error)
        manager.decide(MAX_DECIDED_BYTES)
        entry = self._ledger.recorded()
        if entry is None and manager.has_logons:
            entry = NO_ORDERS  # a host that was overtaken must not say what it has booked
        if entry:
            journal.append(entry)
        else:
            manager.commit()

    def _stand_by(self, now_ns: int) -> None:
        """Book what has come; serve if this host is the writer."""
        journal, watch = self._journal, self._ledger_watch
        if now_ns >= watch.next_deadline_ns():
            watch.on_time(now_ns)
        try:
            journal.project()
        except LedgerError as error:
            watch.failed(str(error))
            return
        watch.works()
        writer = journal.takeover.writer
        if journal.is_idle and journal.is_projected:
            self._begin_to_serve(writer)
        elif journal.has_all and writer != self._host:
            self._standing_by.log_new(StandingBy(stream=LEDGER, writer=writer))

    def _begin_to_serve(self, former: str) -> None:
        epoch = self._journal.writer.epoch
        claimed = StreamClaimed(stream=LEDGER, epoch=epoch, host=self._host, former=former)
        log_event(self._log, claimed)
        last = self._journal.takeover.last
        # A former process of this host that has appended something has done this.
        if last and (former != self._host or last.is_claim):
            self._keep_loss_limits()
        self._manager = self._make(self._settings, self._loop, self._ledger)

    def _keep_loss_limits(self) -> None:
        """Hold the clients at their loss limit that were at it on the host before this one."""
        settings = self._settings
        if not settings.risk.max_loss:
            return
        latches = LossLatches(settings.var_dir, settings.risk.max_loss)
        for client_id in self._ledger.clients_at_limit():
            if not client_id.startswith(ANONYMOUS) and not latches.is_held(client_id):
                try:
                    latches.hold(client_id, None)
                except OSError as error:
                    raise CannotStartError(
                        f"cannot keep that {client_id} is at its loss limit: {error.strerror}"
                    ) from None
