"""The file of a Unix socket: what an earlier process left makes room, and nothing else does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib.errors import CannotStartError
from lib.process.socket_file import SocketFile, make_room_for_socket

SETTING = "order_manager.token_file"


def leave_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    path.chmod(0o600)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.sock"


def test_the_socket_of_a_process_that_has_ended_is_removed(path: Path) -> None:
    make_room_for_socket(path, SETTING)
    leave_socket(path)
    make_room_for_socket(path, SETTING)
    assert not os.path.lexists(path)


@pytest.mark.parametrize("is_crowded", [False, True])
def test_a_socket_that_is_served_stays(path: Path, is_crowded: bool) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        path.chmod(0o600)
        server.listen(0 if is_crowded else 8)
        if is_crowded:
            client.connect(str(path))
        with pytest.raises(CannotStartError, match=rf"^{SETTING}: {path}: another program listens"):
            make_room_for_socket(path, SETTING)
        assert path.is_socket()


def test_what_is_no_socket_of_ours_stays_and_is_named(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(CannotStartError, match=rf"^{SETTING}: {path}: it is a regular file"):
        make_room_for_socket(path, SETTING)
    path.unlink()
    path.symlink_to("elsewhere")
    with pytest.raises(CannotStartError, match="it is a symbolic link"):
        make_room_for_socket(path, SETTING)
    path.unlink()
    leave_socket(path)
    path.chmod(0o622)
    with pytest.raises(CannotStartError, match="others may write to it"):
        make_room_for_socket(path, SETTING)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")
def test_another_users_socket_stays_and_is_named(path: Path) -> None:
    leave_socket(path)
    os.chown(path, 1, -1)
    with pytest.raises(CannotStartError, match=rf"^{SETTING}: {path}: it belongs to .*\(1\)"):
        make_room_for_socket(path, SETTING)
    assert path.is_socket()


class Served:
    """A socket that is served at a path, and bound again after a loss."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socks: list[socket.socket] = []
        self.bind()
        self.file = SocketFile(path, self.bind)

    def bind(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        self.socks.append(sock)
        sock.bind(str(self.path))
        self.path.chmod(0o600)
        sock.listen()

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


@pytest.fixture
def served(path: Path) -> Iterator[Served]:
    with closing(Served(path)) as served:
        yield served


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_socket_file_that_is_lost_is_made_again(served: Served, is_replaced: bool) -> None:
    assert served.file.is_in_place()
    served.path.unlink()
    if is_replaced:
        leave_socket(served.path)
    assert not served.file.is_in_place()
    served.file.put_back()
    assert served.file.is_in_place()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.path))
    assert len(served.socks) == 2


def test_what_took_the_place_of_a_socket_file_stays_and_is_the_reason(served: Served) -> None:
    served.path.unlink()
    served.path.write_text("mine")
    with pytest.raises(OSError, match="it is a regular file"):
        served.file.put_back()
    served.path.unlink()
    with closing(Served(served.path)) as other:
        with pytest.raises(OSError, match="another program listens there"):
            served.file.put_back()
        assert other.file.is_in_place()
    served.file.put_back()
    assert served.file.is_in_place()
