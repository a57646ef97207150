"""A connection that comes back, against real listening sockets that come and go."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from contextlib import closing

import pytest

from lib.clock import MILLISECOND_NS
from lib.net import backoff, reconnect
from lib.net.backoff import Backoff
from lib.net.event_loop import EventLoop
from lib.net.host import (
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_PROBES,
    SYSTEM,
    SystemHost,
)
from lib.net.reconnect import CONNECT_TIMEOUT_NS, ReconnectingConnection
from tests.loops import run_until


class FakeServer:
    """A port of its own that refuses until it is to listen."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self.clients: list[socket.socket] = []
        self.accepted = 0
        self.hangs_up_at_once = False
        self._sock = socket.socket()
        self._sock.setblocking(False)
        self._sock.bind(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]

    def start(self) -> None:
        self._sock.listen()
        self._loop.register(self._sock, selectors.EVENT_READ, self._accept)

    def hang_up(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()

    def close(self) -> None:
        self.hang_up()
        self._sock.close()

    def _accept(self, _events: int) -> None:
        client, _ = self._sock.accept()
        self.accepted += 1
        if self.hangs_up_at_once:
            client.close()
        else:
            self.clients.append(client)


class Owner:
    """Owns one reconnecting connection and records its callbacks, in order."""

    def __init__(self, loop: EventLoop, port: int, host: str = "127.0.0.1") -> None:
        self.events: list[str] = []
        self.connection = ReconnectingConnection(
            loop,
            host,
            port,
            on_open=lambda: self.events.append("open"),
            on_data=lambda data: self.events.append(data.decode()),
            on_lost=lambda reason: self.events.append(f"lost: {reason}"),
        )

    @property
    def opened(self) -> int:
        return self.events.count("open")


class LongestWait:
    def randint(self, _low: int, high: int) -> int:
        return high


@pytest.fixture
def planned(monkeypatch):
    """When each wait was planned, and how long it was to be: as long as it may be."""
    planned: list[tuple[int, int]] = []
    next_wait_ns = Backoff.next_wait_ns

    def noted_wait_ns(self: Backoff, now_ns: int) -> int:
        planned.append((now_ns, next_wait_ns(self, now_ns)))
        return planned[-1][1]

    monkeypatch.setattr(Backoff, "next_wait_ns", noted_wait_ns)
    monkeypatch.setattr(SYSTEM, "random", LongestWait())
    # What ends an outage is here `proved` alone, however briefly a connection stood.
    monkeypatch.setattr(backoff, "FLAPPING_NS", 0)
    return planned


@pytest.fixture
def loop():
    return EventLoop()


@pytest.fixture
def server(loop):
    with closing(FakeServer(loop)) as server:
        yield server


@pytest.fixture
def owner(loop, server):
    owner = Owner(loop, server.port)
    yield owner
    owner.connection.drop("the test is over")


@pytest.fixture
def connected(loop, server, owner):
    """An owner whose server is up and has accepted it."""
    server.start()
    run_until(loop, lambda: owner.opened and server.clients, "the connection stands")
    return owner


def test_the_kernel_looks_after_a_peer_that_may_be_silent_for_ever(connected):
    sock = connected.connection._connection._sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    values = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    assert values == [KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES]


def test_a_server_that_accepts_and_closes_at_once_is_not_hammered_until_it_answers_sensibly(
    loop, server, planned
):
    owner = Owner(loop, server.port)
    server.hangs_up_at_once = True
    server.start()
    while len(planned) < 9:
        tries = len(planned)
        run_until(loop, lambda n=tries: len(planned) > n, "it is accepted and sent away")
        run_until(loop, lambda n=owner.opened: owner.opened > n, "it is accepted again")
        lost_ns, wait_ns = planned[-1]
        assert time.monotonic_ns() >= lost_ns + wait_ns
    assert [wait_ns // MILLISECOND_NS for _, wait_ns in planned] == [0, 1, 2, 4, 8, 16, 32, 50, 50]
    server.hangs_up_at_once = False
    run_until(loop, lambda: server.clients, "it is accepted for good")
    owner.connection.proved()
    server.hang_up()
    tries = len(planned)
    run_until(loop, lambda: len(planned) > tries, "that is lost as well")
    assert planned[-1][1] == 0


def test_drop_disconnects_and_can_leave_the_server_alone_for_a_while(loop, server, connected):
    before_ns = time.monotonic_ns()
    connected.connection.drop("replaced", 80 * MILLISECOND_NS)
    assert connected.events == ["open", "lost: replaced"]
    run_until(loop, lambda: connected.opened == 2, "it is back")
    assert time.monotonic_ns() - before_ns >= 80 * MILLISECOND_NS
    assert server.clients[0].recv(100) == b"", "the dropped connection is still there"


def test_drop_without_a_connection_disturbs_nothing(loop, server, owner):
    """Once a second connection was begun beside the first when this was done during a try."""
    server.start()
    owner.connection.on_time(time.monotonic_ns())  # a try is under way
    owner.connection.drop("nothing to drop", 1)
    run_until(loop, lambda: owner.opened and server.accepted, "the connection stands")
    for _ in range(20):
        loop.poll(may_sleep=False)
    assert owner.events == ["open"]
    assert server.accepted == 1


def test_what_is_sent_without_a_connection_is_not_sent_later(loop, server, owner):
    owner.connection.send(b"into the void")
    server.start()
    run_until(loop, lambda: owner.opened and server.clients, "the connection stands")
    owner.connection.send(b"heard*")
    assert server.clients[0].recv(100) == b"heard*"
    server.clients[0].send(b"tick*")
    run_until(loop, lambda: owner.events == ["open", "tick*"], "the answer comes")


def test_a_try_that_hangs_is_given_up_and_begun_anew(loop):
    """A listener with a full backlog ignores the handshake, as a frozen machine would."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        owner = Owner(loop, deaf.getsockname()[1])
        before_ns = time.monotonic_ns()
        owner.connection.on_time(before_ns)
        give_up_ns = owner.connection.next_deadline_ns()
        assert give_up_ns == before_ns + CONNECT_TIMEOUT_NS
        hanging = owner.connection._connecting
        owner.connection.on_time(give_up_ns)
        assert hanging.fileno() == -1, "the try was not given up"
        assert owner.connection.next_deadline_ns() <= time.monotonic_ns()
        assert owner.events == []
        for filler in fillers:
            filler.close()


def test_a_connection_to_itself_is_no_connection(loop, server, monkeypatch, planned):
    """The system may give a client the free port that it connects to."""
    socket_for_real = socket.socket
    port = server.port
    server.close()
    made = []

    def bound_to_the_servers_port(*arguments):
        sock = socket_for_real(*arguments)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        made.append(sock)
        return sock

    # The trap is real: the kernel does connect such a socket to itself.
    trapped = bound_to_the_servers_port()
    trapped.connect(("127.0.0.1", port))
    trapped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    trapped.close()

    owner = Owner(loop, port)
    with monkeypatch.context() as patch:
        patch.setattr(reconnect.socket, "socket", bound_to_the_servers_port)
        run_until(loop, lambda: len(planned) >= 2, "two tries have met themselves")
    assert owner.events == []
    assert all(sock.fileno() == -1 for sock in made[1:3])


def test_an_address_that_cannot_be_reached_at_all_is_a_failed_try(loop, planned):
    """Such a connect fails at once, and no error is left on the socket for later."""
    owner = Owner(loop, 9, host="255.255.255.255")
    run_until(loop, lambda: len(planned) >= 3, "three tries have failed")
    assert owner.events == []


@pytest.fixture
def tried(monkeypatch):
    """The addresses of localhost that are tried. This machine has no IPv6, it seems."""
    tried: list[str] = []
    connect = SystemHost.connect

    def connect_without_ipv6(host: SystemHost, address: str, port: int) -> socket.socket:
        tried.append(address)
        if address == "::1":
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return connect(host, address, port)

    addresses = ["127.0.0.2", "::1", "127.0.0.1"]
    monkeypatch.setattr(SystemHost, "addresses", lambda *_: addresses)
    monkeypatch.setattr(SystemHost, "connect", connect_without_ipv6)
    return tried


def test_a_try_goes_through_the_addresses_of_the_host(loop, server, planned, tried):
    server.start()
    owner = Owner(loop, server.port, host="localhost")
    run_until(loop, lambda: owner.opened, "the last address has a server")
    assert (tried, planned) == (["127.0.0.2", "::1", "127.0.0.1"], [])
    assert owner.connection.peer == f"localhost:{server.port}"


def test_when_no_address_has_a_server_the_next_try_is_planned_once(loop, server, planned, tried):
    Owner(loop, server.port, host="localhost")
    run_until(loop, lambda: len(planned) == 3, "three tries have failed")
    assert tried == ["127.0.0.2", "::1", "127.0.0.1"] * 3


def test_a_limit_on_receiving_holds_over_the_next_connection_too(loop, server, connected):
    connected.connection.limit_receiving(2)
    server.clients[0].sendall(b"abc")
    run_until(loop, lambda: "c" in connected.events, "all has come")
    server.hang_up()
    run_until(loop, lambda: connected.opened == 2 and server.clients, "it is connected again")
    server.clients[0].sendall(b"def")
    run_until(loop, lambda: "f" in connected.events, "all has come")
    received = [event for event in connected.events if event != "open" and "lost" not in event]
    assert received == ["ab", "c", "de", "f"]
