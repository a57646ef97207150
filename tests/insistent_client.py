"""A client of order entry that sends numbered orders as fast as they are answered, whatever dies.

It checks everything it receives: each answer follows from the earlier orders and is the same each
time; each logon acknowledges exactly what was booked. It shares no code with `lib`.

After a reconnection it resends, unchanged, the unanswered orders and some answered ones. Now and
then it *restarts*: it forgets the unanswered orders and continues from the logon acknowledgement
with other orders under the free order_ids. Its old connection may still be open then, and even send
until the new one is acknowledged: an order that was not read by then must never be booked.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from tests.clients import HOST
from tests.helpers import DEADLINE_S

SYMBOLS = ("AAPL", "MSFT", "GOOG")
UNKNOWN_SYMBOL = "NONE"
UNKNOWN_SHARE = 0.05
MAX_WINDOW = 150
"""The most unanswered orders; the actual limit differs from connection to connection."""
MAX_REPEATED = 20
"""The most answered orders that are sent again after a reconnection."""
RESTART_SHARE = 0.1
"""The probability of a restart each time that something was received."""
QUEUE = 1_000_000
"""The most bytes that one receive returns."""


class Order(NamedTuple):
    """An order that was sent, and what has to come of it."""

    client_id: str
    order_id: int
    symbol: str
    side: str
    quantity: int
    price: str
    """Two decimals, the last one not zero, so that the text is the same everywhere."""
    position: int
    """The position in its symbol before it."""
    sent_ns: int
    held: tuple[int, ...]
    """The positions in all SYMBOLS after it."""

    @property
    def status(self) -> str:
        return "FILLED" if self.symbol in SYMBOLS else "REJECTED"

    @property
    def reason(self) -> str | None:
        return None if self.symbol in SYMBOLS else f"unknown symbol {self.symbol}"

    @property
    def signed_quantity(self) -> int:
        """The change of the position: 0 if it is rejected."""
        if self.symbol not in SYMBOLS:
            return 0
        return self.quantity if self.side == "BUY" else -self.quantity

    @property
    def position_after(self) -> int:
        return self.position + self.signed_quantity

    @property
    def frame(self) -> bytes:
        return (
            f'{{"type":"order","order_id":{self.order_id},"symbol":"{self.symbol}",'
            f'"side":"{self.side}","quantity":{self.quantity},"price":{self.price},'
            f'"position":{self.position},"sent_ns":{self.sent_ns}}}*'
        ).encode()

    def report(self, trade_id: int | None) -> dict[str, Any]:
        """The execution report that it has to be answered with."""
        report = {
            "type": "execution_report", "client_id": self.client_id, "order_id": self.order_id,
            "status": self.status, "symbol": self.symbol, "side": self.side,
            "quantity": self.quantity, "price": float(self.price), "position": self.position_after,
        }  # fmt: skip
        if self.reason:
            return report | {"reason": self.reason}
        return report | {"trade_id": trade_id}


class FirstAnswer(NamedTuple):
    """The first answer to an order."""

    order: Order
    trade_id: int | None
    frame: bytes


class Line:
    """One connection, as long as anything may arrive on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.logged_on = False
        self.report_count = 0
        """Execution reports that have arrived on it."""
        self.awaited: deque[Order] = deque()
        """Orders whose report must still arrive."""
        self.tail = b""

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, data: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # receive() will see it
            self.sock.sendall(data)

    def send_orders(self, orders: list[Order]) -> None:
        self.awaited += orders
        self.send(b"".join(order.frame for order in orders))

    def receive(self) -> list[bytes] | None:
        """The complete frames that have arrived; None at the end of the connection."""
        try:
            data = self.sock.recv(QUEUE)
        except ConnectionResetError:
            return None
        if not data:
            return None
        *frames, self.tail = (self.tail + data).split(b"*")
        return frames


class InsistentClient:
    """Only handles sockets that are ready, never blocks. Its prices begin at `base_price`."""

    def __init__(self, client_id: str, port: int, base_price: int, random: Random) -> None:
        self.client_id = client_id
        self.orders: list[Order] = []
        """The orders that it regards as sent, by order_id from 1 on."""
        self.answered = 0
        """The orders up to this order_id need not be sent again."""
        self.first_answers: dict[int, FirstAnswer] = {}
        self.repeated = 0
        """Answers that repeated an earlier one."""
        self.restarts = 0
        self.forgotten = 0
        """Orders that were unanswered at a restart, and turned out not to be booked."""
        self.stopping = False
        """Whether to send no new orders."""
        self.line: Line | None = None
        self.old_lines: list[Line] = []
        self._port = port
        self._base_price = base_price
        self._random = random
        self._restarted = False
        self._window = 0

    def connect(self) -> None:
        """Connect if there is no connection and the server listens."""
        if self.line is None:
            sock = socket.socket()
            sock.settimeout(DEADLINE_S)
            try:
                sock.connect((HOST, self._port))
            except (ConnectionRefusedError, ConnectionResetError):
                sock.close()
                return
            self.line = Line(sock)
            self.line.send(f'{{"type":"logon","client_id":"{self.client_id}"}}*'.encode())

    def lines(self) -> list[Line]:
        return [*self.old_lines, *([self.line] if self.line else [])]

    def on_readable(self, line: Line) -> None:
        """Handle what has arrived, and send the orders that may be sent then."""
        frames = line.receive()
        if frames is None:
            self._end(line)
            return
        for frame in frames:
            self._on_frame(line, frame)
        if self.stopping or not line.logged_on:
            return
        if line is self.line and self._random.random() < RESTART_SHARE:
            self._restart()
        elif line is self.line or self._restarted:
            line.send_orders(list(self._decide()))

    @property
    def at_rest(self) -> bool:
        """Whether all that it has sent is answered."""
        return (
            not self.old_lines
            and self.line is not None
            and self.line.logged_on
            and not self.line.awaited
        )

    def close(self) -> None:
        for line in self.lines():
            line.sock.close()

    def _end(self, line: Line) -> None:
        line.sock.close()
        if line is self.line:
            self.line = None
        else:
            self.old_lines.remove(line)

    def _restart(self) -> None:
        assert self.line
        self.restarts += 1
        self._restarted = True
        old, self.line = self.line, None
        self.connect()
        if self._random.random() < 0.5:
            old.sock.close()
        else:
            self.old_lines.append(old)
            old.send_orders(list(self._decide()))

    def _on_frame(self, line: Line, frame: bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "execution_report":
            self._on_report(line, message, frame)
        elif message["type"] == "logon_ack":
            assert line is self.line
            self._on_ack(line, message)
        else:
            assert line is not self.line, f"{self.client_id} got {message}"
            assert "replaced" in message["reason"], message

    def _on_report(self, line: Line, report: dict[str, Any], frame: bytes) -> None:
        order = line.awaited.popleft()
        trade_id = report.get("trade_id")
        expected = order.report(trade_id)
        assert report == expected, f"{self.client_id} got {report} and not {expected}"
        assert (trade_id is not None) == (order.status == "FILLED"), report
        answer = FirstAnswer(order, trade_id, frame)
        first = self.first_answers.setdefault(order.order_id, answer)
        assert first == answer, f"{self.client_id} got {answer} and before {first}"
        self.repeated += first is not answer
        self.answered = max(self.answered, order.order_id)
        line.report_count += 1

    def _on_ack(self, line: Line, ack: dict[str, Any]) -> None:
        booked = ack["last_order_id"]
        assert self.answered <= booked <= len(self.orders), (
            f"{self.client_id} got {ack}, has sent {len(self.orders)} orders "
            f"and had {self.answered} answered"
        )
        held = zip(SYMBOLS, self._held(booked), strict=True)
        positions = {symbol: quantity for symbol, quantity in held if quantity}
        assert ack["positions"] == positions, f"{self.client_id} got {ack}, not {positions}"
        if self._restarted:
            self._restarted = False
            self.forgotten += len(self.orders) - booked
            del self.orders[booked:]
            self.answered = booked
        line.logged_on = True
        self._window = self._random.randint(1, MAX_WINDOW)
        first = max(0, self.answered - self._random.randint(0, MAX_REPEATED))
        line.send_orders(self.orders[first:])

    def _held(self, order_id: int) -> tuple[int, ...]:
        """The positions after this order."""
        return self.orders[order_id - 1].held if order_id else (0,) * len(SYMBOLS)

    def _decide(self) -> Iterator[Order]:
        """Yield new orders, as many as may be unanswered."""
        random = self._random
        while len(self.orders) - self.answered < self._window:
            order_id = len(self.orders) + 1
            held = list(self._held(order_id - 1))
            side = random.choice(("BUY", "SELL"))
            quantity = random.randint(1, 1000)
            symbol, position = UNKNOWN_SYMBOL, 0
            if random.random() >= UNKNOWN_SHARE:
                chosen = random.randrange(len(SYMBOLS))
                symbol, position = SYMBOLS[chosen], held[chosen]
                held[chosen] += quantity if side == "BUY" else -quantity
            price = self._base_price + random.randrange(1000)
            order = Order(
                self.client_id, order_id, symbol, side, quantity,
                f"{price}.{random.randint(0, 9)}{random.randint(1, 9)}", position,
                time.monotonic_ns(), tuple(held),
            )  # fmt: skip
            self.orders.append(order)
            yield order
