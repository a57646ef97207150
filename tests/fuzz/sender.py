"""Connections that send inputs, many at a time, read what comes, and end in different ways."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import NamedTuple

from tests.clients import HOST
from tests.fuzz.inputs import inputs_of

AT_A_TIME = 32
"""How many connections a sender has at a time: fewer than any server takes."""
SEND_S = 20.0
"""How long a connection may take to be accepted and to take what is sent."""
LISTEN_S = 0.05
"""How long some connections go on to listen after that."""
RECEIVE_BYTES = 1 << 18
SPLIT_SHARE = 0.1
"""How many of the connections send in many small pieces."""


class Sent(NamedTuple):
    """What became of a range of connections."""

    inputs: int
    connections: int
    sent_bytes: int
    received_bytes: int
    ended_by_server: int
    """How many connections the server has ended."""
    hung: tuple[int, ...]
    """The connections that could not be made, or took nothing, for `SEND_S`."""


class _Connection:
    """One connection, by its number."""

    def __init__(self, port_kind: str, port: int, number: int, seed: int) -> None:
        self.number = number
        self.inputs = inputs_of(port_kind, number, seed)
        data = b"".join(self.inputs)
        random = Random(f"{seed} {port_kind} {number} end")
        step = random.randrange(1, 64) if random.random() < SPLIT_SHARE else len(data)
        self._pieces = [data[at : at + step] for at in range(0, min(len(data), 4096), step)]
        self._pieces += [data[4096:]] if step < len(data) and len(data) > 4096 else []
        self._may_listen = random.random() < 0.5
        self._may_half_close = random.random() < 0.5
        self.sent_bytes = self.received_bytes = 0
        self.ended_by_server = False
        self.began_s = time.monotonic()
        self._listen_until_s = 0.0
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex((HOST, port))

    def on_event(self, events: int) -> bool:
        """Send and receive what goes; return whether the connection is over."""
        try:
            if events & selectors.EVENT_READ:
                data = self.sock.recv(RECEIVE_BYTES)
                self.received_bytes += len(data)
                self.ended_by_server = not data
            if events & selectors.EVENT_WRITE and self._pieces:
                count = self.sock.send(self._pieces[0])
                self.sent_bytes += count
                self._pieces[0] = self._pieces[0][count:]
                if not self._pieces[0]:
                    del self._pieces[0]
                if not self._pieces:
                    self._has_sent_all()
        except BlockingIOError:
            return False
        except OSError:  # refused, or reset: what was sent is no less sent
            self.ended_by_server = True
        return self.ended_by_server or self.is_over

    def _has_sent_all(self) -> None:
        self._listen_until_s = time.monotonic() + (LISTEN_S if self._may_listen else 0)
        if self._may_listen and self._may_half_close:
            self.sock.shutdown(socket.SHUT_WR)

    @property
    def sent_inputs(self) -> int:
        """How many of the inputs the kernel has taken whole."""
        return sum(end <= self.sent_bytes for end in accumulate(map(len, self.inputs)))

    @property
    def has_sent_all(self) -> bool:
        return not self._pieces

    @property
    def is_over(self) -> bool:
        return self.has_sent_all and time.monotonic() >= self._listen_until_s

    @property
    def hangs(self) -> bool:
        return not self.has_sent_all and time.monotonic() > self.began_s + SEND_S


def send(port_kind: str, port: int, numbers: range, seed: int) -> Sent:
    """Make the connections of these numbers, `AT_A_TIME` at a time; return when all are over."""
    waiting = iter(numbers)
    counts = [0] * 5
    hung = []
    with selectors.DefaultSelector() as selector:
        for number in waiting:
            _add(selector, _Connection(port_kind, port, number, seed))
            if len(selector.get_map()) >= AT_A_TIME:
                break
        while selector.get_map():
            for connection in _over(selector):
                selector.unregister(connection.sock)
                connection.sock.close()
                if connection.hangs:
                    hung.append(connection.number)
                counts[0] += connection.sent_inputs
                counts[1] += 1
                counts[2] += connection.sent_bytes
                counts[3] += connection.received_bytes
                counts[4] += connection.ended_by_server
                for number in waiting:
                    _add(selector, _Connection(port_kind, port, number, seed))
                    break
    inputs, connections, sent_bytes, received_bytes, ended_by_server = counts
    return Sent(inputs, connections, sent_bytes, received_bytes, ended_by_server, tuple(hung))


def _add(selector: selectors.BaseSelector, connection: _Connection) -> None:
    selector.register(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)


def _over(selector: selectors.BaseSelector) -> Iterator[_Connection]:
    """Yield the connections that are over, after a look at all of them."""
    over = {}
    for key, events in selector.select(LISTEN_S):
        if key.data.on_event(events):
            over[key.data.number] = key.data
        elif key.data.has_sent_all:  # it is always writable: do not spin on it
            selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
    for key in selector.get_map().values():
        if key.data.is_over or key.data.hangs:
            over[key.data.number] = key.data
    yield from over.values()
