"""One stream of the local gateway, published to the cluster while this host is its writer.

    gateway → StreamFeed → Publisher → StreamWriter → stream → live subject

A standby watches the writer's words (`Takeover`), and claims the stream when they are missing for
too long. Whoever has claimed it goes on behind its last message.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import structlog

from lib.clock import SECOND_NS, to_ns
from lib.cluster.broker import EPOCH, HOST, Answer, Broker, Delivered
from lib.cluster.progress import Progress, writer_activity
from lib.cluster.publisher import Publisher, headers_of
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.stream_writer import Standing, StreamWriter
from lib.cluster.streams import (
    CLOCK,
    CONTENTS,
    LAST,
    NEWS,
    NEXT,
    TAPE,
    TapePosition,
    live_subject,
    position_of,
)
from lib.cluster.takeover import Takeover
from lib.cluster.writer_watch import WORD_NS
from lib.net.event_loop import EventLoop
from lib.net.reconnect import ReconnectingConnection
from lib.process.log_events import (
    StandingBy,
    StreamClaimed,
    StreamLost,
    StreamOvertaken,
    log_event,
)
from lib.process.log_once import LogOnce
from lib.process.role import RoleEndsError
from lib.settings import ClusterSettings
from lib.streams.feed import StreamFeed
from lib.streams.stream_client import Frames, Joined, StreamClient, WentPlain
from lib.wire.framing import RECEIVE_BYTES
from lib.wire.stream_messages import encode_batch_header

MAX_LOOK_NS: Final = SECOND_NS // 8
"""The longest time between two looks."""
CARRIED: Final = (TAPE, NEXT, CONTENTS)
"""The headers that a claim has from the message before it: how far the tape is."""


class Uplink:
    """One stream of this host's gateway. A `Timed` of its loop, and used from there only.

    Attributes:
        is_writer: whether this host has claimed the stream.
        takeover: watches the writer, until this host is it.

    """

    def __init__(
        self,
        loop: EventLoop,
        broker: Broker,
        stream: str,
        cluster: ClusterSettings,
        claimant: str,
        *,
        host: str,
        port: int,
        contents: Callable[[], str],
    ) -> None:
        """`contents` returns what the gateway's tape is made of, as JSON; "" if it is not known."""
        self._loop = loop
        self._broker = broker
        self._stream = stream
        self._cluster = cluster
        self._name: Literal["price", "news"] = "news" if stream == NEWS else "price"
        self._connect = partial(ReconnectingConnection, loop, host, port)
        self.is_writer = False
        self.writer = StreamWriter(broker, stream, cluster.host, claimant)
        self._publisher = Publisher(self.writer, to_ns(cluster.linger))
        self.takeover = Takeover(
            broker, stream, cluster.host, to_ns(cluster.takeover_after), loop.clock()
        )
        self._has_claimed = False
        self._is_overtaken = False
        self._feed: StreamFeed | None = None
        self._tape = ""
        self._made_of = ""
        """What it is made of, as JSON."""
        self._word_ns = self._heard_ns = loop.clock()
        self._standing_by = LogOnce()
        self._contents = contents
        loop.add_timed(self)

    def connected(self) -> None:
        """There is a connection to the brokers, or there is one again."""
        self._heard_ns = self._loop.clock()
        self._broker.follow(live_subject(self._stream))

    def take(self, event: Answer | Delivered) -> None:
        """Take what has come from the brokers, if it is for this stream."""
        now_ns = self._loop.clock()
        if isinstance(event, Delivered):
            if event.subject == live_subject(self._stream):
                epoch = event.message.epoch
                self._heard_ns = now_ns
                self._is_overtaken |= self.is_writer and epoch > self.writer.epoch
                self.takeover.heard(epoch, now_ns)
        elif not self.writer.take(event):
            self.takeover.take(event, now_ns)

    def look(self) -> None:
        """Do what there is to do. Raises RoleEndsError when this host is no longer the writer.

        A writer without ticks learns by the words of the other one that it was overtaken. Its own
        words come back, so silence means that its subscription is dead, as it does to a standby.
        """
        now_ns = self._loop.clock()
        if self._is_overtaken or self.writer.standing is Standing.OVERTAKEN:
            raise RoleEndsError(StreamOvertaken(stream=self._stream, epoch=self.writer.epoch))
        if now_ns - self._heard_ns > SILENCE_NS:
            self.connected()
        match self.writer.standing:
            case Standing.BEHIND:
                raise RoleEndsError(StreamLost(stream=self._stream, last=self.writer.last))
            case Standing.STANDBY:
                self._stand_by(now_ns)
            case _:
                self._write(now_ns)

    def progress(self) -> Progress:
        """Return how far the stream is published, for those who look at the stack from outside."""
        activity = writer_activity(self.writer, has_claimed=self.is_writer)
        if not self.is_writer:
            return Progress(activity)
        position = self._publisher.position
        return Progress(
            activity,
            position=position.next_sequence - 1 if position else None,
            newest=self._publisher.newest,
            acknowledgements=self.writer.acknowledgements,
        )

    def next_deadline_ns(self) -> int:
        """When to look again though nothing has come."""
        due_ns = self._publisher.next_deadline_ns()
        longest_ns = self._loop.clock() + MAX_LOOK_NS
        return longest_ns if due_ns is None else min(due_ns, longest_ns)

    def on_time(self, _now_ns: int) -> None:
        """`look` comes after each pass."""

    def _stand_by(self, now_ns: int) -> None:
        takeover = self.takeover
        if self._has_claimed:  # in vain
            self._has_claimed = False
            takeover.begin_anew(now_ns)
        takeover.look(now_ns)
        if takeover.is_due:
            last = takeover.last
            carried = (
                {key: last.headers[key] for key in CARRIED if key in last.headers} if last else {}
            )
            self._has_claimed = True
            self.writer.claim(takeover.end, takeover.epoch, carried)
        elif takeover.writer not in ("", self._cluster.host):
            self._standing_by.log_new(StandingBy(stream=self._stream, writer=takeover.writer))

    def _write(self, now_ns: int) -> None:
        self.writer.look(now_ns)
        if self.writer.standing is Standing.RESOLVED and not self.is_writer:
            self.writer.resolved()  # says what became of the claim
        if self.writer.standing is Standing.WRITER and not self.is_writer:
            self.is_writer = True
            self._go_on()
            former = self.takeover.writer
            log_event(
                structlog.get_logger(),
                StreamClaimed(
                    stream=self._stream,
                    epoch=self.writer.epoch,
                    host=self._cluster.host,
                    former=former,
                ),
            )
        if not self.is_writer:
            return
        self._publisher.look(now_ns, self._headers())
        if self._feed:
            self._feed.limit_receiving(0 if self._publisher.is_full else RECEIVE_BYTES)
        if now_ns >= self._word_ns:
            self._word_ns = now_ns + WORD_NS
            self._give_word(now_ns)

    def _go_on(self) -> None:
        """Say what the stream says of the tape, until the gateway does."""
        self._publisher.position = self.position
        if last := self.takeover.last:
            self._made_of = last.headers.get(CONTENTS, "")

    @property
    def position(self) -> TapePosition | None:
        """How far the tape was in the stream at the claim, None if it was empty."""
        return position_of(self.takeover.last.headers) if self.takeover.last else None

    @property
    def is_fed(self) -> bool:
        """Whether the gateway delivers frames."""
        return self._feed is not None and self._feed.joined

    def join(self) -> None:
        """Connect to the gateway; for a writer."""
        if self._feed:
            return
        position = self.position
        client = StreamClient(
            tape=position.tape if position else None,
            next_sequence=position.next_sequence if position else 1,
            may_be_plain=False,
        )
        self._feed = StreamFeed(
            self._name,
            client,
            self._connect,
            on_begin=self._begin,
            on_frames=self._keep,
            clock=self._loop.clock,
        )
        self._loop.add_timed(self._feed)

    def _begin(self, event: Joined | WentPlain) -> None:
        assert isinstance(event, Joined)  # the client takes no other stream
        self._tape = event.tape
        self._made_of = self._contents()

    def _keep(self, batches: list[Frames]) -> None:
        self._publisher.keep(self._tape, batches, self._loop.clock())

    def _headers(self) -> dict[str, str]:
        offset_ns = self._loop.host.wall_ns() - self._loop.clock()
        headers = {CLOCK: str(offset_ns)}
        if self._made_of:
            headers[CONTENTS] = self._made_of
        return headers

    def _give_word(self, now_ns: int) -> None:
        """Say that the writer is there, and how far the stream is: a heartbeat of the tape."""
        position = self._publisher.position
        headers = {
            EPOCH: str(self.writer.epoch),
            HOST: self._cluster.host,
            LAST: str(self.writer.last),
            **self._headers(),
            **(headers_of(position) if position else {}),
        }
        data = encode_batch_header(position.next_sequence if position else 1, 0, now_ns)
        self._broker.publish(live_subject(self._stream), headers, data)
