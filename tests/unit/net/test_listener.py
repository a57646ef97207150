"""The listening socket: what a person reads when it cannot listen, and what it survives."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import ExitStack, closing

import pytest
from structlog.testing import capture_logs

from lib.errors import CannotStartError
from lib.net import listener as server
from lib.net.event_loop import EventLoop
from lib.net.host import address_text
from lib.net.listener import ACCEPT_BURST, MAX_ACCEPTS_A_PASS, Listener
from lib.process.client_log import ClientLog
from lib.stack.private_stack import free_ports
from tests.loops import needs_ipv6, run_until


class Door:
    """A server, on a free port if none is given, and those who came in."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.loop = EventLoop()
        self.came: list[tuple[socket.socket, str]] = []
        self.places = 10**6
        self.places_of_ours = 0
        self.log = ClientLog("price", 400)
        self.ours: list[int] = []
        setting = "gateway.price_port"
        self.server = Listener(
            self.loop, host, port, setting, self.log, self._accept, lambda: self.ours
        )
        self.address = host, self.server._socks[0].getsockname()[1]

    def _accept(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        if len(self.came) >= self.places + (self.places_of_ours if is_ours else 0):
            return False
        self.came.append((sock, peer))
        return True

    def knock(self) -> socket.socket:
        return socket.create_connection(self.address)

    def counted(self, event: str) -> list[tuple[int, str]]:
        """How often it happened, and why."""
        with capture_logs() as lines:
            self.log.on_time(0)
        return [(e["count"], e["examples"][0]["reason"]) for e in lines if e["event"] == event]

    def close(self) -> None:
        for sock, _ in self.came:
            sock.close()


@pytest.fixture
def door():
    with closing(Door()) as door:
        yield door


@pytest.mark.parametrize("host", ["127.0.0.2", pytest.param("::1", marks=needs_ipv6)])
def test_a_client_is_handed_over_with_its_address(host):
    with closing(Door(host)) as door, door.knock() as client:
        run_until(door.loop, lambda: door.came, "the client is accepted")
        sock, peer = door.came[0]
        assert peer == address_text(*client.getsockname()[:2])
        sock.send(b"tick*")
        assert client.recv(100) == b"tick*"


@needs_ipv6
def test_localhost_is_served_on_each_address_of_the_loopback_and_paused_on_both(monkeypatch):
    """As a whole: a crowd at one address does not come in faster through the other."""
    monkeypatch.setattr(server, "ACCEPT_INTERVAL_NS", 3600 * 10**9)
    (port,) = free_ports(1)
    with closing(Door("localhost", port)) as door, ExitStack() as crowd:
        for address in ("127.0.0.1", "::1"):
            crowd.enter_context(socket.create_connection((address, port)))
        run_until(door.loop, lambda: len(door.came) == 2, "a client of each has come in")
        for _ in range(ACCEPT_BURST):
            for address in ("127.0.0.1", "::1"):
                crowd.enter_context(socket.create_connection((address, port)))
        run_until(door.loop, lambda: door.server.next_deadline_ns(), "it pauses")
        came = len(door.came)
        for _ in range(100):
            door.loop.poll(may_sleep=False)
        assert len(door.came) == came < 2 * ACCEPT_BURST
        door.server.on_time(0)
        run_until(door.loop, lambda: len(door.came) > came, "it accepts again")


@needs_ipv6
def test_localhost_with_one_address_taken_is_not_half_served():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotStartError, match=rf"port {port} on ::1 is taken"):
            Door("localhost", port)


def test_a_crowd_comes_in_a_part_at_a_time_and_at_a_rate(monkeypatch):
    monkeypatch.setattr(server, "ACCEPT_INTERVAL_NS", 3600 * 10**9)
    with closing(Door()) as door, ExitStack() as crowd:
        for _ in range(2 * ACCEPT_BURST):
            crowd.enter_context(door.knock())
        door.loop.poll()
        assert len(door.came) == MAX_ACCEPTS_A_PASS
        monkeypatch.setattr(server, "MAX_ACCEPTS_A_PASS", ACCEPT_BURST + 1 - len(door.came))
        door.loop.poll()
        for _ in range(100):
            assert len(door.came) == ACCEPT_BURST + 1
            assert door.server.next_deadline_ns() > time.monotonic_ns()
            door.loop.poll(may_sleep=False)
        while len(door.came) < 2 * ACCEPT_BURST:
            door.server.on_time(0)
            run_until(door.loop, door.server.next_deadline_ns, "it pauses again")


def test_clients_that_come_while_it_holds_wait_and_are_not_refused(door):
    door.server.hold()
    with door.knock() as client:
        client.sendall(b"HELLO")
        for _ in range(100):
            door.loop.poll(may_sleep=False)
        assert door.came == []
        door.server.accept_again()
        run_until(door.loop, lambda: door.came, "the client is accepted")
        assert door.came[0][0].recv(100) == b"HELLO"


def test_a_process_of_our_own_run_comes_in_where_all_others_are_refused(door):
    door.ours = [os.getpid()]
    door.places, door.places_of_ours = 1, 2
    with ExitStack() as clean_up:
        *ours, refused = [clean_up.enter_context(door.knock()) for _ in range(4)]
        names = ["{}:{}".format(*client.getsockname()) for client in ours]
        run_until(door.loop, lambda: readable(refused), "the fourth is refused")
        assert refused.recv(1) == b""
    assert [peer for _, peer in door.came] == names
    assert door.counted("client_refused") == [(1, "400 clients already")]


def test_while_there_is_room_no_peer_is_looked_up(door, monkeypatch):
    monkeypatch.setattr(server, "connected_from", None)
    with door.knock():
        run_until(door.loop, lambda: door.came, "the client is accepted")
    assert len(door.came) == 1


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


def test_why_it_cannot_listen_is_one_line_with_setting_host_and_port(door):
    port = door.address[1]
    for address, why in (
        (door.address, rf"port {port} on 127\.0\.0\.1 is taken .*\Z"),
        (("192.0.2.1", 5003), r"cannot listen on 192\.0\.2\.1:5003: Cannot assign .*\Z"),
    ):
        with pytest.raises(CannotStartError, match=rf"^gateway\.price_port: {why}"):
            Door(*address)


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def refuse_accepts(monkeypatch: pytest.MonkeyPatch, error: OSError, times: int) -> list[int]:
    """Let this many accepts fail; return a list that grows with each accept."""
    calls: list[int] = []
    accept_for_real = socket.socket.accept

    def accept(sock):
        calls.append(1)
        if len(calls) <= times:
            raise error
        return accept_for_real(sock)

    monkeypatch.setattr(socket.socket, "accept", accept)
    return calls


def test_when_descriptors_run_out_it_pauses_and_comes_back(door, monkeypatch):
    monkeypatch.setattr(server, "ACCEPT_PAUSE_NS", 3600 * 10**9)
    error = OSError(errno.EMFILE, "Too many open files")
    accepts = refuse_accepts(monkeypatch, error, times=2)
    with door.knock():
        for count in (1, 2):
            run_until(door.loop, lambda n=count: len(accepts) == n, "the accept is refused")
            for _ in range(100):
                door.loop.poll(may_sleep=False)
            assert (len(accepts), door.came) == (count, [])
            door.server.on_time(0)
        run_until(door.loop, lambda: door.came, "the client is accepted after all")
    assert door.counted("accept_failed") == [(2, "Too many open files")]


def test_a_client_that_left_before_it_was_accepted_delays_no_other(door, monkeypatch):
    refuse_accepts(monkeypatch, ConnectionAbortedError(), times=1)
    with door.knock():
        run_until(door.loop, lambda: door.came, "the next one is accepted")
    assert door.server.next_deadline_ns() is None
    assert door.counted("accept_failed") == []
