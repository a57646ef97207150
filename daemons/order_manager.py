"""OrderManager: takes orders from any number of clients, books, answers and prints them.

What it decides is `lib.order_desk`'s. Here is the order in which things happen: all that has
arrived is taken, under one look at the clock and at the halt switch; committed as one; answered;
and only then printed and logged.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from functools import partial
from typing import Final

import structlog

from lib.clock import SECOND_NS, to_ns, utc_stamp
from lib.connection import Connection
from lib.errors import CannotStartError
from lib.event_loop import EventLoop
from lib.framing import MessageTooLongError
from lib.ledger.schema import ForeignLedgerError, LedgerError
from lib.ledger.writer import Ledger
from lib.logs import BoundedWriter
from lib.order_desk import OrderDesk, Outcome, Receipt, Session
from lib.risk import HALT_FILE, Risk
from lib.role import run_role
from lib.server import Server
from lib.settings import Settings
from lib.shared_memory_utils import PriceBookError, SharedPriceBook
from lib.tally import Tally

MAX_CLIENTS: Final = 512
RECEIVE_BYTES: Final = 16 * 1024
"""Taken of one client in one pass, some 130 orders: so nobody waits long for the others."""
MAX_COMMIT_BYTES: Final = 256 * 1024
"""Messages of one transaction, some 2,000 orders: so a halt takes effect soon."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""A client that does not read its answers is disconnected when this much waits for it."""
SWEEP_NS: Final = SECOND_NS // 4
"""How often to look for connections that take too long to say goodbye."""
LINES_A_WRITE: Final = 64
"""Confirmations that are printed with one system call."""
ATTACH_RETRY_NS: Final = SECOND_NS // 4
"""How often to look for a price book while there is none."""


class OrderManager:
    """The role: one server, one desk."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._out = BoundedWriter(sys.stdout)
        self._halt_file = settings.var_dir / HALT_FILE
        self._halted = False
        self._latest_prices = LatestPrices(settings.price_book.name)
        ttl_ns = to_ns(settings.order_manager.order_ttl)
        risk = Risk(settings.risk, ttl_ns, settings.symbols, self._latest_prices.get)
        self._ledger = Ledger(settings.var_dir / settings.order_manager.ledger)
        self._ledger_failure: str | None = None
        self._desk = OrderDesk(self._ledger, risk)
        self._connections: dict[Session, Connection] = {}
        """In the order of their coming."""
        self._arrived: deque[tuple[Session, bytes]] = deque()
        self._tally = Tally(stream="orders")
        self._sweep_ns: int | None = None
        try:
            self._ledger.open()
        except ForeignLedgerError as error:
            raise CannotStartError(str(error)) from None
        except LedgerError as error:
            # It is tried again with each order; until then orders are answered with this reason.
            self._tell_failure(str(error))
        manager = settings.order_manager
        Server(loop, manager.host, manager.port, "order_manager.port", self._on_accept)
        for timed in (self._out, self._tally, self):
            loop.add_timed(timed)
        self._log.info("listening", stream="orders", host=manager.host, port=manager.port)

    def step(self) -> None:
        """One pass: take all that has arrived, make it final, say so (much of it in parts)."""
        self._loop.poll()
        while True:
            self._look_for_halt()
            self._take_arrived()
            outcome = self._desk.commit()
            self._answer(outcome)
            self._tell(outcome)
            if not self._arrived:
                break

    def close(self) -> None:
        """Close the ledger, let the last confirmations and counts out."""
        self._ledger.close()
        self._tally.on_time(time.monotonic_ns())
        self._out.flush_at_end()

    def next_deadline_ns(self) -> int | None:
        """When to look after connections that are closing."""
        return self._sweep_ns

    def on_time(self, now_ns: int) -> None:
        """End those that take too long to say goodbye."""
        for connection in list(self._connections.values()):
            if connection.lingers_too_long(now_ns):
                connection.close("does not close")
        closing = any(connection.finishing for connection in self._connections.values())
        self._sweep_ns = now_ns + SWEEP_NS if closing else None

    def _look_for_halt(self) -> None:
        halted = os.path.lexists(self._halt_file)
        if halted != self._halted:
            self._halted = halted
            self._log.warning("trading_halted" if halted else "trading_resumed")

    def _take_arrived(self) -> None:
        """Give the desk what has arrived, in order, up to the bound of a transaction."""
        if not self._arrived:
            return
        receipt = Receipt(time.monotonic_ns(), time.time_ns(), utc_stamp(), self._halted)
        self._latest_prices.begin_pass(receipt.now_ns)
        taken_bytes = 0
        while self._arrived and taken_bytes < MAX_COMMIT_BYTES:
            session, data = self._arrived.popleft()
            taken_bytes += len(data)
            if session not in self._connections:
                continue  # closed in this very pass, and nobody is there to be answered
            try:
                self._desk.receive(session, data, receipt)
            except MessageTooLongError as error:
                self._log.warning("protocol_error", peer=session.peer, reason=str(error))
                self._connections[session].close(f"protocol error: {error}")

    def _answer(self, outcome: Outcome) -> None:
        frames: dict[Session, list[bytes]] = {}
        for session, answer in outcome.answers:
            frames.setdefault(session, []).append(answer)
        # A session that was replaced hears so before its successor is acknowledged.
        for session, goodbye in outcome.replaced:
            if session in self._connections:
                last = (*frames.pop(session, ()), goodbye)
                self._connections[session].finish("replaced by a newer logon", *last)
                self._sweep_ns = self._sweep_ns or time.monotonic_ns() + SWEEP_NS
        for session, answers in frames.items():
            if session in self._connections:
                self._connections[session].send(b"".join(answers))

    def _tell(self, outcome: Outcome) -> None:
        lines = outcome.confirmations
        for begin in range(0, len(lines), LINES_A_WRITE):
            self._out.write("".join(lines[begin : begin + LINES_A_WRITE]).encode())
        for event, facts in outcome.events:
            if event == "order_rejected":
                self._log.warning(event, **facts)
            else:
                self._log.info(event, **facts)
        for session, reason in outcome.malformed:
            self._tally.add(
                "malformed_frames", time.monotonic_ns(), [{"peer": session.peer, "reason": reason}]
            )
        if outcome.failure:
            self._tell_failure(outcome.failure)
            if outcome.failed:
                self._tally.add(
                    "orders_not_booked",
                    time.monotonic_ns(),
                    [
                        {"client_id": session.client_id, "peer": session.peer, "order_id": order_id}
                        for session, order_id in outcome.failed
                    ],
                )
        elif outcome.booked and self._ledger_failure:
            self._ledger_failure = None
            self._log.warning("ledger_recovered", ledger=str(self._ledger.path))

    def _tell_failure(self, reason: str) -> None:
        """Log why orders are not booked, once until that changes."""
        if reason != self._ledger_failure:
            self._ledger_failure = reason
            self._log.error("ledger_failed", reason=reason)

    def _on_accept(self, sock: socket.socket, peer: str) -> None:
        if len(self._connections) >= MAX_CLIENTS and not self._drop_oldest_silent():
            sock.close()
            self._log.warning("client_refused", peer=peer, reason=f"{MAX_CLIENTS} clients already")
            return
        session = Session(peer)
        self._connections[session] = Connection(
            self._loop,
            sock,
            max_queued_bytes=MAX_QUEUED_BYTES,
            receive_bytes=RECEIVE_BYTES,
            on_data=partial(self._on_data, session),
            on_closed=partial(self._on_closed, session),
        )
        self._log.info("client_connected", peer=peer, clients=len(self._connections))

    def _drop_oldest_silent(self) -> bool:
        """Make room by disconnecting who came first and has said nothing. False if nobody is so."""
        for session, connection in self._connections.items():
            if session.silent:
                connection.close("made room: neither logon nor order")
                return True
        return False

    def _on_data(self, session: Session, data: bytes) -> None:
        self._arrived.append((session, data))

    def _on_closed(self, session: Session, reason: str) -> None:
        del self._connections[session]
        self._desk.closed(session, time.monotonic_ns())
        self._log.info(
            "client_disconnected",
            peer=session.peer,
            client_id=session.client_id,
            reason=reason,
            clients=len(self._connections),
        )


class LatestPrices:
    """The price book as the price collar sees it: looked at once a symbol a pass."""

    def __init__(self, book_name: str) -> None:
        self._log = structlog.get_logger().bind(price_book=book_name)
        self._book_name = book_name
        self._book: SharedPriceBook | None = None
        self._next_look_ns = 0
        self._told_unusable = ""
        self._prices: dict[str, int | None] = {}

    def begin_pass(self, now_ns: int) -> None:
        """Forget the prices of the last pass; look for a price book while there is none."""
        self._prices.clear()
        if self._book is not None and self._book.retired:
            self._book.close()
            self._book = None
            self._log.info("detached")
        if self._book is None and now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + ATTACH_RETRY_NS
            self._attach()

    def get(self, symbol: str) -> int | None:
        """Return the latest price in fixed point; None if there is none, or no price book."""
        if symbol not in self._prices:
            self._prices[symbol] = self._look_up(symbol)
        return self._prices[symbol]

    def _attach(self) -> None:
        try:
            self._book = SharedPriceBook.attach(self._book_name)
        except FileNotFoundError:
            return
        except PriceBookError as error:
            self._tell_unusable(str(error))
            return
        self._told_unusable = ""
        self._log.info("attached")

    def _look_up(self, symbol: str) -> int | None:
        if self._book is None or symbol not in self._book.symbols:
            return None
        try:
            tick = self._book.latest(symbol)
        except PriceBookError as error:
            self._tell_unusable(str(error))
            return None
        return tick.price if tick else None

    def _tell_unusable(self, reason: str) -> None:
        if reason != self._told_unusable:
            self._told_unusable = reason
            self._log.warning("price_book_unusable", reason=reason)


if __name__ == "__main__":
    run_role("order_manager", OrderManager)
