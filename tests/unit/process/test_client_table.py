"""The clients of a server: how many it takes, which one makes room, which one is disconnected."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

import pytest
from structlog.testing import capture_logs

from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.listener import RESERVED_PLACES
from lib.process.client_log import ClientLog
from lib.process.client_table import SWEEP_NS, ClientTable
from tests.loops import run_until, tcp_pair

PLACES = 3


class Server:
    """A server that knows each client by its address alone."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.idle: set[str] = set()
        self.slow: set[str] = set()
        self.said: list[tuple[str, bytes]] = []
        self.gone: list[tuple[str, bool]] = []
        self.peers: list[socket.socket] = []
        self.table: ClientTable[str] = ClientTable(
            max_clients=PLACES,
            log=ClientLog("price", PLACES),
            make=str,
            connect=partial(Connection, self.loop, max_queued_bytes=1000),
            on_data=lambda client, data: self.said.append((client, data)),
            on_closed=lambda client: self.gone.append((client, client in self.table.connections)),
            client_id=str.upper,
            why_evict=lambda client, _: "idle" if client in self.idle else "",
            why_drop=lambda client, _, now_ns: f"slow at {now_ns}" if client in self.slow else "",
        )

    def connect(self, name: str, *, is_ours: bool = False) -> bool:
        """Whether the client is accepted."""
        ours, peer = tcp_pair(buffer_bytes=10_000)
        self.peers.append(peer)
        return self.table.accept(ours, name, is_ours)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for connection in server.table.connections.values():
        connection._sock.close()
    for peer in server.peers:
        peer.close()


def test_a_full_server_takes_more_of_its_own_run_only(server):
    assert all(server.connect(name) for name in "abc")
    assert not server.connect("d")
    assert all(server.connect(f"ours {n}", is_ours=True) for n in range(RESERVED_PLACES))
    assert not server.connect("one more", is_ours=True)
    assert len(server.table.connections) == PLACES + RESERVED_PLACES


def test_the_oldest_client_that_may_be_evicted_makes_room(server):
    for name in "abc":
        server.connect(name)
    server.idle = {"b", "c"}
    assert server.connect("d")
    assert list(server.table.connections) == ["a", "c", "d"]
    assert server.connect("ours", is_ours=True)  # to a reserved place
    assert list(server.table.connections) == ["a", "c", "d", "ours"]
    server.idle.clear()
    assert not server.connect("e")


def test_a_sweep_disconnects_what_is_slow_and_is_made_now_and_then(server):
    for name in "abc":
        server.connect(name)
    server.slow = {"a", "c"}
    with capture_logs() as logs:
        server.table.on_time(7)
    assert [(e["peer"], e["reason"], e["clients"]) for e in logs] == [
        ("a", "slow at 7", 2),
        ("c", "slow at 7", 1),
    ]
    assert server.table.next_deadline_ns() == 7 + SWEEP_NS


def test_a_client_is_heard_and_its_coming_and_going_is_logged(server):
    with capture_logs() as logs:
        server.connect("a")
        server.peers[0].send(b"hello")
        run_until(server.loop, lambda: server.said, "it is heard")
        server.peers[0].close()
        run_until(server.loop, lambda: server.gone, "it is gone")
    assert server.said == [("a", b"hello")]
    assert server.gone == [("a", False)]
    assert [(e["event"], e["peer"], e["clients"], e.get("client_id")) for e in logs] == [
        ("client_connected", "a", 1, None),
        ("client_disconnected", "a", 0, "A"),
    ]


def test_a_server_without_a_log_takes_clients_in_silence(server):
    server.table.log = None
    with capture_logs() as logs:
        server.connect("a")
        server.table.connections["a"].close("")
    assert logs == []
