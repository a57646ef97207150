"""The clients of a server: how many it takes, which one makes room, which one is disconnected."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from structlog.testing import capture_logs

from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.listener import RESERVED_PLACES
from lib.process.client_log import ClientLog
from lib.process.client_table import SWEEP_NS, ClientTable
from tests.loops import tcp_pair


class Server:
    """A full server: it has its three clients, a, b and c, and knows them by address alone."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.idle = ""
        self.table: ClientTable[str] = ClientTable(
            max_clients=3,
            log=ClientLog("price", 3),
            make=str,
            connect=partial(Connection, self.loop, max_queued_bytes=1000),
            on_data=lambda _client, _data: None,
            client_id=str.upper,
            why_evict=lambda client, _: "idle" if client in self.idle else "",
            why_drop=lambda client, _, now_ns: f"slow at {now_ns}" if client == "c" else "",
        )
        self.peers: list[socket.socket] = []
        assert [self.connect(name) for name in "abc"] == [True] * 3

    def connect(self, name: str, *, is_ours: bool = False) -> bool:
        """Whether one more client is accepted."""
        ours, peer = tcp_pair(buffer_bytes=10_000)
        self.peers.append(peer)
        return self.table.accept(ours, name, is_ours)

    def close(self) -> None:
        for connection in list(self.table.connections.values()):
            connection.close("")
        for peer in self.peers:
            peer.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


def test_a_full_server_takes_more_of_its_own_run_only(server):
    assert not server.connect("d")
    assert all(server.connect(f"ours {n}", is_ours=True) for n in range(RESERVED_PLACES))
    assert not server.connect("one more", is_ours=True)
    assert len(server.table.connections) == 3 + RESERVED_PLACES


def test_the_oldest_client_that_may_be_evicted_makes_room_and_a_sweep_disconnects_slow_ones(server):
    server.idle = "bc"
    with capture_logs() as logs:
        assert server.connect("d")
        assert list(server.table.connections) == ["a", "c", "d"]
        server.table.on_time(7)
    assert [(e["event"], e["peer"], e["clients"]) for e in logs] == [
        ("client_disconnected", "b", 2),
        ("client_connected", "d", 3),
        ("client_disconnected", "c", 2),
    ]
    assert (logs[-1]["client_id"], logs[-1]["reason"]) == ("C", "slow at 7")
    assert server.table.next_deadline_ns() == 7 + SWEEP_NS
