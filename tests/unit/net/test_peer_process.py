"""Who is at the other end: the sockets of a process are found, and nothing is an error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lib.net import peer_process
from lib.net.peer_process import MAX_DESCRIPTORS, MAX_LATE_ANSWERS, connected_from

CLIENT = """
import socket, sys
held = [open("/dev/null") for _ in range(int(sys.argv[3]))]
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(flush=True)
sys.stdin.read()
"""


class Host:
    """A listening socket, and clients of it in this process and in others."""

    def __init__(self, clean_up: ExitStack, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._clean_up = clean_up
        self._listening = clean_up.enter_context(socket.create_server((address, 0), family=family))
        self.address = self._listening.getsockname()[:2]

    def accept(self) -> socket.socket:
        return self._clean_up.enter_context(self._listening.accept()[0])

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Return a client of this process, and the accepted end of its connection."""
        client = self._clean_up.enter_context(socket.create_connection(self.address))
        return client, self.accept()

    def connect_from_child(self, held_descriptors: int = 0) -> tuple[int, socket.socket]:
        """Return a child's process id, and the accepted end of its connection."""
        child = self._clean_up.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", CLIENT, *map(str, self.address), str(held_descriptors)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        assert child.stdout.readline()
        self._clean_up.callback(child.stdin.close)
        return child.pid, self.accept()


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with ExitStack() as clean_up:
        try:
            made = Host(clean_up, request.param)
        except OSError:
            pytest.skip(f"there is no {request.param} here")
        yield made


def test_the_connections_of_a_process_are_found_among_those_of_others(host):
    first, of_first = host.connect_from_child()
    _, of_us = host.connect()
    second, of_second = host.connect_from_child()
    all_of_them = [of_first, of_us, of_second]
    assert connected_from(all_of_them, [first]) == [of_first]
    assert connected_from(all_of_them, [second]) == [of_second]
    assert connected_from(all_of_them, [os.getpid(), first]) == [of_first, of_us]
    assert connected_from(all_of_them, []) == []
    assert connected_from([], [first]) == []


def test_a_peer_that_has_closed_or_a_process_that_has_ended_is_unknown(host):
    peer, ours = host.connect()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
        assert connected_from([ours], [ended.pid, 2**22 + 1]) == []
    assert connected_from([ours], [os.getpid()]) == [ours]
    peer.close()
    assert connected_from([ours], [os.getpid()]) == []


def test_what_is_no_connection_is_unknown_and_hides_no_other(host):
    _, ours = host.connect()
    _, ended = host.connect()
    ended.close()
    with socket.socket() as unconnected:
        assert connected_from([unconnected, ended, ours], [os.getpid()]) == [ours]


def test_a_client_is_found_up_to_a_bound_of_descriptors(host):
    few, of_few = host.connect_from_child(held_descriptors=MAX_DESCRIPTORS - 10)
    many, of_many = host.connect_from_child(held_descriptors=MAX_DESCRIPTORS)
    assert connected_from([of_few, of_many], [few, many]) == [of_few]


def test_where_the_kernel_does_not_answer_the_peer_is_unknown(host, monkeypatch):
    _, ours = host.connect()
    monkeypatch.setattr(peer_process, "_NETLINK_SOCK_DIAG", 31)  # MAX_LINKS is 32: unused
    assert connected_from([ours], [os.getpid()]) == []


class LateNetlink:
    """A netlink socket whose first answers come after their request has been given up."""

    def __init__(self, netlink: socket.socket, late: int) -> None:
        self._netlink = netlink
        self.send = netlink.send
        self._late = late

    def recv(self, size: int) -> bytes:
        if self._late:
            self._late -= 1
            raise BlockingIOError
        return self._netlink.recv(size)

    def __enter__(self) -> LateNetlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.close()


def test_an_answer_that_comes_late_does_not_shift_those_after_it_up_to_a_bound(host, monkeypatch):
    child, of_child = host.connect_from_child()
    _, of_us = host.connect()
    netlink = peer_process._open_netlink
    late = 1
    monkeypatch.setattr(peer_process, "_open_netlink", lambda: LateNetlink(netlink(), late))
    assert connected_from([of_child, of_us], [os.getpid()]) == [of_us]
    assert connected_from([of_us, of_child, of_us], [child]) == [of_child]
    late = MAX_LATE_ANSWERS + 1
    assert connected_from([of_us] * late + [of_us], [os.getpid()]) == []
