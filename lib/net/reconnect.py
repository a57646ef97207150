"""A client's connection that comes back: connect, notice the loss, wait, connect again.

The owner sees three events: the connection opened, bytes arrived, the connection was lost. When to
try again is decided by `lib.net.backoff`. Only the owner knows whether a connection is of use (a
server may accept and close at once), so it calls `proved()` after the first valid answer.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Final, Protocol

from lib.clock import SECOND_NS
from lib.net.backoff import Backoff
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.host import address_text
from lib.wire.framing import RECEIVE_BYTES

CONNECT_TIMEOUT_NS: Final = 1 * SECOND_NS
MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024


class Link(Protocol):
    """The interface of a `ReconnectingConnection` to its owner."""

    @property
    def peer(self) -> str:
        """The server's address, as text for logs."""

    def send(self, *pieces: bytes) -> None:
        """Send; without a connection nothing is sent."""

    def proved(self) -> None:
        """The server gave a valid answer."""

    def drop(self, reason: str, wait_ns: int = 0) -> None:
        """Close the connection and try again, not before `wait_ns` from now."""

    def hold_back(self, wait_ns: int) -> None:
        """Do not try again before `wait_ns` from now. For a connection that is lost."""

    def limit_receiving(self, most_bytes: int) -> None:
        """Receive at most so many bytes in a pass of the loop; 0 stops receiving."""


class Connect(Protocol):
    """Makes a `Link` with these callbacks: `ReconnectingConnection` with all else bound."""

    def __call__(
        self,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> Link:
        """Begin to connect."""


class ReconnectingConnection:
    """Keeps one connection to `host:port`, or to a Unix socket, up. Used from its loop only.

    A try goes through the addresses of the host, until one has a server.

    `on_open()`: connected. `on_data(data)`: bytes came. `on_lost(reason)`: an established
    connection ended; the next try is already planned. Failed tries in between are silent.
    """

    def __init__(
        self,
        loop: EventLoop,
        host: str,
        port: int,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._host = host
        self._port = port
        self._on_open = on_open
        self._on_data = on_data
        self._on_lost = on_lost
        self._backoff = Backoff(loop.host.random)
        self._addresses = loop.host.addresses(host)
        self._untried: list[str] = []
        """The addresses that are left of this try."""
        self._connecting: socket.socket | None = None
        self._connection: Connection | None = None
        self._receive_bytes = RECEIVE_BYTES
        self._next_try_ns: int | None = self._loop.clock()
        self._give_up_ns: int | None = None
        loop.add_timed(self)

    @property
    def peer(self) -> str:
        """The server's address, as text for logs."""
        return address_text(self._host, self._port)

    def send(self, *pieces: bytes) -> None:
        """Send, or queue up to `MAX_QUEUED_BYTES`. Without a connection nothing is sent."""
        if self._connection:
            self._connection.send(*pieces)

    def proved(self) -> None:
        """The server gave a valid answer: the outage is over."""
        self._backoff.succeeded()

    def drop(self, reason: str, wait_ns: int = 0) -> None:
        """Close the connection (it is dead, or the peer broke the protocol) and try again.

        The next try is not before `wait_ns` from now. Without a connection nothing happens.
        """
        if self._connection:
            self._connection.close(reason)
            if wait_ns:
                self.hold_back(wait_ns)

    def hold_back(self, wait_ns: int) -> None:
        """Do not try again before `wait_ns` from now. For `on_lost`: a try must be planned."""
        assert self._next_try_ns is not None
        self._next_try_ns = max(self._next_try_ns, self._loop.clock() + wait_ns)

    def limit_receiving(self, most_bytes: int) -> None:
        """Receive at most so many bytes in a pass of the loop, over later connections, too.

        With 0 nothing is received, and the loss of the connection is not noticed.
        """
        self._receive_bytes = most_bytes
        if self._connection:
            self._connection.limit_receiving(most_bytes)

    def next_deadline_ns(self) -> int | None:
        """When to try to connect, or when to give up a try."""
        return self._next_try_ns if self._connecting is None else self._give_up_ns

    def on_time(self, now_ns: int) -> None:
        """Try to connect, or give up a try that takes too long."""
        if self._connecting is None:
            self._try(now_ns)
        else:
            self._failed()

    def _try(self, now_ns: int) -> None:
        self._next_try_ns = None
        self._untried = [*self._addresses]
        self._try_next_address(now_ns)

    def _try_next_address(self, now_ns: int) -> None:
        while self._untried:
            try:
                sock = self._loop.host.connect(self._untried.pop(0), self._port)
            except OSError:  # this machine has no such address, or the process no descriptor
                continue
            self._connecting = sock
            self._give_up_ns = now_ns + CONNECT_TIMEOUT_NS
            self._loop.register(sock, selectors.EVENT_WRITE, self._on_connected)
            return
        self._plan_next_try()

    def _on_connected(self, _events: int) -> None:
        sock = self._connecting
        assert sock is not None
        if not _has_met_a_server(sock):
            self._failed()
            return
        self._loop.unregister(sock)
        self._connecting = None
        self._connection = Connection(
            self._loop,
            sock,
            max_queued_bytes=MAX_QUEUED_BYTES,
            on_data=self._on_data,
            on_closed=self._closed,
            receive_bytes=self._receive_bytes,
        )
        self._on_open()

    def _failed(self) -> None:
        assert self._connecting is not None
        self._loop.unregister(self._connecting)
        self._connecting.close()
        self._connecting = None
        self._try_next_address(self._loop.clock())

    def _closed(self, reason: str) -> None:
        self._connection = None
        self._plan_next_try()
        self._on_lost(reason)

    def _plan_next_try(self) -> None:
        now_ns = self._loop.clock()
        self._next_try_ns = now_ns + self._backoff.next_wait_ns(now_ns)


def _has_met_a_server(sock: socket.socket) -> bool:
    try:
        # A client that connects to a free port of its own range can meet itself.
        return bool(sock.getpeername() != sock.getsockname())
    except OSError:  # refused, unreachable or already reset: there is no peer
        return False
