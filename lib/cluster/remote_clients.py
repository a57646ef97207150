"""The clients of other hosts, at the order manager of this host.

    tw.orders.> → RelaySession → connection → order manager

Each order host hears every client. The one whose order manager answers a logon has the session; the
others have an order manager that does not listen, and say nothing. Should two answer, because one
was overtaken and does not know it yet, the client's host chooses one, and the ledger's stream
refuses the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
import structlog

from lib.cluster.broker import HOST, Broker, Delivered, Message
from lib.cluster.clock_watch import ClockWatch
from lib.cluster.relay_session import (
    END,
    MAX_UNTAKEN_BYTES,
    NUMBER,
    ORDERS,
    TO,
    RelaySession,
    SessionName,
    session_of,
)
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.streams import CLOCK, WALL, number_in
from lib.cluster.writer_watch import WORD_NS
from lib.net.connection import Connection
from lib.net.event_loop import EventLoop
from lib.process.log_events import SessionClosed, SessionOpened, log_event
from lib.wire.framing import MESSAGE_DELIMITER, RECEIVE_BYTES, split
from lib.wire.order_messages import ErrorMessage, Logon, MessageError, decode_from_client, encode

MAX_SESSIONS: Final = 512
MAX_QUEUED_BYTES: Final = 4 * MAX_UNTAKEN_BYTES
"""How much may wait for the order manager: all that a client may have sent, each order with its
client_id, which may double it."""
MAX_ENDED: Final = 1024
"""How many sessions that are over are remembered: a logon of one may come late."""
GONE: Final = "the order host does not know the session any more"


@dataclass(eq=False)
class _Remote:
    """A client of another host."""

    session: RelaySession
    opened_ns: int
    connection: Connection = field(init=False)
    has_answer: bool = False
    """Whether the order manager has answered its logon: only then it is known to the client."""


class RemoteClients:
    """All clients of other hosts. A `Timed` of its loop, and used from there only."""

    def __init__(self, loop: EventLoop, broker: Broker, host: str, address: str, port: int) -> None:
        """`host` is this host's name, `address` and `port` are those of its order manager."""
        self._log = structlog.get_logger()
        self._loop = loop
        self._broker = broker
        self._host = host
        self._place = address, port
        self._remotes: dict[SessionName, _Remote] = {}
        self._ended: dict[SessionName, None] = {}
        """Sessions that are over, the oldest first."""
        self._clocks: dict[str, ClockWatch] = {}
        """Of the hosts of clients."""
        self._heard_ns = self._look_ns = loop.clock()
        loop.add_timed(self)

    def connected(self) -> None:
        """There is a connection to the brokers, or there is one again."""
        self._heard_ns = self._loop.clock()
        self._broker.follow(f"{ORDERS}.>")

    def take(self, event: Delivered) -> None:
        """Take a message of a client's host."""
        self._heard_ns = now_ns = self._loop.clock()
        name, message = session_of(event.subject), event.message
        if name is None:
            return
        remote, to = self._remotes.get(name), message.headers.get(TO, "")
        if to not in ("", self._host):
            if remote:  # its host has chosen another order host
                self._forget(name, remote, "another order host has the session")
        elif remote is None:
            self._take_unknown(name, message, to, now_ns)
        else:
            self._hand_on(name, remote, message, now_ns)

    def next_deadline_ns(self) -> int:
        """When to look at the sessions again."""
        return self._look_ns

    def on_time(self, now_ns: int) -> None:
        """Give words, end silent sessions; follow anew what may be a dead subscription."""
        self._look_ns = now_ns + WORD_NS // 2
        for name, remote in list(self._remotes.items()):
            if remote.has_answer:
                remote.session.look(now_ns)
            if remote.session.ended:
                self._forget(name, remote, remote.session.ended)
            elif not remote.has_answer and now_ns - remote.opened_ns > SILENCE_NS:
                self._forget(name, remote, "")
        if now_ns - self._heard_ns > SILENCE_NS:
            self.connected()

    def _take_unknown(self, name: SessionName, message: Message, to: str, now_ns: int) -> None:
        if to:
            if END not in message.headers:
                self._publish(name, {END: GONE, NUMBER: "1"}, b"")
        elif number_in(message.headers, NUMBER) == 1 and name not in self._ended:
            self._open(name, message, now_ns)

    def _open(self, name: SessionName, message: Message, now_ns: int) -> None:
        if len(self._remotes) >= MAX_SESSIONS:
            return
        try:
            sock = self._loop.host.connect(*self._place)
        except OSError:  # out of descriptors, say: the client's host asks again
            return
        remote = _Remote(RelaySession(partial(self._publish, name), now_ns), now_ns)
        self._remotes[name] = remote
        remote.connection = Connection(
            self._loop,
            sock,
            max_queued_bytes=MAX_QUEUED_BYTES,
            on_data=partial(self._on_answer, name, remote),
            on_closed=partial(self._on_closed, name, remote),
            on_drained=lambda: remote.session.handed_on(self._loop.clock()),
        )
        self._hand_on(name, remote, message, now_ns)

    def _hand_on(self, name: SessionName, remote: _Remote, message: Message, now_ns: int) -> None:
        """Pass what has come to the order manager."""
        session, connection = remote.session, remote.connection
        self._look_at_clock(name.host, message, now_ns)
        data = session.take(message, now_ns)
        if data:
            shift_ns = self._shift_ns(message, now_ns)
            try:
                frames = [admitted(frame, name.client_id, shift_ns) for frame in split(data)]
            except MessageError as error:
                session.send(encode(ErrorMessage(reason=str(error))), now_ns)
                session.end(str(error), now_ns)
            else:
                connection.send(b"".join(frames))
                if not connection.queued_bytes:
                    session.handed_on(now_ns)
        if session.ended:
            self._forget(name, remote, session.ended)
        elif connection.open and session.has_room:
            connection.limit_receiving(RECEIVE_BYTES)

    def _on_answer(self, name: SessionName, remote: _Remote, data: bytes) -> None:
        if not remote.has_answer:
            remote.has_answer = True
            opened = SessionOpened(
                client_id=name.client_id, host=name.host, sessions=len(self._remotes)
            )
            log_event(self._log, opened)
        remote.session.send(data, self._loop.clock())
        if not remote.session.has_room:
            remote.connection.limit_receiving(0)

    def _on_closed(self, name: SessionName, remote: _Remote, reason: str) -> None:
        """The order manager, or this relay, has closed the connection."""
        if self._remotes.pop(name, None) is None or not remote.has_answer:
            return
        self._ended[name] = None
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        remote.session.end(reason, self._loop.clock())
        closed = SessionClosed(
            client_id=name.client_id, host=name.host, reason=reason, sessions=len(self._remotes)
        )
        log_event(self._log, closed)

    def _forget(self, name: SessionName, remote: _Remote, reason: str) -> None:
        remote.connection.close(reason)
        self._remotes.pop(name, None)  # if the order manager had closed it before

    def _publish(self, name: SessionName, headers: dict[str, str], data: bytes) -> None:
        self._broker.publish(name.reports, {HOST: self._host, **headers}, data)

    def _shift_ns(self, message: Message, now_ns: int) -> int:
        """Return what to add to a monotonic time of the client's host for one of this host."""
        return number_in(message.headers, CLOCK) - (self._loop.host.wall_ns() - now_ns)

    def _look_at_clock(self, host: str, message: Message, now_ns: int) -> None:
        if host not in self._clocks:
            if len(self._clocks) >= MAX_SESSIONS:
                self._clocks.clear()  # what differs is logged again
            self._clocks[host] = ClockWatch(f"orders of {host}")
        ahead_ns = number_in(message.headers, WALL) - self._loop.host.wall_ns()
        self._clocks[host].heard(now_ns + ahead_ns, now_ns)


def admitted(frame: bytes, client_id: str, shift_ns: int) -> bytes:
    """Return a client's frame as the order manager gets it, delimiter included.

    An order is the client's, whether it says so or not, and its time of sending is shifted to this
    host's clock. Raises MessageError for the logon of another client.
    """
    try:
        message = decode_from_client(frame, explain=False)
    except MessageError:
        return frame + MESSAGE_DELIMITER  # the order manager says what is wrong with it
    if isinstance(message, Logon):
        if message.client_id != client_id:
            raise MessageError(f"this connection is {client_id}, not {message.client_id}")
        return frame + MESSAGE_DELIMITER
    sent_ns = message.sent_ns
    if sent_ns:
        sent_ns = max(1, sent_ns + shift_ns)
    of_client = message.client_id or client_id
    return encode(msgspec.structs.replace(message, client_id=of_client, sent_ns=sent_ns))
