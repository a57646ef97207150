"""A listening socket: binds with an error a person understands, accepts without ever stalling.

However many come, those that are in are served: who connects again and again is accepted at a
bounded rate and waits in the kernel meanwhile. And however many are in, the processes of our own
run come in: a server keeps `RESERVED_PLACES` for them beyond its own limit, and looks who is at the
other end of a connection (`lib.net.peer_process`) only where it would have to refuse it.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from lib.clock import MILLISECOND_NS
from lib.errors import CannotStartError
from lib.net.client_log import ClientLog
from lib.net.event_loop import EventLoop
from lib.net.peer_process import connected_from
from lib.net.rate_limit import RateLimit

RESERVED_PLACES: Final = 16
"""Beyond a server's limit, for processes of our own run: an orderbook and some strategies, each
also once more, where the end of its last connection has not been noticed yet."""
BACKLOG: Final = 512
"""Connections that wait in the kernel, which drops further ones: our own as well."""
MAX_ACCEPTS_A_PASS: Final = 32
"""A pause of some 2 ms for those that are in."""
ACCEPT_INTERVAL_NS: Final = 1 * MILLISECOND_NS
"""A client that is let in, or refused, costs up to 0.2 ms until it is gone. At this rate the last
of a full backlog comes in after half a second."""
ACCEPT_BURST: Final = 64
"""Clients that come in without having to wait for that."""
ACCEPT_PAUSE_NS: Final = 100 * MILLISECOND_NS
"""After the system refused an accept (out of descriptors, say), wait this long: the loop would
otherwise be told at once, for ever, that the connection is still there."""


class Listener:
    """Listens on one port and hands over what it accepts. Used from its loop only.

    `on_accept(sock, peer, is_ours)` gets the socket, the peer's address as text, and whether it is
    known to be one of `our_processes()`, for which there are RESERVED_PLACES more. It returns False
    if there is no place for it: then it is asked once more if the client turns out to be ours.
    """

    def __init__(
        self,
        loop: EventLoop,
        host: str,
        port: int,
        setting: str,
        log: ClientLog,
        on_accept: Callable[[socket.socket, str, bool], bool],
        our_processes: Callable[[], Iterable[int]],
    ) -> None:
        """Bind and listen. Raises CannotStartError, naming `setting`."""
        self._loop = loop
        self._log = log
        self._on_accept = on_accept
        self._our_processes = our_processes
        self._rate = RateLimit(ACCEPT_BURST, ACCEPT_INTERVAL_NS)
        self._paused_until_ns: int | None = None
        self._sock = _listening_socket(host, port, setting)
        self._register()
        loop.add_timed(self)

    def next_deadline_ns(self) -> int | None:
        """When to accept again, if that had to be paused."""
        return self._paused_until_ns

    def on_time(self, _now_ns: int) -> None:
        """The pause is over."""
        self._paused_until_ns = None
        self._register()

    def _register(self) -> None:
        self._loop.register(self._sock, selectors.EVENT_READ, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        clients = list(self._waiting_clients())
        refused = {sock: peer for sock, peer in clients if not self._on_accept(sock, peer, False)}
        if refused:
            self._refuse(refused)
        now_ns = time.monotonic_ns()
        # To find out who they are costs as much for one as for many: it waits for many. Of a full
        # backlog each pass takes that many, so the rate at which it empties is the same.
        self._rate.take(now_ns, MAX_ACCEPTS_A_PASS if refused else len(clients))
        if self._rate.ready_ns > now_ns:
            self._pause_until(self._rate.ready_ns)

    def _waiting_clients(self) -> Iterator[tuple[socket.socket, str]]:
        for _ in range(MAX_ACCEPTS_A_PASS):
            try:
                client, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._log.accept_failed(error.strerror or str(error))
                self._pause_until(time.monotonic_ns() + ACCEPT_PAUSE_NS)
                return
            yield client, f"{address[0]}:{address[1]}"

    def _refuse(self, refused: dict[socket.socket, str]) -> None:
        """Close these connections, but for those of our own run if there is a place for them."""
        for sock in connected_from(refused, self._our_processes()):
            if self._on_accept(sock, refused[sock], True):
                del refused[sock]
        for sock, peer in refused.items():
            sock.close()
            self._log.refused(peer)

    def _pause_until(self, end_ns: int) -> None:
        if self._paused_until_ns is None:
            self._loop.unregister(self._sock)
        self._paused_until_ns = max(end_ns, self._paused_until_ns or 0)


def _listening_socket(host: str, port: int, setting: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # It sets SO_REUSEADDR, without which a restarted role would have to wait for its
        # predecessor's connections in TIME_WAIT.
        sock = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStartError(
                f"{setting}: port {port} on {host} is taken by another program "
                "(another stack? stop it or choose another port)"
            ) from None
        raise CannotStartError(
            f"{setting}: cannot listen on {host}:{port}: {error.strerror}"
        ) from None
    sock.setblocking(False)
    return sock
