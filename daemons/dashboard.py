"""Dashboard: shows the running stack in a browser, and serves metrics.

It observes from outside (`lib.dashboard.observer`), and no role depends on it. A page is three
files and one stream of views (`lib.dashboard.view`); each view is made once for all pages with the
same symbol, and the metrics once a second for all that ask. A slow page misses views and never
delays another.
"""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.dashboard.http_session import HttpError, HttpSession, Request, names_served
from lib.dashboard.metrics import CONTENT_TYPE, metrics
from lib.dashboard.observer import Observer
from lib.errors import CannotStartError
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.listener import Listener
from lib.process.client_log import ClientLog
from lib.process.client_table import ClientTable
from lib.process.limits import client_places
from lib.process.log_events import Listening, log_event
from lib.process.role import run_role
from lib.process.run_identity import siblings
from lib.process.supervisor import SERVER_VARIABLE, Supervisor, control_socket
from lib.settings import Settings

ANSWER_S: Final = 0.2
"""How long supervisord may take to answer. The loop waits for it."""
NICE: Final = 10
"""The priority on busy cores: below the roles that trade."""
LOOK_NS: Final = 250 * MILLISECOND_NS
"""How often the stack is observed."""
VIEW_NS: Final = 500 * MILLISECOND_NS
"""How often a page gets a view."""
ROUND_NS: Final = 100 * MILLISECOND_NS
"""How long one round of sending views may take; pages that it does not reach come first in the next
one. A view is made for each chosen symbol and takes 1 ms, with thousands of symbols 3."""
METRICS_NS: Final = SECOND_NS
"""How long the text of /metrics is served before it is made anew. With 5,000 positions that takes
50 ms."""
MAX_CONNECTIONS: Final = 512
FILES_A_STRATEGY: Final = 3
"""What is held open of a further strategy: its log, its heartbeat and its decisions."""
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""The bound of a client's send queue: more than the largest file with some views."""
REQUEST_NS: Final = 10 * SECOND_NS
"""How long a client may take to send its request, and to read the answer."""

PAGE: Final = Path(__file__).with_name("dashboard_page")
FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PLOTLY: Final = "/plotly.min.js"
JSON: Final = "application/json"
PLAIN: Final = "text/plain; charset=utf-8"
EVENTS: Final = "text/event-stream"
RETRY_MS: Final = 500
"""How long a page waits before it reconnects its lost stream."""
POLICY: Final = (
    "Content-Security-Policy",
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'",
)
"""Allows what Plotly needs (inline styles, generated images) and otherwise only our own files."""
KEPT_FOR_A_DAY: Final = ("Cache-Control", "max-age=86400")
NOT_KEPT: Final = ("Cache-Control", "no-store")


class HttpAnswer(NamedTuple):
    """The answer to a valid request."""

    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (NOT_KEPT,)
    status: int = 200


class HttpClient:
    """One connection of a browser or a scraper."""

    def __init__(self, session: HttpSession) -> None:
        self.session = session
        self.symbol: str | None = None
        """The symbol that its page has chosen; None for a client that gets no views."""


class Dashboard:
    """The role: one observer, one HTTP server."""

    def __init__(self, settings: Settings, loop: EventLoop) -> None:
        self._loop = loop
        self._log = structlog.get_logger()
        socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
        if socket_path is None:
            socket_path = settings.var_dir / "supervisor.sock"  # started by hand
        os.nice(NICE)
        self._first_symbol = settings.symbols[0]
        names = names_served(settings.dashboard.host, settings.dashboard.allowed_hosts)
        self._symbols = msgspec.json.encode(settings.symbols)
        self._files = {
            path: (content_type, (PAGE / name).read_bytes())
            for path, (name, content_type) in FILES.items()
        }
        self._files[PLOTLY] = (FILES["/page.js"][1], _plotly_file().read_bytes())
        further = FILES_A_STRATEGY * len(settings.strategies)
        places = client_places(MAX_CONNECTIONS, further=further)
        self._client_log = ClientLog("http", places, loop.clock)
        self._clients = ClientTable(
            max_clients=self._client_log.max_clients,
            log=None,
            connect=partial(Connection, loop, max_queued_bytes=MAX_QUEUED_BYTES),
            make=lambda _: HttpClient(HttpSession(names)),
            on_data=self._on_data,
            why_drop=_why_drop,
        )
        self._connections = self._clients.connections
        """By client; the one that has waited longest for a view comes first."""
        self._metrics = b""
        self._metrics_until_ns = 0
        """When it is made anew."""
        self._observer = Observer(settings, Supervisor(socket_path, ANSWER_S), socket_path.parent)
        host, port = settings.dashboard.host, settings.dashboard.port
        Listener(
            loop, host, port, "dashboard.port", self._client_log, self._clients.accept, siblings
        )
        log_event(self._log, Listening(stream="http", host=host, port=port))
        now_ns = loop.clock()
        self._look_ns = self._view_ns = now_ns
        for timed in (self._client_log, self, self._clients):
            loop.add_timed(timed)

    def step(self) -> None:
        """One pass of the loop."""
        self._loop.poll()

    def close(self) -> None:
        """Log the last counts; close what is observed."""
        self._client_log.on_time(self._loop.clock())
        self._observer.close()

    def next_deadline_ns(self) -> int:
        """When to observe the stack or send views."""
        return min(self._look_ns, self._view_ns)

    def on_time(self, now_ns: int) -> None:
        """Observe the stack, send views: whatever is due."""
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            self._observer.look()
        if now_ns >= self._view_ns:
            self._view_ns = now_ns + VIEW_NS
            self._send_views()

    def _send_views(self) -> None:
        """Send each page a view, if it has read the one before and there is time."""
        encoded: dict[str, bytes] = {}
        end_ns = self._loop.clock() + ROUND_NS
        for client, connection in list(self._connections.items()):
            symbol = client.symbol
            if symbol is None or connection.queued_bytes:
                continue
            if self._loop.clock() > end_ns:
                break
            self._connections[client] = self._connections.pop(client)  # to the end of the line
            if symbol not in encoded:
                encoded[symbol] = b"data: " + self._encoded_view(symbol) + b"\n\n"
            connection.send(client.session.part(encoded[symbol]))

    def _encoded_view(self, symbol: str) -> bytes:
        return msgspec.json.encode(self._observer.view(symbol))

    def _latest_metrics(self) -> bytes:
        now_ns = self._loop.clock()
        if now_ns >= self._metrics_until_ns:
            self._metrics_until_ns = now_ns + METRICS_NS
            pages = sum(client.symbol is not None for client in self._connections)
            self._metrics = metrics(self._observer, pages)
        return self._metrics

    def _symbol(self, request: Request) -> str:
        return request.parameters.get("symbol", self._first_symbol)

    def _on_data(self, client: HttpClient, data: bytes) -> None:
        connection = self._connections[client]
        try:
            request = client.session.receive(data)
            if request is None:
                return
            if request.path == "/events":
                session = client.session
                begin = session.begin_stream(EVENTS)
                if session.is_head:
                    connection.finish("answered", begin)
                    return
                client.symbol = self._symbol(request)
                connection.send(begin, session.part(b"retry: %d\n\n" % RETRY_MS))
                return
            content_type, body, headers, status = self._answer(request)
            answer = client.session.respond(status, content_type, body, *headers)
        except HttpError as error:
            text = f"{error}\n".encode()
            answer = client.session.respond(error.status, PLAIN, text, NOT_KEPT)
        connection.finish("answered", *answer)

    def _answer(self, request: Request) -> HttpAnswer:
        """Raises HttpError."""
        if request.path == "/metrics":
            return HttpAnswer(CONTENT_TYPE, self._latest_metrics())
        if request.path == "/health":
            health = self._observer.health()
            status = 200 if health.is_healthy else 503
            return HttpAnswer(JSON, msgspec.json.encode(health) + b"\n", status=status)
        if request.path == "/view":
            return HttpAnswer(JSON, self._encoded_view(self._symbol(request)))
        if request.path == "/symbols":
            return HttpAnswer(JSON, self._symbols)
        if request.path not in self._files:
            raise HttpError(
                404, "nothing is here; the dashboard is at /, see also /metrics, /health"
            )
        content_type, body = self._files[request.path]
        if request.path == PLOTLY:
            return HttpAnswer(content_type, body, (KEPT_FOR_A_DAY,))
        return HttpAnswer(content_type, body, (NOT_KEPT, POLICY))


def _why_drop(client: HttpClient, connection: Connection, now_ns: int) -> str:
    """Return why a client is disconnected; "" if it stays."""
    if connection.queued_bytes:
        return "takes nothing" if now_ns - connection.last_progress_ns > REQUEST_NS else ""
    if connection.lingers_too_long(now_ns):
        return "does not close"
    is_mute = client.symbol is None and now_ns - connection.opened_ns > REQUEST_NS
    return "asks nothing" if is_mute else ""


def _plotly_file() -> Path:
    """Return the path of Plotly's file for browsers, without importing the package."""
    found = importlib.util.find_spec("plotly")
    for place in (found.submodule_search_locations or ()) if found else ():
        file = Path(place) / "package_data" / "plotly.min.js"
        if file.exists():
            return file
    raise CannotStartError("the package plotly is not there; it is in requirements.txt")


if __name__ == "__main__":
    run_role("dashboard", Dashboard)
