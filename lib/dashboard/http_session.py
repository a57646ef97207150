"""The server's side of one HTTP connection, without a socket: bytes in, one request out.

What HTTP is lies with h11; here is what we make of it. A connection has one request, which is a GET
or a HEAD and has no body that anybody reads. Who asks under another name than the loopback's is
refused: a page from elsewhere must not read ours through a name that its owner has pointed here.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import h11

MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_PARAMETERS: Final = 16
_METHODS: Final = frozenset({b"GET", b"HEAD"})
_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS: Final = (
    ("Connection", "close"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class Request(NamedTuple):
    """What is asked for."""

    path: str
    parameters: dict[str, str]
    """Of a name that comes twice, the last value."""


class HttpError(Exception):
    """The request cannot be served: the status to answer with, and a line for people."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class HttpSession:
    """One connection. What its methods return is to be sent, in order.

    `host` is where it is served; who asks for that, or for the usual names of the loopback, is at
    the right place.
    """

    def __init__(self, host: str) -> None:
        self._names = _NAMES | {host.lower()}
        self._is_head = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        self._is_asked = False

    def receive(self, data: bytes) -> Request | None:
        """Bytes came, at least one. Returns the request once it is whole, and nothing after it.

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
        self._is_head = event.method == b"HEAD"
        return _request(event, self._names)

    def respond(
        self, status: int, content_type: str, body: bytes, *headers: tuple[str, str]
    ) -> list[bytes]:
        """Answer whole. The body itself is one of the pieces, and no copy of it."""
        length = ("Content-Length", str(len(body)))
        pieces = [self._begin(status, content_type, length, *headers)]
        if not self._is_head:
            pieces += self._http.send_with_data_passthrough(h11.Data(body)) or []
        self._http.send(h11.EndOfMessage())
        return pieces

    def begin_stream(self, content_type: str) -> bytes:
        """Begin an answer that comes in parts, for as long as somebody listens."""
        return self._begin(200, content_type, ("Cache-Control", "no-store"))

    def part(self, data: bytes) -> bytes:
        """Go on with it. Who has asked for the head only gets no part."""
        return b"" if self._is_head else self._http.send(h11.Data(data)) or b""

    def _begin(self, status: int, content_type: str, *headers: tuple[str, str]) -> bytes:
        all_headers = [("Content-Type", content_type), *_HEADERS, *headers]
        return self._http.send(h11.Response(status_code=status, headers=all_headers)) or b""


def _request(event: h11.Request, names: frozenset[str]) -> Request:
    if event.method not in _METHODS:
        raise HttpError(405, "only GET is served here")
    hosts = [value.decode("latin-1") for name, value in event.headers if name == b"host"]
    if not hosts or _name(hosts[0]) not in names:
        raise HttpError(421, f"ask for one of {', '.join(sorted(names))}")
    try:
        url = urlsplit(event.target.decode("ascii"))
        parameters = dict(parse_qsl(url.query, max_num_fields=MAX_PARAMETERS))
    except ValueError:
        raise HttpError(400, "the address cannot be understood") from None
    return Request(url.path, parameters)


def _name(host: str) -> str:
    """Take the port and the brackets of an IPv6 address away."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]").lower()
