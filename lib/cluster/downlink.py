"""One stream of the cluster, received in order and served on a port, as a gateway serves it.

    live subject → StreamFollower → ReceivedPublication → StreamServer → clients

It begins some messages before the stream's end, so that clients that were away for a while find
what they need: those of the last tape, without a gap. The port opens when they are there. What
cannot go on without a gap after that ends the role, so that all clients join anew and are told what
they have missed. Of news the latest counts: their clients only join anew.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

from lib.clock import SECOND_NS
from lib.cluster.broker import Answer, Broker, Delivered, Looked, Message
from lib.cluster.clock_watch import ClockWatch, believed_ns
from lib.cluster.progress import Progress
from lib.cluster.received_stream import (
    GapError,
    NewTapeError,
    ReceivedNews,
    ReceivedPublication,
    ReceivedTicks,
)
from lib.cluster.status_file import Activity
from lib.cluster.stream_follower import SILENCE_NS, StreamFollower
from lib.cluster.streams import CLOCK, LAST, NEWS, live_subject, number_in, position_of, split_batch
from lib.net.event_loop import EventLoop
from lib.net.listener import Listener
from lib.process.client_log import ClientLog
from lib.process.log_events import DownlinkEnds, ForeignMessage, StreamSilent
from lib.process.log_once import LogOnce
from lib.process.role import RoleEndsError
from lib.process.run_identity import siblings
from lib.streams.server import STALL_LIMIT_NS, StreamServer
from lib.wire.stream_messages import ProtocolError

MESSAGES_BACK: Final = 4096
"""How many messages before its end a price stream is read from: some seconds of ticks at least."""
NEWS_BACK: Final = 64
"""As many of news, of which the last ones may be claims without a sentiment."""
LOOK_AGAIN_NS: Final = SECOND_NS
"""The pause before a stream that is empty, or cannot be looked at, is looked at again."""


class Downlink:
    """One stream, followed and served. Used from its loop only."""

    def __init__(
        self,
        loop: EventLoop,
        broker: Broker,
        stream: str,
        *,
        host: str,
        port: int,
        setting: str,
        client_log: ClientLog,
    ) -> None:
        """Listen, and hold the clients until the stream is there. Raises CannotStartError."""
        self._loop = loop
        self._broker = broker
        self._stream = stream
        self._client_log = client_log
        self._question: int | None = None
        self._look_ns = loop.clock()
        self._follower: StreamFollower | None = None
        self._serve_behind = 0
        """The last message of the stream at the start: the port opens when it has come."""
        self._kind = ReceivedNews if stream == NEWS else ReceivedTicks
        self._publication: ReceivedPublication | None = None
        self._server: StreamServer | None = None
        self._silence = LogOnce()
        self._stranger = LogOnce()
        self._clock_watch = ClockWatch(stream)
        self._listener = Listener(loop, host, port, setting, client_log, self._accept, siblings)
        self._listener.hold()
        loop.add_timed(self)

    def connected(self) -> None:
        """There is a connection to the brokers, or there is one again."""
        self._broker.follow(live_subject(self._stream))

    def take(self, event: Answer | Delivered) -> None:
        """Take what has come from the brokers, if it is for this stream."""
        now_ns = self._loop.clock()
        if isinstance(event, Delivered):
            if event.subject == live_subject(self._stream) and self._follower:
                self._silence.over()
                if event.message.sequence:
                    self._receive(self._follower.delivered(event.message, now_ns))
                else:
                    self._take_word(event.message, self._follower, now_ns)
        elif event.question == self._question:
            self._question = None
            if isinstance(event, Looked) and event.state.last:
                self._begin(event, now_ns)
        elif self._follower and (messages := self._follower.take(event, now_ns)):
            self._receive(messages)

    def look(self) -> bool:
        """Ask what there is to ask; send to clients that lag. Returns whether any lags."""
        now_ns = self._loop.clock()
        if self._follower is None:
            if self._question is None and now_ns >= self._look_ns:
                self._look_ns = now_ns + LOOK_AGAIN_NS
                self._question = self._broker.look(self._stream)
            return False
        self._follower.look(now_ns)
        if self._follower.has_lost:
            reason = "the brokers have lost messages of it: it begins anew"
            raise RoleEndsError(DownlinkEnds(stream=self._stream, reason=reason))
        if self._follower.is_silent(now_ns):
            silent_s = SILENCE_NS / SECOND_NS
            self._silence.log_first(StreamSilent(stream=self._stream, silent_s=silent_s))
            self._follower.word(0, now_ns)
            self._broker.follow(live_subject(self._stream))
        return self._server is not None and self._server.send_to_lagging()

    def progress(self) -> Progress:
        """Return how far the stream is served, for those who look at the stack from outside."""
        if self._publication is None:
            return Progress(Activity.STARTING)
        return Progress(Activity.FOLLOWING, position=self._publication.stream.next_sequence - 1)

    def next_deadline_ns(self) -> int | None:
        """When to look again though nothing has come."""
        return self._loop.clock() + LOOK_AGAIN_NS // 4

    def on_time(self, _now_ns: int) -> None:
        """`look` comes after each pass."""

    def _accept(self, sock: socket.socket, peer: str, is_ours: bool) -> bool:
        assert self._server is not None  # until then the listener is held
        return self._server.clients.accept(sock, peer, is_ours)

    def _begin(self, looked: Looked, now_ns: int) -> None:
        back = NEWS_BACK if self._stream == NEWS else MESSAGES_BACK
        first = max(looked.state.first, looked.state.last - back + 1)
        self._follower = StreamFollower(self._broker, self._stream, first, now_ns)
        self._follower.word(looked.state.last, now_ns)
        self._serve_behind = looked.state.last

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            if not message.epoch:
                event = ForeignMessage(stream=self._stream, sequence=message.sequence)
                self._stranger.log_first(event)
                continue
            if message.is_claim and position_of(message.headers) is None:
                continue  # the first one of all: there was no tape yet
            try:
                self._keep(message)
            except (NewTapeError, ProtocolError) as error:
                raise RoleEndsError(DownlinkEnds(stream=self._stream, reason=str(error))) from None
        assert self._follower
        if (
            self._server is None
            and self._publication
            and self._follower.next_sequence > self._serve_behind
        ):
            self._server = StreamServer(
                self._loop, self._client_log, self._publication, STALL_LIMIT_NS
            )
            self._listener.accept_again()

    def _keep(self, message: Message) -> None:
        """Publish what a message has. Raises NewTapeError or ProtocolError."""
        if self._publication is None:
            self._publication = ReceivedPublication(message, self._kind)
        if self._server:
            try:
                count = self._publication.receive(message)
            except GapError as gap:
                if self._stream != NEWS:
                    raise
                self._skip_news(self._server, message, str(gap))
                count = self._publication.receive(message)
            if count:
                sent_ns = believed_ns(self._sent_ns(message), self._loop.clock())
                self._server.publish(count, sent_ns)
            return
        try:
            count = self._publication.receive(message)
        except NewTapeError:  # there is no client yet
            self._publication = ReceivedPublication(message, self._kind)
            count = self._publication.receive(message)
        self._publication.publish(count)

    def _skip_news(self, server: StreamServer, message: Message, gap: str) -> None:
        """Go on with the latest sentiment, as an uplink does that was away. Clients join anew."""
        assert self._publication
        for connection in list(server.clients.connections.values()):
            connection.close(gap)
        self._publication.skip_gap(message)

    def _take_word(self, message: Message, follower: StreamFollower, now_ns: int) -> None:
        follower.word(number_in(message.headers, LAST), now_ns)
        with suppress(ProtocolError):  # it is no word of ours
            self._clock_watch.heard(self._sent_ns(message), now_ns)

    def _sent_ns(self, message: Message) -> int:
        """Return when a message was sent, by this host's monotonic clock. Raises ProtocolError."""
        loop = self._loop
        offset_ns = number_in(message.headers, CLOCK) - (loop.host.wall_ns() - loop.clock())
        return split_batch(message.data)[0].sent_ns + offset_ns
