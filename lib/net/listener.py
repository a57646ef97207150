"""A listening socket: binds with a human-readable error, accepts at a bounded rate.

However many clients connect, those already accepted are served: new connections are accepted at a
bounded rate and wait in the kernel meanwhile. However full a server is, the processes of its own
run are accepted: it keeps `RESERVED_PLACES` for them beyond its limit, and looks up the process at
the other end of a connection (`lib.net.peer_process`) only before it would refuse it.
"""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Protocol

from lib.clock import MILLISECOND_NS
from lib.errors import CannotStartError
from lib.net.event_loop import EventLoop
from lib.net.host import Host, address_text, is_path
from lib.net.peer_process import connected_from, credentials
from lib.net.rate_limit import RateLimit

RESERVED_PLACES: Final = 16
"""Places beyond a server's limit for processes of its own run: an orderbook and some strategies,
each possibly twice, while the end of its previous connection is not yet noticed."""
MAX_ACCEPTS_A_PASS: Final = 32
"""How many connections are accepted in one pass: they delay connected clients by some 2 ms."""
ACCEPT_INTERVAL_NS: Final = 1 * MILLISECOND_NS
"""The accept rate in the long run: one client per interval. A client that is accepted or refused
costs up to 0.2 ms until it is gone; a full backlog is emptied in half a second."""
ACCEPT_BURST: Final = 64
"""How many clients are accepted without waiting for `ACCEPT_INTERVAL_NS`."""
ACCEPT_PAUSE_NS: Final = 100 * MILLISECOND_NS
"""The pause after a failed accept (out of descriptors, say): the socket stays readable, so the loop
would otherwise spin."""

_NEVER_NS: Final = 2**63 - 1


class ServerLog(Protocol):
    """Where a server logs the clients that it does not accept."""

    def refused(self, peer: str) -> None:
        """A client was disconnected, because the server is full."""

    def accept_failed(self, reason: str) -> None:
        """The system did not hand over a connection."""


class Listener:
    """Listens on one port, on each address of the host, and hands over what it accepts.

    Used from its loop only.

    `on_accept(sock, peer, is_ours)` gets the socket, the peer's address as text, and whether the
    peer is known to be one of `our_processes()`, for which there are RESERVED_PLACES more. It
    returns False if the server is full: it is called once more if the peer turns out to be ours.
    """

    def __init__(
        self,
        loop: EventLoop,
        host: str,
        port: int,
        setting: str,
        log: ServerLog,
        on_accept: Callable[[socket.socket, str, bool], bool],
        our_processes: Callable[[], Iterable[int]],
    ) -> None:
        """Bind and listen. Raises CannotStartError, naming `setting`."""
        self._loop = loop
        self._host = host
        self._log = log
        self._on_accept = on_accept
        self._our_processes = our_processes
        self._rate = RateLimit(ACCEPT_BURST, ACCEPT_INTERVAL_NS)
        self._paused_until_ns: int | None = None
        self._socks = [
            _listening_socket(loop.host, address, port, setting)
            for address in loop.host.addresses(host)
        ]
        self._register()
        loop.add_timed(self)

    def next_deadline_ns(self) -> int | None:
        """When to accept again, None unless paused."""
        return self._paused_until_ns

    def on_time(self, _now_ns: int) -> None:
        """The pause is over."""
        self._paused_until_ns = None
        self._register()

    def hold(self) -> None:
        """Accept nothing until `accept_again`; connections wait in the kernel meanwhile."""
        self._pause_until(_NEVER_NS)

    def accept_again(self) -> None:
        """Accept what has come since `hold`, from the next pass on."""
        self._paused_until_ns = self._loop.clock()

    def listen_anew(self) -> None:
        """Listen on a new socket at the path of a Unix socket whose file is gone. Raises OSError.

        Connections that wait to be accepted at the old one are closed.
        """
        sock = self._loop.host.listen(self._host, 0)
        # The end of the pause registers what is listened on then.
        self._pause_until(self._loop.clock())
        for old in self._socks:
            old.close()
        self._socks = [sock]

    def _register(self) -> None:
        for sock in self._socks:
            self._loop.register(sock, selectors.EVENT_READ, partial(self._on_readable, sock))

    def _on_readable(self, listening: socket.socket, _events: int) -> None:
        clients = list(self._waiting_clients(listening))
        refused = {sock: peer for sock, peer in clients if not self._on_accept(sock, peer, False)}
        if refused:
            self._refuse(refused)
        now_ns = self._loop.clock()
        # Looking up the peers costs as much for one as for many, so after a refusal the next pass
        # waits until many can be accepted. The rate at which a full backlog empties is the same.
        self._rate.take(now_ns, MAX_ACCEPTS_A_PASS if refused else len(clients))
        if self._rate.ready_ns > now_ns:
            self._pause_until(self._rate.ready_ns)

    def _waiting_clients(self, listening: socket.socket) -> Iterator[tuple[socket.socket, str]]:
        for _ in range(MAX_ACCEPTS_A_PASS):
            try:
                client, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._log.accept_failed(error.strerror or str(error))
                self._pause_until(self._loop.clock() + ACCEPT_PAUSE_NS)
                return
            yield client, _peer_text(client, address)

    def _refuse(self, refused: dict[socket.socket, str]) -> None:
        """Close these connections, except those of our own run that have a place."""
        for sock in connected_from(refused, self._our_processes()):
            if self._on_accept(sock, refused[sock], True):
                del refused[sock]
        for sock, peer in refused.items():
            sock.close()
            self._log.refused(peer)

    def _pause_until(self, end_ns: int) -> None:
        if self._paused_until_ns is None:
            for sock in self._socks:
                self._loop.unregister(sock)
        self._paused_until_ns = max(end_ns, self._paused_until_ns or 0)


def _peer_text(client: socket.socket, address: tuple[str, int]) -> str:
    """Return a client's address as text; at a Unix socket, where it has none, its process."""
    if client.family == socket.AF_UNIX:
        return f"process:{credentials(client).pid}"
    return address_text(address[0], address[1])


def _listening_socket(machine: Host, address: str, port: int, setting: str) -> socket.socket:
    try:
        return machine.listen(address, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            place, cure = f"port {port} on {address}", "port"
            if is_path(address):
                place, cure = address, "var_dir"
            raise CannotStartError(
                f"{setting}: {place} is taken by another program "
                f"(another stack? stop it or choose another {cure})"
            ) from None
        raise CannotStartError(
            f"{setting}: cannot listen on {address_text(address, port)}: {error.strerror}"
        ) from None
