"""A Unix socket in the place of a port: the same listener, the same connection that comes back."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.listener import Listener
from lib.net.peer_process import credentials
from lib.net.reconnect import ReconnectingConnection
from lib.process.client_log import ClientLog
from tests.loops import run_until


class Server:
    """Listens at a path, and keeps the connections it accepted."""

    def __init__(self, path: Path, places: int = 100) -> None:
        self.loop = EventLoop()
        self.path = path
        self.places = places
        self.ours: list[int] = []
        self.accepted: list[tuple[socket.socket, str]] = []
        self.listener = Listener(
            self.loop,
            str(path),
            0,
            "order_manager.token_file",
            ClientLog("orders", places),
            self._accept,
            lambda: self.ours,
        )

    def _accept(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        if len(self.accepted) >= self.places + is_ours:
            return False
        self.accepted.append((sock, peer))
        return True

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.path))
        return client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "orders.sock")
    yield server
    for sock, _ in server.accepted:
        sock.close()


def test_a_client_is_handed_over_with_its_process_and_user(server: Server) -> None:
    with server.connect():
        run_until(server.loop, lambda: server.accepted, "the client is accepted")
        [(sock, peer)] = server.accepted
        assert peer == f"process:{os.getpid()}"
        assert credentials(sock) == (os.getpid(), os.geteuid(), os.getegid())


def test_whatever_the_umask_only_its_owner_can_connect(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        server = Server(tmp_path / "orders.sock")
    finally:
        os.umask(before)
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


def test_a_process_of_our_own_run_comes_in_where_another_is_refused(server: Server) -> None:
    server.places = 1
    server.ours = [os.getpid()]
    with ExitStack() as clean_up:
        first, second, third = (clean_up.enter_context(server.connect()) for _ in range(3))
        run_until(server.loop, lambda: select.select([third], [], [], 0)[0], "one is refused")
        assert third.recv(1) == b""
        assert len(server.accepted) == 2
        assert not select.select([first, second], [], [], 0)[0]


def test_a_socket_whose_file_is_gone_is_made_anew_and_its_clients_stay(server: Server) -> None:
    with ExitStack() as clean_up:
        clients = [clean_up.enter_context(server.connect())]
        run_until(server.loop, lambda: server.accepted, "the client is accepted")
        for times in (2, 3):
            server.path.unlink()
            server.listener.listen_anew()
            clients.append(clean_up.enter_context(server.connect()))
            run_until(server.loop, lambda n=times: len(server.accepted) == n, "a new one, too")
        for client, (accepted, _) in zip(clients, server.accepted, strict=True):
            client.sendall(b"order*")
            assert accepted.recv(100) == b"order*"


def test_a_socket_that_cannot_be_made_anew_leaves_the_old_one_in_use(server: Server) -> None:
    with pytest.raises(OSError, match="in use"):
        server.listener.listen_anew()
    with server.connect():
        run_until(server.loop, lambda: server.accepted, "the client is accepted")


def test_a_connection_is_lost_and_comes_back_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "orders.sock"
    loop = EventLoop()
    events: list[str] = []
    link = ReconnectingConnection(
        loop,
        str(path),
        0,
        on_open=lambda: events.append("open"),
        on_data=lambda data: events.append(data.decode()),
        on_lost=lambda reason: events.append(f"lost: {reason}"),
    )
    assert link.peer == str(path)
    for _ in range(20):  # there is no socket yet
        loop.poll()
    assert events == []
    for times in (1, 2):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            for _ in range(20):  # there is one, and no server listens
                loop.poll()
            server.listen()
            run_until(loop, lambda n=times: events.count("open") == n, "it is connected")
            accepted, _ = server.accept()
            accepted.sendall(b"hello*")
            run_until(loop, lambda n=times: events.count("hello*") == n, "it has received")
            accepted.close()
            path.unlink()
        run_until(loop, lambda n=times: len(events) == 3 * n, "it is lost")
    assert events == ["open", "hello*", "lost: closed by peer"] * 2


def test_why_it_cannot_listen_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "none" / "orders.sock"
    with pytest.raises(CannotStartError, match=rf"^order_manager\.token_file: .* {path}: No such"):
        Server(path)


def test_a_path_that_is_taken_is_no_port(server: Server) -> None:
    with pytest.raises(CannotStartError) as refused:
        Server(server.path)
    assert str(refused.value) == (
        f"order_manager.token_file: {server.path} is taken by another program "
        "(another stack? stop it or choose another var_dir)"
    )
