"""Connections that send inputs, many at a time, and read what comes.

Most end so that the server must have read everything: it has to end them in time. The others end at
once, and what the server has not read by then it never reads.
"""

from __future__ import annotations

import math
import selectors
import socket
import time
from collections import deque
from itertools import accumulate
from random import Random
from typing import NamedTuple

from lib.wire.framing import MESSAGE_DELIMITER
from tests.clients import HOST
from tests.fuzz.inputs import HTTP, NEWS, ORDERS, PRICE, inputs_of
from tests.fuzz.reached import reached, reached_by_orders

AT_A_TIME = 32
"""How many connections a sender has at a time: fewer than any server takes."""
HANG_S = 60.0
"""How long a connection may take to be accepted, read and ended."""
LISTEN_S = 0.5
"""How long a connection to the dashboard is listened to: an answer may be endless."""
LOOK_S = 0.05
RUDE_SHARE = 0.1
"""How many of the connections end at once, without listening."""
LAST_WORDS = {PRICE: b"*end*", NEWS: b"*end*"}
"""What ends a connection to a stream in any state: it is no HELLO. It counts as no input."""
RECEIVE_BYTES = 1 << 18
MAX_SPLIT_BYTES = 4096
"""Only the first bytes of a connection are sent in pieces."""
SPLIT_SHARE = 0.1
"""How many of the connections send in many small pieces."""


class Sent(NamedTuple):
    """What became of a range of connections."""

    inputs: int
    """Those that were sent whole."""
    reached: int
    """Those of them that the server has looked at, for certain."""
    connections: int
    sent_bytes: int
    received_bytes: int
    ended_by_server: int
    """How many connections the server has ended."""
    hung: tuple[int, ...]
    """The connections that were not accepted, read and ended within `HANG_S`."""


class _Connection:
    """One connection, by its number."""

    def __init__(self, port_kind: str, port: int, number: int, seed: int) -> None:
        self.number = number
        self._port_kind = port_kind
        self.inputs = inputs_of(port_kind, number, seed)
        random = Random(f"{seed} {port_kind} {number} end")
        self._is_rude = random.random() < RUDE_SHARE
        data = b"".join(self.inputs) + (b"" if self._is_rude else LAST_WORDS.get(port_kind, b""))
        step = random.randrange(1, 64) if random.random() < SPLIT_SHARE else MAX_SPLIT_BYTES
        self._pieces = deque(
            data[at : at + step] for at in range(0, min(len(data), MAX_SPLIT_BYTES), step)
        )
        self._pieces.append(data[MAX_SPLIT_BYTES:])
        self._listen_s = LISTEN_S if port_kind == HTTP else math.inf
        self.sent_bytes = self.received_bytes = self._answers = 0
        self.is_over = False
        self.ended_by_server = False
        self._began_s = time.monotonic()
        self._sent_all_s = math.inf
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex((HOST, port))

    def on_event(self, events: int) -> None:
        """Receive and send what goes."""
        try:
            if events & selectors.EVENT_READ:
                data = self.sock.recv(RECEIVE_BYTES)
                self.received_bytes += len(data)
                self._answers += data.count(MESSAGE_DELIMITER)
                self.ended_by_server = not data
            if events & selectors.EVENT_WRITE:
                self._send()
        except BlockingIOError:
            pass
        except OSError:  # refused, or reset
            self.ended_by_server = True
        self.is_over = self.is_over or self.ended_by_server

    def _send(self) -> None:
        if self._pieces[0]:
            count = self.sock.send(self._pieces[0])
            self.sent_bytes += count
            self._pieces[0] = self._pieces[0][count:]
        if not self._pieces[0]:
            self._pieces.popleft()
        if not self._pieces:
            self._sent_all_s = time.monotonic()
            self.is_over = self._is_rude
            self.sock.shutdown(socket.SHUT_WR)

    def on_time(self, now_s: float) -> None:
        """End it if it has been listened to for long enough."""
        self.is_over = self.is_over or self.hangs(now_s)
        self.is_over = self.is_over or now_s > self._sent_all_s + self._listen_s

    def hangs(self, now_s: float) -> bool:
        """Whether the server takes too long to read it, or to end it."""
        return not self.ended_by_server and now_s > self._began_s + HANG_S

    @property
    def sent_inputs(self) -> int:
        """How many of the inputs the kernel has taken whole."""
        return sum(end <= self.sent_bytes for end in accumulate(map(len, self.inputs)))

    @property
    def reached_inputs(self) -> int:
        """How many of them the server has looked at.

        That it has is known by its answer, or because it has ended the connection.
        """
        if self._port_kind == ORDERS:
            return min(self.sent_inputs, reached_by_orders(self.inputs, self._answers))
        is_answered = self._port_kind == HTTP and self.received_bytes > 0
        if not (self.ended_by_server or is_answered):
            return 0
        return min(self.sent_inputs, reached(self._port_kind, self.inputs))

    @property
    def has_sent_all(self) -> bool:
        """Whether there is nothing left to send."""
        return not self._pieces


def send(port_kind: str, port: int, numbers: range, seed: int) -> Sent:
    """Make the connections of these numbers, `AT_A_TIME` at a time; return when all are over."""
    waiting = deque(numbers)
    over: list[_Connection] = []
    hung = []
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < AT_A_TIME:
                connection = _Connection(port_kind, port, waiting.popleft(), seed)
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                selector.register(connection.sock, both, connection)
            _look(selector)
            now_s = time.monotonic()
            for key in list(selector.get_map().values()):
                connection = key.data
                connection.on_time(now_s)
                if connection.is_over:
                    selector.unregister(connection.sock)
                    connection.sock.close()
                    over.append(connection)
                    if connection.hangs(now_s):
                        hung.append(connection.number)
                        waiting.clear()  # one is enough
    return Sent(
        sum(one.sent_inputs for one in over),
        sum(one.reached_inputs for one in over),
        len(over),
        sum(one.sent_bytes for one in over),
        sum(one.received_bytes for one in over),
        sum(one.ended_by_server for one in over),
        tuple(hung),
    )


def _look(selector: selectors.BaseSelector) -> None:
    for key, events in selector.select(LOOK_S):
        key.data.on_event(events)
        if key.data.has_sent_all:  # it is always writable: do not spin on it
            selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
