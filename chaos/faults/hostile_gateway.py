"""A hostile gateway: the real gateway's numbered price stream with one kind of defect injected.

    gateway = HostileGateway()           # a fault for the proxy of the price stream
    proxy.fault = gateway
    gateway.defect = Noise(Random(1))    # from the next message on
    …                                    # until gateway.defect.left is 0
    gateway.defect.event_counts          # what the orderbook should have counted

Every answer to HELLO and every complete batch of the real stream goes to a `Defect`, which decides
what to send instead, a fixed number of times, and counts what the orderbook should log. To add a
kind of defect, add a class here and list it in `DEFECTS`; its name is recorded in the JSON.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Final

from chaos.faults.connection_faults import ConnectionFault, Direction, Flow
from lib.process.log_events import (
    Disconnected,
    MalformedFrames,
    ServerBrokeProtocol,
    TicksMissed,
    UnknownSymbols,
    name_of,
)
from lib.process.throttled_log import MAX_EXAMPLES
from lib.wire.framing import MAX_MESSAGE_BYTES, FrameBuffer, split
from lib.wire.stream_messages import (
    BATCH,
    HELLO,
    BatchHeader,
    HelloAnswer,
    encode_batch_header,
    encode_hello_answer,
    parse_batch_header,
    parse_hello_answer,
)

TIMES: Final = MAX_EXAMPLES
"""How often a defect is injected: as often as the orderbook lists ticks in one log line."""
SHARE: Final = 0.25
"""The probability that a batch gets a defect."""
MOST_TICKS: Final = 5
"""The most ticks that are withheld or repeated at a time."""

MALFORMED: Final = name_of(MalformedFrames)
UNKNOWN: Final = name_of(UnknownSymbols)
MISSED: Final = name_of(TicksMissed)
PROTOCOL_ERROR: Final = name_of(ServerBrokeProtocol)
DISCONNECTED: Final = name_of(Disconnected)

MALFORMED_FRAMES: Final = (
    b"",
    b"noise",
    b"AAPL,",
    b"AAPL,-1.00",
    b"AAPL,1e3",
    b"AAPL,1.123456789",
    b"AAPL,9000000000.00000001",
    b"AAPL,1.00,2.00",
    "AAPL,\N{ARABIC-INDIC DIGIT ONE}".encode(),
    b"\xff\xfe,1.00",
    b"HELLO,1,tape,1",
    b"X" * MAX_MESSAGE_BYTES,
)
"""Frames that are not ticks and leave their batch valid. (`BATCH,` would begin a batch.)"""
UNKNOWN_SYMBOL_TICKS: Final = (
    b"NOT-A-TRADED-SYMBOL,1.00",
    "ÄÄÄÄÄÄÄÄÄ,0.00000001".encode(),
    b"A" * 999 + b",1",
)
"""Ticks of symbols that are too long to be traded by any stack."""
BAD_HEADERS: Final = (
    b"",
    b"\xff\x00",
    b"AAPL,1.00",
    b"BATCH,1,1,1,1",
    b"BATCH,0,0,0",
    b"BATCH,9223372036854775807,9,1",
    b"BATCH,1,1," + b"1" * 999,
    b"HELLO,1,tape,1",
)
"""Messages that are not a valid header of the next batch."""
BAD_ANSWERS: Final = (
    b"HELLO,2,tape,1*",
    b"HELLO,1,tape*",
    b"HELLO,1,\xff,1*",
    b"HELLO,1," + b"t" * 64 + b",1*",
    b"HELLO,1,tape,0*",
    b"HELLO,1,tape,9223372036854775808*",
    b"AAPL,1.00*BATCH,1,1,1*AAPL,1.00*",
)
"""Bytes that are neither an answer to HELLO nor plain frames; the last one is an early batch."""


@dataclass
class EventCounts:
    """Counts by event of the orderbook's log: of injected defects, or of what was logged."""

    by_event: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, set[int]] = field(default_factory=dict)
    """The sequence numbers of the ticks, for events about ticks."""

    def add_ticks(self, event: str, count: int, numbers: Iterable[int]) -> None:
        """Add `count` ticks, of which these sequence numbers are known."""
        self.by_event[event] += count
        self.numbers.setdefault(event, set()).update(numbers)


@dataclass(frozen=True)
class WireBatch:
    """A complete batch of the stream. Without frames it is a heartbeat."""

    first: int
    frames: tuple[bytes, ...]
    """The frames without their delimiters."""
    sent_ns: int

    @property
    def last(self) -> int:
        """The last sequence up to the end of this batch."""
        return self.first + len(self.frames) - 1

    @property
    def plain(self) -> bytes:
        """The frames as bytes on the wire, without a header."""
        return b"".join(frame + b"*" for frame in self.frames)

    def encode(self, *, too_many: int = 0) -> bytes:
        """Return the bytes on the wire; their header claims `too_many` frames too many."""
        count = len(self.frames) + too_many
        return encode_batch_header(self.first, count, self.sent_ns) + self.plain


@dataclass
class ClientConnection:
    """One connection to a client."""

    flow: Flow
    ended: bool = False
    is_broken: bool = False
    """Whether a defect makes the client leave; no further defect is injected here."""
    plain: bool = False
    """Whether only plain frames are sent."""
    held: WireBatch | None = None
    """A batch that was held back."""
    first_kept: int = 0
    """The first sequence that is sent; earlier ticks are left out."""

    def send(self, data: bytes) -> None:
        """Send bytes, unless the connection has ended."""
        if not self.ended:
            self.flow.deliver(data, 0)

    def kept(self, batch: WireBatch) -> WireBatch:
        """Return what this client gets of a batch: a heartbeat if nothing is left of it."""
        if batch.first >= self.first_kept:
            return batch
        frames = batch.frames[self.first_kept - batch.first :]
        return WireBatch(self.first_kept, frames, batch.sent_ns)

    def send_batch(self, batch: WireBatch) -> None:
        """Send a batch, or only its plain frames."""
        self.send(batch.plain if self.plain else batch.encode())

    def hang_up(self) -> None:
        """End the connection with FIN; drop what is sent from now on."""
        self.flow.finish()
        self.ended = self.is_broken = True


class Defect:
    """Base of all defects; injects none itself. Called by the proxy's thread, read by any."""

    title: ClassVar[str]
    """A human-readable name."""
    counted_as: ClassVar[str | None]
    """The event that must be logged for it; None if none has to be."""
    times: ClassVar[int] = TIMES

    def __init__(self, random: Random) -> None:
        self.random = random
        self.left = self.times
        """How often it still has to be injected."""
        self.event_counts = EventCounts()
        self.done_ns = 0
        """When it was last injected (monotonic)."""
        self.last = 0
        """The last sequence that it affected."""

    def on_answer(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        """Called when the real gateway has answered HELLO."""
        connection.send(encode_hello_answer(answer.tape, answer.first))

    def on_batch(self, connection: ClientConnection, batch: WireBatch) -> None:
        """Called when the real gateway has sent a batch; injects the defect into some of them."""
        batch = connection.kept(batch)
        may_be = self.left > 0 and bool(batch.frames) and not connection.is_broken
        if may_be and self.random.random() < SHARE:
            self._inject(connection, batch)
        else:
            connection.send_batch(batch)

    def _inject(self, connection: ClientConnection, batch: WireBatch) -> None:
        """Send something else than this batch."""

    def _break(self, connection: ClientConnection, data: bytes, last: int) -> None:
        """Send bytes that break the protocol; the client reconnects and asks again."""
        self._done(last, PROTOCOL_ERROR, DISCONNECTED)
        connection.send(data)
        connection.is_broken = True

    def _done(self, last: int, *events: str) -> None:
        """Count one injection, in ticks up to `last`."""
        self.event_counts.by_event.update(events)
        self.last = last
        self.done_ns = time.monotonic_ns()
        self.left -= 1  # last: the experiment's thread waits for it


class NoDefect(Defect):
    """No defect: the stream passes unchanged."""

    times = 0


class Noise(Defect):
    """Replaces a tick by a malformed frame."""

    title = "malformed frame instead of a tick"
    counted_as: ClassVar[str] = MALFORMED

    def _inject(self, connection: ClientConnection, batch: WireBatch) -> None:
        frames = list(batch.frames)
        place = self.random.randrange(len(frames))
        frames[place] = self._frame()
        self.event_counts.add_ticks(self.counted_as, 1, [batch.first + place])
        self._done(batch.last)
        connection.send_batch(WireBatch(batch.first, tuple(frames), batch.sent_ns))

    def _frame(self) -> bytes:
        return self.random.choice(MALFORMED_FRAMES)


class Stranger(Noise):
    """Replaces a tick by one of a symbol that is not traded, each time of another one.

    The orderbook logs only the first tick of each.
    """

    title = "another symbol instead of a tick"
    counted_as = UNKNOWN

    def _frame(self) -> bytes:
        return b"%d-%b" % (self.left, self.random.choice(UNKNOWN_SYMBOL_TICKS))


class BrokenBatch(Defect, ABC):
    """Base of the defects that break the protocol with one batch, once a connection."""

    counted_as = PROTOCOL_ERROR

    def _inject(self, connection: ClientConnection, batch: WireBatch) -> None:
        self._break(connection, self._broken(batch), batch.last)

    @abstractmethod
    def _broken(self, batch: WireBatch) -> bytes:
        """Return what to send instead of the batch."""


class Endless(BrokenBatch):
    """Sends digits without end instead of the last delimiter."""

    title = "a message that never ends"

    def _broken(self, batch: WireBatch) -> bytes:
        return batch.encode()[:-1] + b"0" * (MAX_MESSAGE_BYTES + 1)


class BadHeader(BrokenBatch):
    """Sends something else where a batch should begin."""

    title = "garbage instead of a header"

    def _broken(self, batch: WireBatch) -> bytes:
        return self.random.choice(BAD_HEADERS) + b"*" + batch.plain


class TooMany(BrokenBatch):
    """Sends a batch with one frame more than its header says."""

    title = "a frame too many in a batch"

    def _broken(self, batch: WireBatch) -> bytes:
        return batch.encode(too_many=-1)


class TooFew(BrokenBatch):
    """Sends a batch with one frame less than its header says; a heartbeat then reveals it."""

    title = "a frame too few in a batch"

    def _broken(self, batch: WireBatch) -> bytes:
        return batch.encode(too_many=1) + encode_batch_header(batch.last + 1, 0, batch.sent_ns)


class Lost(BrokenBatch):
    """Leaves out the first tick of a batch. The client asks for it again and gets it."""

    title = "lost, resent on request"

    def _broken(self, batch: WireBatch) -> bytes:
        return WireBatch(batch.first + 1, batch.frames[1:], batch.sent_ns).encode()


class Repeated(BrokenBatch):
    """Sends a batch twice."""

    title = "repeated in the stream"

    def _broken(self, batch: WireBatch) -> bytes:
        return batch.encode() * 2


class Reordered(Defect):
    """Sends two batches in the wrong order."""

    title = "reordered"
    counted_as = PROTOCOL_ERROR

    def on_batch(self, connection: ClientConnection, batch: WireBatch) -> None:
        """Send a batch that was held back after the next one, which may be a heartbeat."""
        if connection.held:
            self._break(connection, batch.encode() + connection.held.encode(), batch.last)
            connection.held = None
        else:
            super().on_batch(connection, batch)

    def _inject(self, connection: ClientConnection, batch: WireBatch) -> None:
        connection.held = batch


class AtHello(Defect, ABC):
    """Base of the defects in the answer to HELLO: disconnects a client so that it comes back."""

    _awaited = False

    def _inject(self, connection: ClientConnection, batch: WireBatch) -> None:
        self._awaited = True  # it will ask for this batch again
        self.event_counts.by_event[DISCONNECTED] += 1
        connection.hang_up()

    def on_answer(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        """Answer the client that has come back."""
        if self._awaited:
            self._awaited = False
            self._answer_wrongly(connection, answer)
        else:
            super().on_answer(connection, answer)

    @abstractmethod
    def _answer_wrongly(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        """Send something other than the true answer."""


class BadAnswer(AtHello):
    """Sends an answer to HELLO that is malformed."""

    title = "garbage instead of the answer"
    counted_as = PROTOCOL_ERROR

    def _answer_wrongly(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        self._break(connection, self.random.choice(BAD_ANSWERS), answer.first - 1)


class NoAnswer(AtHello):
    """Sends plain frames and no answer. Once: the client notices it after the silence limit."""

    title = "plain frames and no answer"
    counted_as = DISCONNECTED
    times = 1

    def _answer_wrongly(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        connection.plain = True
        self._done(answer.first - 1, DISCONNECTED)


class Known(AtHello):
    """Begins with ticks that the client already has after a reconnection.

    They have wrong prices: if one of them is booked, the price shows it.
    """

    title = "repeated after a reconnection"
    counted_as = None

    def _answer_wrongly(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        count = min(self.random.randint(1, MOST_TICKS), answer.first - 1)
        first = answer.first - count
        self._done(answer.first - 1)
        connection.send(encode_hello_answer(answer.tape, first))
        connection.send(WireBatch(first, (b"AAPL,0.01",) * count, time.monotonic_ns()).encode())


class Withheld(AtHello):
    """Claims after a reconnection that the next ticks are no longer available."""

    title = "permanently lost"
    counted_as = MISSED

    def _answer_wrongly(self, connection: ClientConnection, answer: HelloAnswer) -> None:
        connection.first_kept = answer.first + self.random.randint(1, MOST_TICKS)
        gone = range(answer.first, connection.first_kept)
        self.event_counts.add_ticks(MISSED, len(gone), gone)
        self._done(gone[-1])
        connection.send(encode_hello_answer(answer.tape, connection.first_kept))


DEFECTS: Final[tuple[type[Defect], ...]] = (
    Noise,
    Stranger,
    Endless,
    BadHeader,
    TooMany,
    TooFew,
    Lost,
    Withheld,
    Repeated,
    Known,
    Reordered,
    BadAnswer,
    NoAnswer,
)


class HostileGateway(ConnectionFault):
    """A connection fault in the direction to the client; its copies use the original's `defect`.

    It may begin on an open connection: it synchronises at the next header.
    """

    def __init__(self, original: HostileGateway | None = None) -> None:
        super().__init__(to=Direction.TO_CLIENT)
        self.defect: Defect = NoDefect(Random())
        """The current defect of the original. May be set by any thread."""
        self._original = original or self
        self._buffer = FrameBuffer()
        self._header: BatchHeader | None = None
        self._frames: list[bytes] = []

    def __deepcopy__(self, _memo: dict[int, Any]) -> HostileGateway:
        return HostileGateway(self._original)

    def begin(self, flow: Flow) -> None:
        """Called when a connection is established."""
        self._connection = ClientConnection(flow)

    def on_data(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """Called when the real gateway has sent bytes."""
        for frame in split(self._buffer.feed(data)):
            self._on_frame(frame, self._original.defect)

    def _on_frame(self, frame: bytes, defect: Defect) -> None:
        if self._header:
            self._frames.append(frame)
        elif frame.startswith(HELLO):
            defect.on_answer(self._connection, parse_hello_answer(frame))
        elif frame.startswith(BATCH):
            self._header = parse_batch_header(frame)
        else:  # before the answer to HELLO
            self._connection.send(frame + b"*")
        if self._header and len(self._frames) == self._header.count:
            batch = WireBatch(self._header.first, tuple(self._frames), self._header.sent_ns)
            self._header = None
            self._frames.clear()
            defect.on_batch(self._connection, batch)
