"""The listening socket: what a person reads when it cannot listen, and what it survives."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from lib.errors import CannotStartError
from lib.net import listener as server
from lib.net.event_loop import EventLoop
from lib.net.listener import ACCEPT_BURST, MAX_ACCEPTS_A_PASS, Listener
from lib.process.client_log import ClientLog
from tests.loops import run_until


class Door:
    """A server on a free port, and those who came in."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.came: list[tuple[socket.socket, str]] = []
        self.places = 10**6
        self.places_of_ours = 0
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.log = ClientLog("price", 400)
        self.ours: list[int] = []
        self.server = Listener(
            self.loop,
            "127.0.0.1",
            self.port,
            "gateway.price_port",
            self.log,
            self._accept,
            lambda: self.ours,
        )

    def _accept(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        if len(self.came) >= self.places + (self.places_of_ours if is_ours else 0):
            return False
        self.came.append((sock, peer))
        return True

    def knock(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def counted(self, event: str) -> list[tuple[int, str]]:
        """How often it happened, and why."""
        with capture_logs() as lines:
            self.log.on_time(0)
        return [(e["count"], e["examples"][0]["reason"]) for e in lines if e["event"] == event]


def listen(loop: EventLoop, host: str, port: int, setting: str = "gateway.price_port") -> list[str]:
    """Make a server that everybody may come into; returns who has."""
    came: list[str] = []

    def accept(sock: socket.socket, peer: str, _is_ours: bool) -> bool:
        sock.close()
        came.append(peer)
        return True

    Listener(loop, host, port, setting, ClientLog("price", 400), accept, list)
    return came


@pytest.fixture
def door():
    door = Door()
    yield door
    for sock, _ in door.came:
        sock.close()


def test_a_client_is_handed_over_with_its_address(door):
    with door.knock() as client:
        run_until(door.loop, lambda: door.came, "the client is accepted")
        sock, peer = door.came[0]
        assert peer == "{}:{}".format(*client.getsockname())
        sock.send(b"AAPL,172.53*")
        assert client.recv(100) == b"AAPL,172.53*"


def test_a_crowd_comes_in_a_part_at_a_time(door):
    crowd = [door.knock() for _ in range(MAX_ACCEPTS_A_PASS + 5)]
    door.loop.poll()
    assert len(door.came) == MAX_ACCEPTS_A_PASS
    run_until(door.loop, lambda: len(door.came) == len(crowd), "all are in")
    for client in crowd:
        client.close()


def test_who_connects_again_and_again_is_accepted_at_a_rate(door, monkeypatch):
    monkeypatch.setattr(server, "MAX_ACCEPTS_A_PASS", ACCEPT_BURST + 1)
    crowd = [door.knock() for _ in range(2 * ACCEPT_BURST)]
    door.loop.poll()
    assert len(door.came) == ACCEPT_BURST + 1
    paused_until_ns = door.server.next_deadline_ns()
    assert paused_until_ns is not None
    while time.monotonic_ns() < paused_until_ns:
        assert len(door.came) == ACCEPT_BURST + 1
        door.loop.poll()
    run_until(door.loop, lambda: len(door.came) == len(crowd), "the others are in as well")
    for client in crowd:
        client.close()


def test_who_is_refused_is_disconnected_and_counted(door):
    door.places = 1
    with door.knock(), door.knock() as second, door.knock() as third:
        run_until(door.loop, lambda: readable(second) and readable(third), "two are refused")
        assert (second.recv(1), third.recv(1)) == (b"", b"")
    assert len(door.came) == 1
    assert door.counted("client_refused") == [(2, "400 clients already")]


def test_a_process_of_our_own_run_comes_in_where_all_others_are_refused(door):
    door.ours = [os.getpid()]
    door.places, door.places_of_ours = 1, 2
    with ExitStack() as clean_up:
        clients = [clean_up.enter_context(door.knock()) for _ in range(4)]
        names = ["{}:{}".format(*client.getsockname()) for client in clients]
        run_until(door.loop, lambda: readable(clients[3]), "the fourth is refused")
    assert [peer for _, peer in door.came] == names[:3]
    assert door.counted("client_refused") == [(1, "400 clients already")]


def test_while_there_is_room_no_peer_is_looked_up(door, monkeypatch):
    monkeypatch.setattr(server, "connected_from", None)
    with door.knock():
        run_until(door.loop, lambda: door.came, "the client is accepted")


def test_when_full_it_waits_for_many_before_it_looks_who_they_are(door, monkeypatch):
    looks = []
    monkeypatch.setattr(server, "connected_from", lambda socks, _: looks.append(len(socks)) or [])
    monkeypatch.setattr(server, "ACCEPT_INTERVAL_NS", 3600 * 10**9)
    door = Door()
    door.places = 0
    for _ in range(2 * ACCEPT_BURST):
        with door.knock():
            door.loop.poll(may_sleep=False)
    assert sum(looks) <= ACCEPT_BURST // MAX_ACCEPTS_A_PASS


def test_a_port_that_is_taken_is_one_line_with_setting_host_and_port():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotStartError) as caught:
            listen(EventLoop(), "127.0.0.1", port)
    message = str(caught.value)
    assert message.startswith(f"gateway.price_port: port {port} on 127.0.0.1 is taken")
    assert "\n" not in message


def test_any_other_reason_is_one_line_too():
    with pytest.raises(CannotStartError) as caught:
        listen(EventLoop(), "192.0.2.1", 5003, "order_manager.port")
    message = str(caught.value)
    assert message.startswith("order_manager.port: cannot listen on 192.0.2.1:5003: Cannot assign")
    assert "\n" not in message


def test_a_host_that_has_no_address_is_one_line_too(monkeypatch):
    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CannotStartError) as caught:
        listen(EventLoop(), "localhost", 5003, "order_manager.port")
    assert str(caught.value) == (
        "order_manager.port: cannot listen on localhost:5003: Name or service not known"
    )


def test_it_binds_though_connections_of_its_predecessor_are_in_time_wait():
    predecessor = socket.create_server(("127.0.0.1", 0))
    port = predecessor.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = predecessor.accept()
    accepted.close()  # who closes first has to wait
    assert client.recv(1) == b""
    client.close()
    predecessor.close()
    with pytest.raises(OSError, match="in use"), socket.socket() as plain:
        plain.bind(("127.0.0.1", port))
    listen(EventLoop(), "127.0.0.1", port)


def test_it_listens_where_localhost_is_and_on_ipv6():
    for host in ("localhost", "::1"):
        try:
            free = socket.create_server((host, 0), family=socket.getaddrinfo(host, 0)[0][0])
        except OSError:
            continue  # no IPv6 here
        port = free.getsockname()[1]
        free.close()
        loop = EventLoop()
        came = listen(loop, host, port)
        with socket.create_connection((host, port)):
            run_until(loop, lambda c=came: c, "the client is accepted")


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


class RefusedAccepts:
    """Stands before the real accept and refuses it so many times."""

    def __init__(self, monkeypatch, error: OSError, times: int) -> None:
        self.calls = 0
        accept_for_real = socket.socket.accept

        def accept(sock):
            self.calls += 1
            if self.calls <= times:
                raise error
            return accept_for_real(sock)

        monkeypatch.setattr(socket.socket, "accept", accept)


def test_when_descriptors_run_out_it_pauses_and_comes_back(door, monkeypatch):
    accepts = RefusedAccepts(monkeypatch, OSError(errno.EMFILE, "Too many open files"), times=2)
    with door.knock():
        run_until(door.loop, lambda: door.came, "the client is accepted after all")
    assert accepts.calls >= 3
    assert door.counted("accept_failed") == [(2, "Too many open files")]


def test_a_pause_lasts_its_time_however_often_the_loop_runs(door, monkeypatch):
    monkeypatch.setattr(server, "ACCEPT_PAUSE_NS", 3600 * 10**9)
    accepts = RefusedAccepts(monkeypatch, OSError(errno.EMFILE, "Too many open files"), times=1)
    with door.knock(), capture_logs():
        run_until(door.loop, lambda: accepts.calls, "the accept is refused")
        for _ in range(100):
            door.loop.poll(may_sleep=False)
    assert accepts.calls == 1
    assert door.came == []


def test_a_client_that_left_before_it_was_accepted_delays_no_other(door, monkeypatch):
    accepts = RefusedAccepts(monkeypatch, ConnectionAbortedError(), times=1)
    with door.knock(), capture_logs() as logs:
        run_until(door.loop, lambda: door.came, "the next one is accepted")
    assert accepts.calls >= 2
    assert door.server.next_deadline_ns() is None
    assert logs == []
