"""An event loop and loopback sockets for tests, without processes and without sleeps."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from lib.net.event_loop import EventLoop
from tests.helpers import DEADLINE_S


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="there is no IPv6 here")


def run_until(loop: EventLoop, condition: Callable[[], object], what: str) -> None:
    """Let the loop run until `condition` holds; fail the test if it never does."""
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, f"waited {DEADLINE_S:g} s in vain until {what}"
        loop.poll()


def tcp_pair(buffer_bytes: int) -> tuple[socket.socket, socket.socket]:
    """Two ends of one loopback connection, ours and the peer's.

    The kernel holds about `buffer_bytes` on each side, and does not grow that by itself.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        peer.connect(server.getsockname())
        ours, _ = server.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    return ours, peer
