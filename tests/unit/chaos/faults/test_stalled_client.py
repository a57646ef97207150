"""A client that does not read, with a server that the test controls."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from chaos.faults.stalled_client import StalledClient, waiting_bytes
from tests.helpers import DEADLINE_S, wait_until

HOST = "127.0.0.1"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(DEADLINE_S)
        yield server


def fill(peer: socket.socket) -> int:
    """Send until the kernel accepts no more; return how many bytes it accepted."""
    peer.setblocking(False)
    sent = 0
    try:
        while True:
            sent += peer.send(b"x" * 1000)
    except BlockingIOError:
        peer.settimeout(DEADLINE_S)
        return sent


def test_a_server_is_left_with_the_rest_until_the_client_reads(server: socket.socket) -> None:
    address = server.getsockname()
    with (
        StalledClient(*address, b"HELLO,1,1*") as client,
        server.accept()[0] as peer,
        StalledClient(*address) as idle,
        server.accept()[0],
    ):
        assert peer.recv(100) == b"HELLO,1,1*"
        assert client.name == "{}:{}".format(*peer.getpeername())
        assert idle.drain(time.monotonic()) == b""  # there is nothing
        waited = fill(peer)
        assert waited < 200_000  # on loopback the kernel would take megabytes
        stuck, other = waiting_bytes([client, idle])
        assert 0 < stuck <= waited
        assert other == 0
        peer.shutdown(socket.SHUT_WR)
        deadline_s = time.monotonic() + DEADLINE_S
        assert b"".join(iter(lambda: client.drain(deadline_s), b"")) == b"x" * waited
        # The kernel counts what was read a moment later.
        wait_until(lambda: waiting_bytes([client]) == [0], "nothing waits")


def test_a_send_notices_that_the_server_has_disconnected(server: socket.socket) -> None:
    with StalledClient(*server.getsockname()) as client:
        server.accept()[0].close()
        wait_until(lambda: not client.send(b"?*"), "the end is noticed")
