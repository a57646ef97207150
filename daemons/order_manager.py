"""OrderManager: takes orders from any number of clients, books, answers and prints them.

What it decides is `lib.order_desk`'s. Here is the order in which things happen: all that has
arrived is taken, committed as one, answered, and only then printed and logged.
"""

from __future__ import annotations

import socket
import sys
import time
from functools import partial
from typing import Final

import structlog

from lib.clock import SECOND_NS
from lib.connection import Connection
from lib.event_loop import EventLoop
from lib.framing import MessageTooLongError
from lib.ledger import Ledger
from lib.logs import BoundedWriter
from lib.order_desk import OrderDesk, Outcome, Session
from lib.role import run_role
from lib.server import Server
from lib.settings import Settings
from lib.tally import Tally

MAX_CLIENTS: Final = 512
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""A client that does not read its answers is disconnected when this much waits for it."""
SWEEP_NS: Final = SECOND_NS // 4
"""How often to look for connections that take too long to say goodbye."""


class OrderManager:
    """The role: one server, one desk."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        self._out = BoundedWriter(sys.stdout)
        self._desk = OrderDesk(settings.symbols, Ledger())
        self._connections: dict[Session, Connection] = {}
        """In the order of their coming."""
        self._tally = Tally(stream="orders")
        self._sweep_ns: int | None = None
        manager = settings.order_manager
        Server(loop, manager.host, manager.port, "order_manager.port", self._on_accept)
        for timed in (self._out, self._tally, self):
            loop.add_timed(timed)
        self._log.info("listening", stream="orders", host=manager.host, port=manager.port)

    def step(self) -> None:
        """One pass: take all that has arrived, make it final, say so."""
        self._loop.poll()
        outcome = self._desk.commit()
        self._answer(outcome)
        self._tell(outcome)

    def close(self) -> None:
        """Let the last confirmations and counts out."""
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
        for line in outcome.confirmations:
            self._out.write(line.encode())
        for event, facts in outcome.events:
            if event == "order_rejected":
                self._log.warning(event, **facts)
            else:
                self._log.info(event, **facts)
        for session, reason in outcome.malformed:
            self._tally.add(
                "malformed_frames", time.monotonic_ns(), [{"peer": session.peer, "reason": reason}]
            )

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
            on_data=partial(self._on_data, session),
            on_closed=partial(self._on_closed, session),
        )
        self._log.info("client_connected", peer=peer, clients=len(self._connections))

    def _drop_oldest_silent(self) -> bool:
        """Make room by disconnecting who has been idle the longest. False if nobody was."""
        for session, connection in self._connections.items():
            if session.silent:
                connection.close("made room: neither logon nor order")
                return True
        return False

    def _on_data(self, session: Session, data: bytes) -> None:
        try:
            self._desk.receive(session, data)
        except MessageTooLongError as error:
            self._log.warning("protocol_error", peer=session.peer, reason=str(error))
            self._connections[session].close(f"protocol error: {error}")

    def _on_closed(self, session: Session, reason: str) -> None:
        del self._connections[session]
        self._desk.closed(session)
        self._log.info(
            "client_disconnected",
            peer=session.peer,
            client_id=session.client_id,
            reason=reason,
            clients=len(self._connections),
        )


if __name__ == "__main__":
    run_role("order_manager", OrderManager)
