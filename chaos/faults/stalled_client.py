"""A client that stops reading: it connects, sends its hello, and hangs.

The kernel would hide that: on loopback it buffers some megabytes for a peer that does not read. So
the client offers a tiny window and tiny segments, by which the server's kernel sizes its send
buffer: after some kilobytes the server process itself has to keep the rest.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from chaos.lab.target import TargetError

CONNECT_S: Final = 5.0
RECEIVE_BUFFER_BYTES: Final = 2304
"""The smallest SO_RCVBUF that Linux accepts (socket(7))."""
SEGMENT_BYTES: Final = 88
"""The smallest segment size that Linux accepts (TCP_MIN_MSS)."""
DRAIN_BUFFER_BYTES: Final = 1 << 20
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The bytes in the server's kernel, by connection (proc(5), Linux only)."""


class StalledClient:
    """A client that reads nothing until `drain` is called. Leaving the `with` block closes it.

    `hello` is sent at once: `HELLO,1,1*` makes it a numbered client of the price stream from the
    first tick on, a logon makes it a client of the order port; a plain client sends nothing. Use
    it from one thread.
    """

    def __init__(self, host: str, port: int, hello: bytes = b"") -> None:
        """Connect. Raises TargetError."""
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._sock = socket.socket(family)
        try:
            self._sock.settimeout(CONNECT_S)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            self._sock.connect(address)
            self._sock.sendall(hello)
        except OSError as error:
            self._sock.close()
            raise TargetError(f"no client can connect to {host}:{port}: {error}") from None
        host, own_port = self._sock.getsockname()[:2]
        self.ports = (port, own_port)
        """The port of the server and that of this client."""
        self.name = f"{host}:{own_port}"
        """The name of this client in the server's log."""

    def send(self, data: bytes) -> bool:
        """Send more bytes; False if the server has disconnected, or accepts them too slowly."""
        try:
            self._sock.sendall(data)
        except OSError:
            return False
        return True

    def drain(self, until_s: float) -> bytes:
        """Receive some bytes; b"" at the end of the connection or if none come in time.

        Waits no longer than `until_s` (monotonic). The first call ends the stall.
        """
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DRAIN_BUFFER_BYTES)
        self._sock.settimeout(max(0.001, until_s - time.monotonic()))
        with suppress(OSError):
            return self._sock.recv(DRAIN_BUFFER_BYTES)
        return b""

    def close(self) -> None:
        """Close the connection. May be called again."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def waiting_bytes(clients: Iterable[StalledClient]) -> list[int]:
    """Return how many bytes the server's kernel holds for each client, from one read of the tables.

    0: the client is not stuck, or the server has closed the connection. Bytes in the client's own
    kernel are not counted. Reading the tables costs the kernel some 10 ms, whatever their size: do
    not do it often.
    """
    queues: dict[tuple[int, int], int] = {}
    for table in _TABLES:
        with suppress(OSError):  # a kernel without IPv6
            for line in table.read_text().splitlines()[1:]:
                _, local, remote, _, sizes = line.split(maxsplit=5)[:5]
                ports = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
                queues[ports] = int(sizes.partition(":")[0], 16)
    return [queues.get(client.ports, 0) for client in clients]
