"""OrderManager: takes orders from any number of clients, books, answers and prints them.

`lib.execution.order_desk` decides. Here is the order of a pass: what has arrived is processed,
under one reading of the clock and of the halt switch; committed as one transaction; answered; and
only then printed and logged.

A pass is bounded in bytes and in time. What it leaves is processed first in the next one, and until
then nothing more is received from those clients: so at most RECEIVE_BYTES of each client wait, and
the role keeps beating however much arrives.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Final

import structlog

from lib.clock import MILLISECOND_NS, SECOND_NS, to_ns, utc_stamp
from lib.execution.loss_latches import LossLatches
from lib.execution.loss_limit import LossLimit
from lib.execution.order_desk import CommitResult, OrderDesk, Receipt, Session
from lib.execution.order_token import SETTING as TOKEN_SETTING
from lib.execution.order_token import read_token
from lib.execution.risk import HALT_FILE, Risk
from lib.ledger.journal import JournalPlace
from lib.ledger.watch import LedgerWatch
from lib.ledger.writer import Ledger
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.listener import Listener
from lib.net.peer_process import credentials
from lib.price_book.own_price_book import RolePriceBook
from lib.process.client_log import ClientLog
from lib.process.client_table import ClientTable
from lib.process.kept_files import FileKeeper
from lib.process.limits import client_places
from lib.process.log_events import (
    ORDERBOOK,
    ClientLoggedOn,
    ClientsSentNoDelimiter,
    ClientsWithoutToken,
    Listening,
    MalformedMessages,
    NoPriceCollar,
    OrdersNotBooked,
    PriceCollarAttached,
    TradingHalted,
    TradingResumed,
    log_event,
)
from lib.process.logs import BoundedWriter
from lib.process.role import Role, run_role
from lib.process.run_identity import is_supervised, siblings
from lib.process.socket_file import SocketFile, make_room_for_socket
from lib.process.supervisor import (
    SERVER_VARIABLE,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from lib.settings import RiskSettings, Settings
from lib.shared_memory_utils import PriceBookError
from lib.wire.framing import MessageTooLongError

MAX_CLIENTS: Final = 512
HEARD_NS: Final = SECOND_NS // 10
"""How long a silent client may stay before it can be evicted: clients that connect together must
not evict each other before any of them could send something."""
RECEIVE_BYTES: Final = 16 * 1024
"""The most bytes of one client in one turn, some 130 orders; MAX_TURN_NS may end the turn
sooner."""
SLICE_BYTES: Final = 1024
"""How much is processed between two readings of the clock: 0.1 ms for orders, up to 3 ms for the
worst input."""
MAX_TURN_NS: Final = 2 * MILLISECOND_NS
"""How long a client's turn lasts, then to the end of its slice; then the other clients have theirs.
Malformed input costs the client next to nothing, and up to 40 times as much here as orders."""
MAX_COMMIT_BYTES: Final = 256 * 1024
"""The most bytes of messages in one transaction, some 2,000 orders, so that a halt takes effect
soon."""
MAX_TAKING_NS: Final = SECOND_NS // 10
"""How long a pass processes messages, then to the end of one client's turn."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""How many bytes of answers may wait for a client before it is disconnected."""
LINES_A_WRITE: Final = 64
"""Confirmations that are printed with one system call."""


class OrderManager:
    """The role: one desk, and what listens for its clients."""

    def __init__(self, settings: Settings, loop: EventLoop, ledger: Ledger | None = None) -> None:
        """`ledger` is the one of the settings, if it is open already."""
        self._loop = loop
        self._clock = loop.clock
        self._log = structlog.get_logger()
        self._out = BoundedWriter(sys.stdout)
        self._halt_file = settings.var_dir / HALT_FILE
        self._halted = False
        self._latest_prices = LatestPrices(settings, loop.clock())
        ttl_ns = to_ns(settings.order_manager.order_ttl)
        risk = Risk(settings.risk, ttl_ns, settings.symbols, self._latest_prices.get)
        self._ledger = ledger or Ledger(settings.var_dir / settings.order_manager.ledger)
        self._ledger_watch = LedgerWatch(self._ledger, loop.clock())
        manager = settings.order_manager
        token = read_token(manager.token_file) if manager.token_file else ""
        self._loss_limit = self._make_loss_limit(settings)
        self._desk = OrderDesk(self._ledger, risk, token, self._loss_limit)
        self._arrived: deque[tuple[Session, bytes]] = deque()
        """Unprocessed input in the order of the turns: at most one entry a client, whose connection
        is paused."""
        self._client_log = ClientLog("orders", client_places(MAX_CLIENTS), loop.clock)
        self._clients = ClientTable(
            max_clients=self._client_log.max_clients,
            log=self._client_log,
            connect=partial(
                Connection,
                loop,
                max_queued_bytes=MAX_QUEUED_BYTES,
                receive_bytes=RECEIVE_BYTES,
                may_half_close=True,
            ),
            make=partial(Session, needs_token=bool(token)),
            on_data=self._on_data,
            on_drained=self._on_drained,
            on_closed=self._on_closed,
            client_id=attrgetter("client_id"),
            why_evict=self._why_evict,
            why_drop=_why_drop,
        )
        self._connections = self._clients.connections
        self._ledger_watch.look()
        Listener(
            loop,
            manager.host,
            manager.port,
            "order_manager.port",
            self._client_log,
            self._clients.accept,
            siblings,
        )
        if settings.orders_socket:
            self._listen_at(settings.orders_socket)
        for timed in (self._out, self._client_log, self._clients, self._ledger_watch):
            loop.add_timed(timed)
        log_event(self._log, Listening(stream="orders", host=manager.host, port=manager.port))

    def _make_loss_limit(self, settings: Settings) -> LossLimit | None:
        max_loss = settings.risk.max_loss
        if not max_loss:
            return None
        latches = LossLatches(settings.var_dir, max_loss)
        self._loop.add_timed(latches)
        return LossLimit(max_loss, self._ledger, self._latest_prices.get, latches)

    def _listen_at(self, path: Path) -> None:
        """Serve the token file's owner, who needs no token, at a Unix socket."""
        make_room_for_socket(path, TOKEN_SETTING)
        listener = Listener(
            self._loop,
            str(path),
            0,
            TOKEN_SETTING,
            self._client_log,
            self._accept_at_socket,
            siblings,
        )
        self._loop.add_timed(FileKeeper(self._clock, [SocketFile(path, listener.listen_anew)]))

    def _accept_at_socket(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        # The token file belongs to this process's user, or the token would not have been read.
        is_owner = credentials(sock).uid == os.geteuid()
        return self._clients.accept(sock, peer, is_ours, partial(Session, needs_token=not is_owner))

    def step(self) -> None:
        """One pass: process what has arrived, up to the bounds, commit, answer, log."""
        self._loop.poll(may_sleep=not self._arrived)
        self.decide(MAX_COMMIT_BYTES)
        self.commit()

    @property
    def has_input(self) -> bool:
        """Whether something has arrived that is not decided."""
        return bool(self._arrived)

    @property
    def has_logons(self) -> bool:
        """Whether the next commit answers a logon."""
        return self._desk.has_logons

    def decide(self, max_bytes: int) -> None:
        """Decide what has arrived, up to the bounds of a pass, and about so many bytes of it."""
        self._look_for_halt()
        self._take_arrived(max_bytes)

    def commit(self, place: JournalPlace | None = None) -> None:
        """Book what is decided, with its place in a journal if there is one; answer and log it."""
        outcome = self._desk.commit(place)
        self._answer(outcome)
        self._log_result(outcome)

    def close(self) -> None:
        """Close the ledger; write the last confirmations and counts."""
        self._ledger.close()
        self._client_log.on_time(self._clock())
        self._out.flush_at_end()

    def _look_for_halt(self) -> None:
        halted = os.path.lexists(self._halt_file)
        if halted != self._halted:
            self._halted = halted
            log_event(self._log, TradingHalted() if halted else TradingResumed())

    def _take_arrived(self, max_bytes: int) -> None:
        """Pass what has arrived to the desk, in order, up to the bounds of a pass."""
        if not self._arrived:
            return
        now_ns, wall_ns = self._clock(), self._loop.host.wall_ns()
        receipt = Receipt(now_ns, wall_ns, utc_stamp(wall_ns), self._halted)
        self._latest_prices.begin_pass(receipt.now_ns)
        if self._loss_limit:
            self._loss_limit.begin_pass()
        end_ns = receipt.now_ns + MAX_TAKING_NS
        taken_bytes = 0
        while self._arrived and taken_bytes < max_bytes and self._clock() < end_ns:
            session, data = self._arrived.popleft()
            if session not in self._connections:
                continue  # closed meanwhile: there is no client to answer
            try:
                turn_bytes = self._take_turn(session, data, receipt)
            except MessageTooLongError as error:
                self._client_log.protocol_error(session.peer, str(error))
                self._connections[session].close(f"protocol error: {error}")
                continue
            taken_bytes += turn_bytes
            if turn_bytes < len(data):
                self._arrived.append((session, data[turn_bytes:]))
            else:
                self._connections[session].paused = False
                self._count_undelimited(session)

    def _take_turn(self, session: Session, data: bytes, receipt: Receipt) -> int:
        """Pass a client's input to the desk for MAX_TURN_NS. Returns how many bytes were passed."""
        end_ns = self._clock() + MAX_TURN_NS
        for begin in range(0, len(data), SLICE_BYTES):
            self._desk.receive(session, data[begin : begin + SLICE_BYTES], receipt)
            if self._clock() >= end_ns:
                return min(begin + SLICE_BYTES, len(data))
        return len(data)

    def _count_undelimited(self, session: Session, *, has_ended: bool = False) -> None:
        if undelimited := session.undelimited(has_ended=has_ended):
            self._client_log.count(
                ClientsSentNoDelimiter, peer=session.peer, **undelimited._asdict()
            )

    def _answer(self, outcome: CommitResult) -> None:
        frames: dict[Session, list[bytes]] = {}
        for session, answer in outcome.answers:
            frames.setdefault(session, []).append(answer)
        # A replaced session gets its error before its successor is acknowledged.
        for session, goodbye in outcome.replaced:
            self._finish(session, "replaced by a newer logon", frames.pop(session, []), goodbye)
        for session, goodbye, _ in outcome.without_token:
            self._finish(session, "no logon with the token", frames.pop(session, []), goodbye)
        for session, answers in frames.items():
            if session in self._connections:
                connection = self._connections[session]
                connection.send(b"".join(answers))
                if connection.open and not connection.queued_bytes:
                    self._on_drained(session)

    def _finish(self, session: Session, reason: str, answers: list[bytes], goodbye: bytes) -> None:
        """Send a client its last frames, and close its connection."""
        if session in self._connections:
            self._connections[session].finish(reason, *answers, goodbye)

    def _log_result(self, outcome: CommitResult) -> None:
        lines = outcome.confirmations
        for begin in range(0, len(lines), LINES_A_WRITE):
            self._out.write("".join(lines[begin : begin + LINES_A_WRITE]).encode())
        for event in outcome.events:
            if isinstance(event, ClientLoggedOn):
                self._client_log.logged_on(event)
            else:
                log_event(self._log, event)
        for session, reason in outcome.malformed:
            self._client_log.count(MalformedMessages, peer=session.peer, reason=reason)
        for session, _, reason in outcome.without_token:
            self._client_log.count(ClientsWithoutToken, peer=session.peer, reason=reason)
        if outcome.failure:
            self._ledger_watch.failed(outcome.failure)
            for session, order_id in outcome.failed:
                self._client_log.count(
                    OrdersNotBooked,
                    client_id=session.client_id,
                    peer=session.peer,
                    order_id=order_id,
                )
        elif outcome.booked:
            self._ledger_watch.works()

    def _why_evict(self, session: Session, connection: Connection) -> str:
        """Return why a client makes room; "" if it stays.

        A client whose data has arrived is not idle: unprocessed input may be an order.
        """
        if (
            session.silent
            and not connection.paused
            and self._clock() - connection.opened_ns >= HEARD_NS
            and not connection.has_input()
        ):
            return "made room: neither logon nor order"
        return ""

    def _on_data(self, session: Session, data: bytes) -> None:
        self._connections[session].paused = True  # until this is processed
        self._arrived.append((session, data))

    def _on_drained(self, session: Session) -> None:
        """Close the connection of a half-closed client that has all its answers."""
        if not self._connections[session].half_closed or self._desk.ended(session):
            return
        if not self._desk.owes_answer(session):
            self._connections[session].close("closed by peer")

    def _on_closed(self, session: Session) -> None:
        self._count_undelimited(session, has_ended=True)
        self._desk.closed(session, self._clock())


def _why_drop(_session: Session, connection: Connection, now_ns: int) -> str:
    return "does not close" if connection.lingers_too_long(now_ns) else ""


class LatestPrices:
    """The latest prices for price collar and loss limit: each symbol is read at most once a pass.

    Without a price an order is rejected, and the result of `get` says why. Only an order manager
    that starts where there is neither a price book nor an orderbook does without prices, until
    there is a price book; it logs that.
    """

    def __init__(self, settings: Settings, now_ns: int) -> None:
        self._log = structlog.get_logger()
        self._book_name = settings.price_book.name
        self._own_book = RolePriceBook(self._book_name)
        self._prices: dict[str, int | str | None] = {}
        self._is_needed = True
        self.begin_pass(now_ns)
        is_there = self._own_book.book is not None or self._own_book.problem
        weaker = _weaker_without_prices(settings.risk)
        if weaker and not is_there and (why := _why_no_orderbook()):
            self._is_needed = False
            reason = f"{why}; until there is a price book, {weaker}"
            log_event(self._log, NoPriceCollar(price_book=self._book_name, reason=reason))

    def begin_pass(self, now_ns: int) -> None:
        """Forget the prices of the last pass; find the price book if it is a new one, or lost."""
        self._prices.clear()
        own_book = self._own_book
        if own_book.book is not None and (own_book.book.retired or own_book.book.loss()):
            own_book.let_go()
        if own_book.book is None:
            own_book.next_look_ns = now_ns  # a client may have found it since the last look
            if own_book.look(now_ns) is not None:
                self._is_needed = True
                log_event(self._log, PriceCollarAttached(price_book=self._book_name))

    def get(self, symbol: str) -> int | str | None:
        """Return the latest price in fixed point, or why there is none; None if none is needed."""
        if symbol not in self._prices:
            self._prices[symbol] = self._look_up(symbol)
        return self._prices[symbol]

    def _look_up(self, symbol: str) -> int | str | None:
        book = self._own_book.book
        if book is None:
            return (self._own_book.problem or "there is no price book") if self._is_needed else None
        if symbol not in book.symbols:
            return f"the price book has no symbol {symbol}"
        try:
            tick = book.latest(symbol)
        except PriceBookError as error:
            self._own_book.damaged(error)
            return str(error)
        return tick.price if tick else f"{symbol} has had no tick"


def _weaker_without_prices(risk: RiskSettings) -> str:
    """Return what the limits that need a price do without one; "" if there is no such limit."""
    weaker = []
    if risk.price_collar_percent:
        weaker.append("price_collar_percent is not checked")
    if risk.max_loss:
        weaker.append("max_loss counts what is held at its cost")
    return " and ".join(weaker)


def _why_no_orderbook() -> str:
    """Return why this stack has no orderbook; "" if it has one, or if that cannot be known."""
    if not is_supervised():
        return "this order manager was started by hand"
    socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
    if socket_path is None:
        return ""
    try:
        programs = {process.program for process in Supervisor(socket_path).processes()}
    except (SupervisorSilentError, SupervisorEndingError):
        return ""
    return "" if ORDERBOOK in programs else f"supervisord has no program {ORDERBOOK}"


def make_order_manager(settings: Settings, loop: EventLoop) -> Role:
    """Return the role: in a cluster one that can stand by."""
    if settings.cluster is None:
        return OrderManager(settings, loop)
    from lib.cluster.connection import connect
    from lib.cluster.order_host import OrderHost
    from lib.cluster.streams import LEDGER

    return OrderHost(settings, loop, OrderManager, partial(connect, streams=(LEDGER,), makes=True))


if __name__ == "__main__":
    run_role("order_manager", make_order_manager)
