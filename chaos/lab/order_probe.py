"""What any client sees of a stack: a tick, and the answer to an order. Shares no code with it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from chaos.lab.target import TargetError, TargetStack

ANSWER_S: Final = 5.0
"""How long a connection, a tick or an answer may take."""
PAST_THE_COLLAR: Final = 99_999.0
"""A price that no collar lets pass, at a market of some hundreds."""
FILLED: Final = "FILLED"
RECEIVE_BYTES: Final = 1 << 16


def order(target: TargetStack, symbol: str, price: float) -> str:
    """Buy one share as an anonymous client; return FILLED, REJECTED or error.

    Raises TargetError without an answer.
    """
    message = {"type": "order", "order_id": 1, "symbol": symbol, "side": "BUY", "quantity": 1}
    with _connected(target, "orders") as sock:
        sock.sendall(json.dumps({**message, "price": price}).encode() + b"*")
        answer = json.loads(next(_frames(sock)))
    return str(answer.get("status", answer["type"]))


def played_price(target: TargetStack, symbol: str) -> float:
    """Return the next price of a symbol that the gateway plays. Raises TargetError without one."""
    with _connected(target, "price") as sock:
        prefix = f"{symbol},".encode()
        return next(float(f.removeprefix(prefix)) for f in _frames(sock) if f.startswith(prefix))


@contextmanager
def _connected(target: TargetStack, stream: str) -> Iterator[socket.socket]:
    """Connect to a stream's server; turn whatever fails into a TargetError."""
    address = target.addresses()[stream]
    try:
        with socket.create_connection(address, ANSWER_S) as sock:
            yield sock
    except (OSError, ValueError, LookupError) as error:
        raise TargetError(f"no answer on {address[0]}:{address[1]}: {error}") from None


def _frames(sock: socket.socket) -> Iterator[bytes]:
    """Yield the frames that come. Raises ConnectionError at the end, and after `ANSWER_S`."""
    tail, deadline_s = b"", time.monotonic() + ANSWER_S
    while time.monotonic() < deadline_s:
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the connection was closed")
        *frames, tail = (tail + data).split(b"*")
        yield from frames
    raise TimeoutError(f"nothing of the kind within {ANSWER_S:g} s")
