"""Blocking peers for tests, as a user could write them in an afternoon from the protocol page.

They are the ground truth of the integration tests, so they share no code with `lib`. Every wait
has the deadline of `tests.helpers`; every violation of the protocol is an AssertionError.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple, Self

from tests.helpers import DEADLINE_S

HOST = "127.0.0.1"

NOISE = {
    "binary noise": Random(5).randbytes(100_000),
    "a megabyte without a delimiter": b"A" * 1_000_000,
    "deeply nested lists": b"[" * 60_000 + b"*",
    "deeply nested objects": b'{"type":' * 8000 + b"*",
    "bad UTF-8": b'{"type":"\xff\xfe\xc0"}*',
    "a number of 5,000 digits": b"9" * 5000 + b"*",
    "empty frames": b"*" * 1000,
    "zeros": b"\0" * 1000 + b"*",
}
"""Bytes that are valid in no protocol; for every port."""


class Peer:
    """One end of a connection that carries frames ending in `*`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE_S)
        self.sock = sock
        self._frames: deque[bytes] = deque()
        self._tail = b""

    @classmethod
    def connect(cls, port: int, receive_buffer: int | None = None) -> Self:
        """Connect; a small `receive_buffer` (bytes) makes the server notice a stall soon."""
        sock = socket.socket()
        sock.settimeout(DEADLINE_S)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect((HOST, port))
        return cls(sock)

    @property
    def name(self) -> str:
        """The name of this client in the server's log."""
        host, port = self.sock.getsockname()
        return f"{host}:{port}"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_until_disconnected(self, data: bytes) -> None:
        """Send as much as the other end takes before it closes."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def frame(self) -> bytes:
        """The next frame, without its delimiter. Raises EOFError at the end of the connection."""
        while not self._frames:
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError
            *whole, self._tail = (self._tail + data).split(b"*")
            self._frames.extend(whole)
        return self._frames.popleft()

    def frames(self, count: int) -> list[bytes]:
        return [self.frame() for _ in range(count)]

    def frames_until_the_end(self) -> list[bytes]:
        """All frames up to the end of the connection, however it ends."""
        frames = []
        give_up = time.monotonic() + DEADLINE_S
        with suppress(EOFError, ConnectionResetError):
            while True:
                frames.append(self.frame())
                assert time.monotonic() < give_up, "the connection does not end"
        return frames

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Batch(NamedTuple):
    """The frames under one BATCH header."""

    first: int
    sent_ns: int
    frames: list[bytes]


class NumberedClient(Peer):
    """A client of a price or news stream that sends HELLO. It checks every sequence number."""

    first: int
    next: int
    """The next sequence that must arrive."""

    def hello(self, next_sequence: int) -> None:
        """Send HELLO, skip plain frames up to the answer, and take FIRST from it."""
        self.send(b"HELLO,1,%d*" % next_sequence)
        while not (answer := self.frame()).startswith(b"HELLO,"):
            assert not answer.startswith(b"BATCH,"), "a batch came before the answer"
        word, version, _, first = answer.split(b",")
        assert (word, version) == (b"HELLO", b"1")
        self.first = self.next = int(first)

    def batch(self) -> Batch:
        word, first, count, sent_ns = self.frame().split(b",")
        assert word == b"BATCH"
        assert int(first) == self.next, f"expected {self.next}, got {first!r}"
        self.next += int(count)
        return Batch(int(first), int(sent_ns), self.frames(int(count)))

    def read_to(self, sequence: int) -> list[bytes]:
        """Read all frames up to this sequence, at least."""
        frames: list[bytes] = []
        while self.next <= sequence:
            frames += self.batch().frames
        return frames


def joined(port: int, next_sequence: int = 0) -> NumberedClient:
    """A numbered client whose HELLO was answered."""
    client = NumberedClient.connect(port)
    client.hello(next_sequence)
    return client


class OrderClient(Peer):
    """A client of order entry."""

    def tell(self, message: dict[str, Any]) -> None:
        self.send(json.dumps(message).replace("*", "\\u002a").encode() + b"*")

    def hear(self) -> dict[str, Any]:
        heard = json.loads(self.frame())
        assert isinstance(heard, dict)
        return heard

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.tell(message)
        return self.hear()

    def log_on(self, client_id: str) -> dict[str, Any]:
        return self.ask({"type": "logon", "client_id": client_id})


def order(order_id: int, **changes: Any) -> dict[str, Any]:
    """An order that can be filled, with some fields changed."""
    return {
        "type": "order", "order_id": order_id, "symbol": "AAPL", "side": "BUY", "quantity": 10,
        "price": 173.2, **changes,
    }  # fmt: skip


class FakeServer:
    """A server that the test controls: it accepts one connection at a time, when asked."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_server((HOST, port), backlog=64)
        self._sock.settimeout(DEADLINE_S)

    def accept(self) -> OrderClient:
        """Accept the next connection."""
        return OrderClient(self._sock.accept()[0])

    def close(self) -> None:
        self._sock.close()
