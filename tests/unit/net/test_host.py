"""The machine of a process: which addresses a host of the settings has."""

from __future__ import annotations

import errno
import socket

import pytest

from lib.net.host import SYSTEM, address_text
from tests.loops import needs_ipv6


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_an_address_is_itself_also_where_the_machine_does_not_have_it(host):
    assert SYSTEM.addresses(host) == [host]


def test_an_address_as_text_can_be_told_from_its_port():
    assert address_text("127.0.0.1", 5001) == "127.0.0.1:5001"
    assert address_text("localhost", 5001) == "localhost:5001"
    assert address_text("::1", 5001) == "[::1]:5001"
    assert address_text("/var/orders.sock", 0) == "/var/orders.sock"


@needs_ipv6
def test_localhost_is_every_address_of_the_loopback_that_the_machine_has():
    assert SYSTEM.addresses("localhost") == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("lost", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_localhost_without_ipv6_is_the_other_address(monkeypatch, lost):
    """The kernel has no IPv6, or it is switched off on the loopback."""
    bind = socket.socket.bind

    def without_ipv6(sock, address):
        if sock.family == socket.AF_INET6:
            raise OSError(lost, "")
        bind(sock, address)

    monkeypatch.setattr(socket.socket, "bind", without_ipv6)
    assert SYSTEM.addresses("localhost") == ["127.0.0.1"]
