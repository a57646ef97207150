"""The server's side of one HTTP connection, without a socket: bytes in, one request out.

h11 implements HTTP; here are our rules. A connection has one request, a GET or a HEAD, whose body
is ignored. A Host that is neither a name of the loopback nor an allowed one is refused, against DNS
rebinding: a foreign page must not read ours through a name that its owner has pointed here. A
request without Host is one of HTTP/1.0 (h11 refuses any other, as RFC 9112, 3.2, demands), which no
browser sends: it is answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import h11

MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_PARAMETERS: Final = 16
_METHODS: Final = frozenset({b"GET", b"HEAD"})
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS: Final = (
    ("Connection", "close"),
    ("Allow", "GET, HEAD"),  # a 405 must have it (RFC 9110, 15.5.6), and any answer may
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class Request(NamedTuple):
    """A valid request."""

    path: str
    parameters: dict[str, str]
    """The query's parameters; of a repeated name, the last value."""


class HttpError(Exception):
    """The request cannot be served: the status to answer with, and a human-readable line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def names_served(host: str, allowed_hosts: Iterable[str]) -> frozenset[str]:
    """Return the names that a request may ask for.

    They are the usual names of the loopback, the configured host, and what the settings allow.
    """
    return _LOOPBACK_NAMES | {name.lower() for name in (host, *allowed_hosts)}


class HttpSession:
    """One connection. Send what its methods return, in order.

    A request that has a Host must name one of `names` (`names_served`), with any port.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.is_head = False
        """Whether the request was a HEAD: the answer ends with its headers."""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        self._is_asked = False

    def receive(self, data: bytes) -> Request | None:
        """Take received bytes, at least one. Returns the request, once, when it is complete.

        Raises HttpError; answer it with `respond`.
        """
        if self._is_asked:
            return None
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._is_asked = True
            raise HttpError(error.error_status_hint, str(error)) from None
        if not isinstance(event, h11.Request):
            return None
        self._is_asked = True
        self.is_head = event.method == b"HEAD"
        return _request(event, self._names)

    def respond(
        self, status: int, content_type: str, body: bytes, *headers: tuple[str, str]
    ) -> list[bytes]:
        """Return a complete answer. The body is one of the pieces, not a copy."""
        length = ("Content-Length", str(len(body)))
        pieces = [self._begin(status, content_type, length, *headers)]
        if not self.is_head:
            pieces += self._http.send_with_data_passthrough(h11.Data(body)) or []
        self._http.send(h11.EndOfMessage())
        return pieces

    def begin_stream(self, content_type: str) -> bytes:
        """Begin an answer that is sent in parts until the connection closes.

        That to a HEAD has no parts.
        """
        return self._begin(200, content_type, ("Cache-Control", "no-store"))

    def part(self, data: bytes) -> bytes:
        """Return the next part of the answer."""
        return self._http.send(h11.Data(data)) or b""

    def _begin(self, status: int, content_type: str, *headers: tuple[str, str]) -> bytes:
        all_headers = [("Content-Type", content_type), *_HEADERS, *headers]
        return self._http.send(h11.Response(status_code=status, headers=all_headers)) or b""


def _request(event: h11.Request, names: frozenset[str]) -> Request:
    if event.method not in _METHODS:
        raise HttpError(405, "only GET and HEAD are served here")
    hosts = [value.decode("latin-1") for name, value in event.headers if name == b"host"]
    if hosts and _name(hosts[0]) not in names:
        known = ", ".join(sorted(names))
        raise HttpError(421, f"ask for one of {known}, or add a name to [dashboard] allowed_hosts")
    try:
        url = urlsplit(event.target.decode("ascii"))
        parameters = dict(parse_qsl(url.query, max_num_fields=MAX_PARAMETERS))
    except ValueError:
        raise HttpError(400, "the address cannot be understood") from None
    return Request(url.path, parameters)


def _name(host: str) -> str:
    """Return a Host without its port and the brackets of an IPv6 address."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]").lower()
