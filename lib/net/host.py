"""What a role asks of its machine: the time, listening and connected sockets, random numbers.

A role gets them from its event loop, and reads no clock and opens no socket anywhere else. So the
simulation (`tests/simulation`) runs the roles that ship, on a host of its own.
"""

from __future__ import annotations

import os
import socket
import time
from random import Random
from typing import Final, Protocol

BACKLOG: Final = 512
"""How many connections may wait in the kernel. It drops further ones, those of our own run too."""
SOCKET_MODE: Final = 0o600
"""Of a Unix socket's file: only its owner's processes, and root's, can connect."""
KEEPALIVE_IDLE_S: Final = 10
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_PROBES: Final = 3
"""The idle time, interval and number of TCP keepalive probes: a peer whose machine or network is
gone counts as lost after KEEPALIVE_IDLE_S + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL_S, even where the
protocol allows silence. Only the kernels take part: a peer that hangs, or a proxy that forwards
nothing, still answers."""


LOCALHOST: Final = ("127.0.0.1", "::1")
"""The addresses of the name "localhost". They are not asked of a resolver, which may be wrong about
it: a port must never leave the host (RFC 6761, 6.3)."""


class Host(Protocol):
    """A machine, as one process on it sees it."""

    random: Random

    def monotonic_ns(self) -> int:
        """Return the time by which everything is decided."""

    def wall_ns(self) -> int:
        """Return the time since 1970. It jumps."""

    def addresses(self, host: str) -> list[str]:
        """Return the addresses of a `host` of the settings, at least one."""

    def listen(self, address: str, port: int) -> socket.socket:
        """Return a non-blocking socket that listens. Raises OSError.

        An address that is an absolute path is that of a Unix socket, which has no port.
        """

    def connect(self, address: str, port: int) -> socket.socket:
        """Return a non-blocking socket that has begun to connect.

        It becomes writable when that has succeeded or failed. Raises OSError.
        """


class SystemHost:
    """The machine that this process runs on."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)

    def __init__(self) -> None:
        self.random = Random()

    def addresses(self, host: str) -> list[str]:
        """Return the addresses of a `host` of the settings, at least one.

        "localhost" has those of the loopback that this machine has: often there is no IPv6.
        """
        if host != "localhost":
            return [host]
        return [address for address in LOCALHOST if _is_here(address)] or [LOCALHOST[0]]

    def listen(self, address: str, port: int) -> socket.socket:
        """Return a non-blocking socket that listens. Raises OSError."""
        if is_path(address):
            return _listen_at(address)
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        # It sets SO_REUSEADDR: without it, a restarted role would have to wait for the connections
        # of its predecessor in TIME_WAIT.
        sock = socket.create_server(place, family=family, backlog=BACKLOG)
        sock.setblocking(False)
        return sock

    def connect(self, address: str, port: int) -> socket.socket:
        """Return a non-blocking socket that has begun to connect. Raises OSError."""
        if is_path(address):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(address)
            return sock
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        _keep_alive(sock)
        sock.connect_ex(place)
        return sock


SYSTEM: Final[Host] = SystemHost()


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def is_path(address: str) -> bool:
    """Return whether an address is the path of a Unix socket, and not one of a network."""
    return address.startswith("/")


def address_text(address: str, port: int) -> str:
    """Return an address as text: one of IPv6 in brackets, and a path without a port."""
    if is_path(address):
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _listen_at(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file that bind makes has the mode of the socket (Linux, unix_bind), less the umask:
        # so it is never there with another one.
        os.fchmod(sock.fileno(), SOCKET_MODE)
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
