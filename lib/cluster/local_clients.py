"""The clients of this host, whose order manager is on another host.

    client → connection → RelaySession → tw.orders.CLIENT.HOST.SESSION

They are served on the order manager's port. A client's session begins with its logon, which is
repeated until an order host answers; with that order host it goes on.
"""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import Mapping
from functools import partial
from typing import Final

from lib.clock import SECOND_NS
from lib.cluster.broker import HOST, Broker, Delivered
from lib.cluster.relay_session import MAX_UNTAKEN_BYTES, TO, RelaySession, SessionName, reports_of
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.streams import CLOCK, WALL
from lib.cluster.writer_watch import WORD_NS
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.net.listener import Listener
from lib.net.peer_process import credentials
from lib.process.client_log import ClientLog
from lib.process.client_table import ClientTable
from lib.process.kept_files import FileKeeper
from lib.process.run_identity import siblings
from lib.process.socket_file import SocketFile, make_room_for_socket
from lib.settings import Settings
from lib.wire.framing import MESSAGE_DELIMITER, FrameBuffer, MessageTooLongError
from lib.wire.order_messages import ErrorMessage, Logon, MessageError, decode_from_client, encode

RECEIVE_BYTES: Final = 16 * 1024
"""The most bytes of one client in one pass, and so in one message."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""How many bytes of answers may wait for a client before it is disconnected."""
OPEN_LIMIT_NS: Final = 5 * SECOND_NS
"""How long a logon may stay unanswered."""
HEARD_NS: Final = SECOND_NS // 10
"""How long a client without a logon may stay before it can make room."""

NO_ANSWER: Final = "no order manager of the cluster answers: log on again later"


class _Client:
    """A client's connection."""

    def __init__(self, peer: str, *, needs_token: bool) -> None:
        self.peer = peer
        self.needs_token = needs_token
        self.buffer = FrameBuffer()
        self.client_id: str | None = None
        self.name = ""
        self.session: RelaySession | None = None
        """None before its logon."""
        self.logon = b""
        self.logon_ns = 0
        self.rest = b""
        """Frames behind the logon, until that is answered."""
        self.order_host = ""
        """The order host that has answered the logon, "" before that."""


class LocalClients:
    """All clients of this host. A `Timed` of its loop, and used from there only."""

    def __init__(
        self,
        loop: EventLoop,
        broker: Broker,
        settings: Settings,
        *,
        host: str,
        token: str,
        client_log: ClientLog,
    ) -> None:
        """Listen. `host` is this host's name, `token` what a logon needs, "" if nothing.

        Raises CannotStartError.
        """
        self._loop = loop
        self._broker = broker
        self._host = host
        self._token = token.encode()
        self._client_log = client_log
        self._by_name: dict[str, _Client] = {}
        self._heard_ns = self._look_ns = loop.clock()
        self._clients = ClientTable(
            max_clients=client_log.max_clients,
            log=client_log,
            make=partial(_Client, needs_token=bool(token)),
            connect=partial(
                Connection, loop, max_queued_bytes=MAX_QUEUED_BYTES, receive_bytes=RECEIVE_BYTES
            ),
            on_data=self._on_data,
            on_drained=self._on_drained,
            on_closed=self._on_closed,
            client_id=lambda client: client.client_id,
            why_evict=self._why_evict,
            why_drop=lambda _, connection, now_ns: (
                "does not close" if connection.lingers_too_long(now_ns) else ""
            ),
        )
        manager, accept = settings.order_manager, self._clients.accept
        setting = "order_manager.port"
        Listener(loop, manager.host, manager.port, setting, client_log, accept, siblings)
        if path := settings.orders_socket:
            setting = "order_manager.token_file"
            make_room_for_socket(path, setting)
            listener = Listener(
                loop, str(path), 0, setting, client_log, self._accept_at_socket, siblings
            )
            loop.add_timed(FileKeeper(loop.clock, [SocketFile(path, listener.listen_anew)]))
        for timed in (self, client_log, self._clients):
            loop.add_timed(timed)

    def connected(self) -> None:
        """There is a connection to the brokers, or there is one again."""
        self._heard_ns = self._loop.clock()
        self._broker.follow(f"{reports_of(self._host)}.*")

    def take(self, event: Delivered) -> None:
        """Take a message of an order host."""
        self._heard_ns = now_ns = self._loop.clock()
        client = self._by_name.get(event.subject.rpartition(".")[2])
        order_host = event.message.headers.get(HOST, "")
        if client is None or client.order_host not in ("", order_host):
            return
        assert client.session
        connection = self._clients.connections[client]
        data = client.session.take(event.message, now_ns)
        if data:
            connection.send(data)
            if not connection.queued_bytes:
                client.session.handed_on(now_ns)
        if data and not client.order_host:
            client.order_host = order_host
            self._send(client, connection, client.rest)
            client.rest = b""
        if client.session.ended:
            _finish(connection, client.session.ended)
        elif client.order_host and client.session.has_room and connection.open:
            connection.limit_receiving(RECEIVE_BYTES)

    def next_deadline_ns(self) -> int:
        """When to look at the sessions again."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Give words, repeat logons, end silent sessions; follow anew what may be dead."""
        self._look_ns = now_ns + WORD_NS // 2
        for client in list(self._by_name.values()):
            assert client.session
            connection = self._clients.connections[client]
            if client.order_host:
                client.session.look(now_ns)
                if client.session.ended:
                    _finish(connection, client.session.ended)
            elif now_ns - client.logon_ns > OPEN_LIMIT_NS:
                self._refuse(client, connection, NO_ANSWER)
            else:
                client.session.repeat(client.logon, now_ns)
        if self._by_name and now_ns - self._heard_ns > SILENCE_NS:
            self.connected()

    def _accept_at_socket(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        is_owner = credentials(sock).uid == os.geteuid()
        make = partial(_Client, needs_token=not is_owner)
        return self._clients.accept(sock, peer, is_ours, make)

    def _on_data(self, client: _Client, data: bytes) -> None:
        connection = self._clients.connections[client]
        try:
            frames = client.buffer.feed(data)
        except MessageTooLongError as error:
            self._client_log.protocol_error(client.peer, str(error))
            connection.close(f"protocol error: {error}")
            return
        if client.session is None and frames:
            logon, _, client.rest = frames.partition(MESSAGE_DELIMITER)
            try:
                self._log_on(client, logon)
            except MessageError as error:
                self._refuse(client, connection, str(error))
        elif client.order_host:
            self._send(client, connection, frames)
        else:
            client.rest += frames
            if len(client.rest) > MAX_UNTAKEN_BYTES:
                connection.limit_receiving(0)

    def _log_on(self, client: _Client, frame: bytes) -> None:
        """Begin the session of a client. Raises MessageError for anything but a logon."""
        logon = decode_from_client(frame)
        if not isinstance(logon, Logon):
            raise MessageError("an order needs a logon first, on this host", logon.order_id)
        if client.needs_token and not hmac.compare_digest(
            (logon.token or "").encode(), self._token
        ):
            raise MessageError("token is missing, or not the one of this host")
        now_ns = self._loop.clock()
        client.client_id = logon.client_id
        client.name = f"{self._loop.host.random.getrandbits(64):016x}"
        client.logon, client.logon_ns = encode(Logon(logon.client_id)), now_ns
        client.session = RelaySession(partial(self._publish, client), now_ns)
        self._by_name[client.name] = client
        client.session.send(client.logon, now_ns)

    def _send(self, client: _Client, connection: Connection, frames: bytes) -> None:
        if frames and client.session:
            client.session.send(frames, self._loop.clock())
            if not client.session.has_room:
                connection.limit_receiving(0)

    def _publish(self, client: _Client, headers: Mapping[str, str], data: bytes) -> None:
        assert client.client_id
        wall_ns = self._loop.host.wall_ns()
        own = {
            HOST: self._host,
            WALL: str(wall_ns),
            CLOCK: str(wall_ns - self._loop.clock()),
            **({TO: client.order_host} if client.order_host else {}),
        }
        subject = SessionName(client.client_id, self._host, client.name).orders
        self._broker.publish(subject, {**headers, **own}, data)

    def _refuse(self, client: _Client, connection: Connection, reason: str) -> None:
        """Tell a client why it is disconnected."""
        self._by_name.pop(client.name, None)
        _finish(connection, reason, encode(ErrorMessage(reason=reason)))

    def _on_drained(self, client: _Client) -> None:
        if client.session:
            client.session.handed_on(self._loop.clock())

    def _on_closed(self, client: _Client) -> None:
        self._by_name.pop(client.name, None)
        if client.session and client.order_host:
            client.session.end("the client is gone", self._loop.clock())

    def _why_evict(self, client: _Client, connection: Connection) -> str:
        is_old = self._loop.clock() - connection.opened_ns >= HEARD_NS
        return "made room: no logon" if is_old and client.session is None else ""


def _finish(connection: Connection, reason: str, *last_pieces: bytes) -> None:
    """Send a client the last pieces, and close its connection once it has closed it."""
    if connection.open:
        connection.limit_receiving(RECEIVE_BYTES)
        connection.finish(reason, *last_pieces)
