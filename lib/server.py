"""A listening socket: binds with an error a person understands, accepts without ever stalling."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final

import structlog

from lib.clock import MILLISECOND_NS
from lib.errors import CannotStartError
from lib.event_loop import EventLoop

BACKLOG: Final = 512
MAX_ACCEPTS_A_PASS: Final = 64
ACCEPT_PAUSE_NS: Final = 100 * MILLISECOND_NS
"""After the system refused an accept (out of descriptors, say), wait this long: the loop would
otherwise be told at once, for ever, that the connection is still there."""


class Server:
    """Listens on one port and hands over what it accepts. Used from its loop only.

    `on_accept` gets the socket and the peer's address as text; it decides whether the client
    may stay.
    """

    def __init__(
        self,
        loop: EventLoop,
        host: str,
        port: int,
        setting: str,
        on_accept: Callable[[socket.socket, str], None],
    ) -> None:
        """Bind and listen. Raises CannotStartError, naming `setting`."""
        self._loop = loop
        self._on_accept = on_accept
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
        for _ in range(MAX_ACCEPTS_A_PASS):
            try:
                client, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                structlog.get_logger().error("accept_failed", reason=error.strerror)
                self._loop.unregister(self._sock)
                self._paused_until_ns = time.monotonic_ns() + ACCEPT_PAUSE_NS
                return
            self._on_accept(client, f"{address[0]}:{address[1]}")


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
