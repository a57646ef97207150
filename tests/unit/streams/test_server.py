"""The server of a stream: which clients it takes, and how lagging ones share its time."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from lib.net.event_loop import EventLoop
from lib.process.client_log import ClientLog
from lib.process.state_file import create_state
from lib.streams import server
from lib.streams.publication import TICK_WORD, EncodedTape, Publication, Stream
from lib.streams.server import StreamServer
from lib.streams.subscriber import MAX_BATCH_FRAMES
from tests.loops import run_until, tcp_pair

BEHIND = 10 * MAX_BATCH_FRAMES


def encode(_first: int, count: int) -> bytes:
    return np.full(count, ord("*"), np.uint8).tobytes()


class Clients:
    """Plain clients of one stream; they read nothing, and the kernel holds all that they get."""

    def __init__(self, state_path: Path, count: int) -> None:
        state = create_state(state_path, {}, [1])
        publication = Publication(Stream("tape", EncodedTape(encode), 1), state, TICK_WORD, None)
        self.loop = EventLoop()
        self.server = StreamServer(self.loop, ClientLog("price", 3), publication, 10**12)
        self.peers: list[socket.socket] = []
        for _ in range(count):
            assert self.connect()

    def connect(self) -> bool:
        """Whether one more client is let in."""
        ours, peer = tcp_pair(buffer_bytes=1 << 20)
        self.peers.append(peer)
        return self.server.clients.accept(ours, f"client {len(self.peers)}", False)

    def peer_says(self, number: int, data: bytes) -> None:
        """Let a client say something, and the server hear it."""
        self.peers[number].send(data)
        self.loop.poll()

    def publish(self, count: int) -> None:
        self.server.publish(count)

    def places(self) -> list[int]:
        """Which frame each of them gets next."""
        return [client.next_sequence for client in self.server._connections]

    def close(self) -> None:
        for sock in self.peers:
            sock.close()


@pytest.fixture
def clients(tmp_path, monkeypatch):
    # The peers are in this process, which may have many files open.
    monkeypatch.setattr("lib.net.peer_process.MAX_DESCRIPTORS", 10_000)
    made = Clients(tmp_path / "gateway.state", 3)
    yield made
    made.close()


def test_each_lagging_client_gets_a_batch_a_turn_and_a_pass_sends_at_least_one(
    clients, monkeypatch
):
    clients.publish(BEHIND)
    first = 1 + MAX_BATCH_FRAMES
    assert clients.places() == [first] * 3
    monkeypatch.setattr(server, "LAGGING_NS", 0)
    for expected in ([2, 1, 1], [2, 2, 1], [2, 2, 2], [3, 2, 2]):
        assert clients.server.send_to_lagging()
        assert clients.places() == [1 + batches * MAX_BATCH_FRAMES for batches in expected]


def test_new_frames_wait_for_the_turn_of_a_lagging_client(clients):
    clients.publish(BEHIND)
    before = clients.places()
    clients.publish(1)
    assert clients.places() == before


def test_without_a_schedule_the_slowest_numbered_client_sets_the_pace(clients):
    stream = clients.server.publication.stream
    assert not clients.server.publish_unpaced()  # plain clients set no pace
    clients.peer_says(0, b"HELLO,1,0*")
    clients.peer_says(1, b"HELLO,1,0*")
    assert clients.server.publish_unpaced()
    assert stream.next_sequence == 1 + MAX_BATCH_FRAMES
    assert clients.places() == [1 + MAX_BATCH_FRAMES] * 3
    clients.publish(BEHIND)  # it has more to take than one batch
    assert not clients.server.publish_unpaced()
    assert stream.next_sequence == 1 + MAX_BATCH_FRAMES + BEHIND


def test_clients_that_send_no_messages_are_counted_and_stay(clients):
    with capture_logs() as logs:
        clients.peer_says(0, b"GET / HTTP/1.1\r\n")
        clients.peer_says(1, b"GET / HTTP/1.1\r\n")
        run_until(clients.loop, lambda: sum(e.get("count", 0) for e in logs) == 2, "both are seen")
    lines = [e for e in logs if e["event"] == "no_delimiter"]
    assert [e["peer"] for line in lines for e in line["examples"]] == ["client 1", "client 2"]
    assert len(clients.places()) == 3


def test_a_half_closed_client_makes_room(clients):
    clients.server.clients.max_clients = 3
    assert not clients.connect()
    clients.peers[1].shutdown(socket.SHUT_WR)
    ended = list(clients.server._connections.values())[1]
    run_until(clients.loop, lambda: ended.half_closed, "the gateway knows")
    assert clients.connect()
    assert not ended.open


def test_a_client_that_lags_too_far_or_takes_nothing_is_disconnected(clients, monkeypatch):
    _lagging, stalled, _ = connections = list(clients.server._connections.values())
    next(iter(clients.server._connections)).next_sequence -= 11
    monkeypatch.setattr(server, "MAX_LAG_TICKS", 10)
    stalled.queued_bytes = 1
    with capture_logs() as logs:
        clients.server.on_time(stalled.last_progress_ns + 10**12 + 1)
    assert [line["reason"] for line in logs] == [
        "too slow: 11 frames behind",
        "took nothing for 1000 s",
    ]
    assert [one.open for one in connections] == [False, False, True]


def test_a_role_of_this_run_that_takes_nothing_stays_and_others_do_not(clients, monkeypatch):
    monkeypatch.setattr(server, "siblings", lambda: [os.getpid()])  # the peers are here
    connections = list(clients.server._connections.values())
    for connection in connections:
        connection.queued_bytes = 1
    after_ns = connections[0].last_progress_ns + 2 * 10**12
    clients.server.on_time(after_ns)
    assert [one.open for one in connections] == [True] * 3
    assert all(client.is_ours for client in clients.server._connections)
    monkeypatch.setattr(server, "siblings", lambda: [os.getppid()])
    next(iter(clients.server._connections)).is_ours = False  # nothing was found out yet
    clients.server.on_time(after_ns + 10**12)
    assert [one.open for one in connections] == [False, True, True]


def test_a_numbered_client_of_this_run_has_joined_and_no_other_one(clients, monkeypatch):
    clients.peer_says(0, b"HELLO,1,0*")
    monkeypatch.setattr(server, "siblings", lambda: [os.getppid()])
    assert not clients.server.has_joined_from_own_run()
    monkeypatch.setattr(server, "siblings", lambda: [os.getpid()])
    assert clients.server.has_joined_from_own_run()


def test_plain_clients_of_this_run_do_not_count_as_joined(clients, monkeypatch):
    monkeypatch.setattr(server, "siblings", lambda: [os.getpid()])
    assert not clients.server.has_joined_from_own_run()


def test_a_client_whose_next_frames_are_not_kept_is_disconnected_and_the_others_are_served(
    clients, monkeypatch
):
    clients.publish(100)
    behind, *others = list(clients.server._connections.items())
    behind[0].next_sequence = 40
    monkeypatch.setattr(EncodedTape, "first", 41)
    with capture_logs() as logs:
        clients.publish(1)
    assert [line["reason"] for line in logs] == ["too slow: 62 frames behind, which are not kept"]
    assert (behind[1].open, [connection.open for _, connection in others]) == (False, [True, True])
    assert clients.places() == [102, 102]
