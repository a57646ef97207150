"""A hostile gateway: what the real one says to a numbered client, with one kind of harm done to it.

    gateway = HostileGateway()          # a fault for the proxy of the price stream
    proxy.fault = gateway
    gateway.harm = Noise(Random(1))     # from the next message on
    …                                   # until gateway.harm.left is 0
    gateway.harm.account                # what it should have been counted as

It reads the honest stream message by message and hands every answer to HELLO and every whole batch
to a `Defect`, which says what goes out instead. A harm is done so many times and no more; then its
gateway is honest. It keeps account in the words of the orderbook's log, tick by tick where ticks
have numbers. A new kind of harm is a new class here, and its name in `DEFECTS`.
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
from lib.net.throttled_log import MAX_EXAMPLES
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
"""How often a harm is done: as many ticks as the orderbook names by number in one line."""
SHARE: Final = 0.25
"""The probability that a batch is harmed."""
MOST_TICKS: Final = 5
"""So many are withheld or repeated at a time."""

MALFORMED: Final = "malformed_frames"
UNKNOWN: Final = "unknown_symbols"
MISSED: Final = "ticks_missed"
PROTOCOL_ERROR: Final = "protocol_error"
DISCONNECTED: Final = "disconnected"

NOISE: Final = (
    b"",
    b",",
    b"noise",
    b"AAPL",
    b"AAPL,",
    b"AAPL;1.00",
    b"AAPL,abc",
    b"AAPL,-1.00",
    b"AAPL,+1.00",
    b"AAPL,0",
    b"AAPL,0.00000000",
    b"AAPL, 1.00",
    b"AAPL,1.",
    b"AAPL,.5",
    b"AAPL,1e3",
    b"AAPL,nan",
    b"AAPL,inf",
    b"AAPL,1.123456789",
    b"AAPL,9000000000.00000001",
    b"AAPL,12345678901",
    b"AAPL,1.00,2.00",
    b"AAPL,1.00\n",
    "AAPL,\N{ARABIC-INDIC DIGIT ONE}".encode(),
    b",1.00",
    b"\xff\xfe,1.00",
    b"\x07,1.00",
    b"\xff\x00\xfe",
    b"HELLO,1,tape,1",
    b"AAPL," + b"1" * 60_000,
    b"X" * MAX_MESSAGE_BYTES,
)
"""Frames that are no tick; their batch stands. With `BATCH,` one begins a batch instead."""
STRANGERS: Final = (b"NOBODY-TRADES-THIS,1.00", "ÄÄÄÄÄÄÄÄÄ,0.00000001".encode(), b"A" * 999 + b",1")
"""Ticks of symbols that have more than 16 bytes, and so are never traded."""
HEADERS: Final = (
    b"",
    b"noise",
    b"\xff\x00",
    b"AAPL,1.00",
    b"BATCH",
    b"BATCH,1,1",
    b"BATCH,1,1,1,1",
    b"BATCH,0,0,0",
    b"BATCH,x,1,1",
    b"BATCH,-1,1,1",
    b"BATCH,1,-1,1",
    b"BATCH,9223372036854775807,9,1",
    b"BATCH,1,9223372036854775808,1",
    b"BATCH,1,1," + b"1" * 999,
    b"HELLO,1,tape,1",
)
"""What is no header of the batch that is due."""
ANSWERS: Final = (
    b"HELLO,2,tape,1*",
    b"HELLO,*",
    b"HELLO,1,tape*",
    b"HELLO,1,,1*",
    b"HELLO,1,two words,1*",
    b"HELLO,1,\xff,1*",
    b"HELLO,1," + b"t" * 64 + b",1*",
    b"HELLO,1,tape,0*",
    b"HELLO,1,tape,-1*",
    b"HELLO,1,tape,x*",
    b"HELLO,1,tape,9223372036854775808*",
    b"HELLO,1,tape,1,1*",
    b"BATCH,1,0,1*",
    b"AAPL,1.00*BATCH,1,1,1*AAPL,1.00*",
)
"""What is no answer to HELLO, and no plain frames either; the last two are batches before one."""


@dataclass
class EventCounts:
    """What was done, or what was counted: by event of the orderbook's log."""

    counts: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, set[int]] = field(default_factory=dict)
    """Which ticks, of events that tell of ticks."""

    def add_ticks(self, event: str, count: int, numbers: Iterable[int]) -> None:
        """So many ticks, of which these numbers are known."""
        self.counts[event] += count
        self.numbers.setdefault(event, set()).update(numbers)


@dataclass(frozen=True)
class WireBatch:
    """A whole batch of the stream. Without frames it is a heartbeat."""

    first: int
    frames: tuple[bytes, ...]
    """Without their delimiters."""
    sent_ns: int

    @property
    def last(self) -> int:
        """The last sequence up to and with this batch."""
        return self.first + len(self.frames) - 1

    @property
    def plain(self) -> bytes:
        """Its frames on the wire."""
        return b"".join(frame + b"*" for frame in self.frames)

    def headed(self, first: int, count: int) -> bytes:
        """All of it on the wire, under a header that says this."""
        return encode_batch_header(first, count, self.sent_ns) + self.plain

    @property
    def honest(self) -> bytes:
        """All of it on the wire."""
        return self.headed(self.first, len(self.frames))


class ClientConnection:
    """One connection to the client."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._ended = False
        self.spoilt = False
        """It has been harmed so that the client leaves; no harm is done to it any more."""
        self.plain = False
        """Only plain frames are said."""
        self.held: WireBatch | None = None
        """A batch that was kept back."""
        self.first_kept = 0
        """Ticks before this one are left out."""

    def say(self, data: bytes) -> None:
        """Send."""
        if not self._ended:
            self._flow.deliver(data, 0)

    def hang_up(self) -> None:
        """End the connection (FIN); what is said from now on is thrown away."""
        self._flow.finish()
        self._ended = self.spoilt = True


class Defect:
    """Base of all; does none itself. Called from the proxy's thread, read from any."""

    title: ClassVar[str]
    """In words for people."""
    counted_as: ClassVar[str | None]
    """The event that tells of it, None if nothing need be told."""
    times: ClassVar[int] = TIMES

    def __init__(self, random: Random) -> None:
        self.random = random
        self.left = self.times
        """How often it has still to be done."""
        self.account = EventCounts()
        self.done_ns = 0
        """When it was last done (monotonic)."""
        self.last = 0
        """The last sequence that it touched."""

    def answer(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """The real gateway has answered HELLO."""
        line.say(encode_hello_answer(answer.tape, answer.first))

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """The real gateway has sent a batch."""
        line.say(batch.honest)

    def _is_due(self, line: ClientConnection, batch: WireBatch) -> bool:
        """Whether to harm this batch."""
        may = self.left > 0 and bool(batch.frames) and not line.spoilt
        return may and self.random.random() < SHARE

    def _done(self, last: int, *events: str) -> None:
        """Take down that it has been done once, in ticks up to `last`."""
        self.account.counts.update(events)
        self.last = last
        self.done_ns = time.monotonic_ns()
        self.left -= 1  # last, for whoever waits for it


class NoDefect(Defect):
    """No harm."""

    times = 0


class Replaced(Defect):
    """Base of the harms that put another frame into the place of a tick."""

    pool: ClassVar[tuple[bytes, ...]]

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """Replace one frame."""
        if self._is_due(line, batch):
            place = self.random.randrange(len(batch.frames))
            frames = list(batch.frames)
            frames[place] = self._frame()
            batch = WireBatch(batch.first, tuple(frames), batch.sent_ns)
            assert self.counted_as
            self.account.add_ticks(self.counted_as, 1, [batch.first + place])
            self._done(batch.last)
        super().batch(line, batch)

    def _frame(self) -> bytes:
        """Return what to put there."""
        return self.random.choice(self.pool)


class Noise(Replaced):
    """A tick becomes noise."""

    title = "noise instead of a tick"
    counted_as = MALFORMED
    pool = NOISE


class Stranger(Replaced):
    """A tick becomes one of a symbol that nobody trades."""

    title = "another symbol instead of a tick"
    counted_as = UNKNOWN
    pool = STRANGERS

    def _frame(self) -> bytes:
        """Return another symbol each time: of each, the orderbook names the first tick only."""
        return b"%d-%b" % (self.left, super()._frame())


class Broken(Defect):
    """Base of the harms that break the protocol; the client leaves, comes back, and asks again."""

    counted_as = PROTOCOL_ERROR

    def _break(self, line: ClientConnection, data: bytes, last: int) -> None:
        """Say what breaks it."""
        self._done(last, PROTOCOL_ERROR, DISCONNECTED)
        line.say(data)
        line.spoilt = True


class BrokenBatch(Broken, ABC):
    """Base of those that do it with one batch."""

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """Break it, once a connection."""
        if self._is_due(line, batch):
            self._break(line, self.broken(batch), batch.last)
        else:
            super().batch(line, batch)

    @abstractmethod
    def broken(self, batch: WireBatch) -> bytes:
        """What to send instead of a batch."""


class Endless(BrokenBatch):
    """A price goes on and on."""

    title = "a message without an end"

    def broken(self, batch: WireBatch) -> bytes:
        """Digits for a delimiter."""
        return batch.honest[:-1] + b"0" * (MAX_MESSAGE_BYTES + 1)


class BadHeader(BrokenBatch):
    """Something else where a batch should begin."""

    title = "noise instead of a header"

    def broken(self, batch: WireBatch) -> bytes:
        """Another header."""
        return self.random.choice(HEADERS) + b"*" + batch.plain


class TooMany(BrokenBatch):
    """A batch has a frame more than it says."""

    title = "a frame too many in a batch"

    def broken(self, batch: WireBatch) -> bytes:
        """Say too little."""
        return batch.headed(batch.first, len(batch.frames) - 1)


class TooFew(BrokenBatch):
    """A batch has a frame less than it says; what follows it shows that."""

    title = "a frame too few in a batch"

    def broken(self, batch: WireBatch) -> bytes:
        """Say too much."""
        heartbeat = encode_batch_header(batch.last + 1, 0, batch.sent_ns)
        return batch.headed(batch.first, len(batch.frames) + 1) + heartbeat


class Lost(BrokenBatch):
    """A tick is left out. The client asks for it again, and gets it."""

    title = "lost, given when asked again"

    def broken(self, batch: WireBatch) -> bytes:
        """Begin one later."""
        return WireBatch(batch.first + 1, batch.frames[1:], batch.sent_ns).honest


class Repeated(BrokenBatch):
    """A batch comes twice."""

    title = "repeated in the stream"

    def broken(self, batch: WireBatch) -> bytes:
        """Say it again."""
        return batch.honest * 2


class Reordered(Broken):
    """A batch comes behind the one that follows it."""

    title = "reordered"

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """Keep a batch back until the next one, which may be a heartbeat."""
        if line.held:
            self._break(line, batch.honest + line.held.honest, batch.last)
            line.held = None
        elif self._is_due(line, batch):
            line.held = batch
        else:
            super().batch(line, batch)


class AtHello(Defect, ABC):
    """Base of the harms that are done when a client comes: it is hung up on, and comes back."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._awaited = False

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """Hang up; the client will ask for this batch again."""
        if not self._awaited and self._is_due(line, batch):
            self._awaited = True
            self.account.counts[DISCONNECTED] += 1
            line.hang_up()
        else:
            super().batch(line, batch)

    def answer(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """It came back."""
        if self._awaited:
            self._awaited = False
            self.lie(line, answer)
        else:
            super().answer(line, answer)

    @abstractmethod
    def lie(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """Say something else than the answer."""


class BadAnswer(AtHello, Broken):
    """The answer to HELLO is none."""

    title = "noise instead of the answer"

    def lie(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """Answer something else."""
        self._break(line, self.random.choice(ANSWERS), answer.first - 1)


class NoAnswer(AtHello):
    """The gateway knows no HELLO any more. Once: it takes the client as long as silence does."""

    title = "plain frames and no answer"
    counted_as = DISCONNECTED
    times = 1

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """Say only its frames."""
        if line.plain:
            line.say(batch.plain)
        else:
            super().batch(line, batch)

    def lie(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """Say nothing."""
        line.plain = True
        self._done(answer.first - 1, DISCONNECTED)


class Known(AtHello):
    """After a reconnection the gateway begins with ticks that the client has already."""

    title = "repeated after a reconnection"
    counted_as = None

    def lie(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """Begin earlier; prices that are wrong would show if one of them were booked."""
        count = min(self.random.randint(1, MOST_TICKS), answer.first - 1)
        first = answer.first - count
        self._done(answer.first - 1)
        line.say(encode_hello_answer(answer.tape, first))
        line.say(WireBatch(first, (b"AAPL,0.01",) * count, time.monotonic_ns()).honest)


class Withheld(AtHello):
    """After a reconnection the gateway says that it has the next ticks no longer."""

    title = "lost for good"
    counted_as = MISSED

    def lie(self, line: ClientConnection, answer: HelloAnswer) -> None:
        """Begin later."""
        line.first_kept = answer.first + self.random.randint(1, MOST_TICKS)
        gone = range(answer.first, line.first_kept)
        self.account.add_ticks(MISSED, len(gone), gone)
        self._done(gone[-1])
        line.say(encode_hello_answer(answer.tape, line.first_kept))

    def batch(self, line: ClientConnection, batch: WireBatch) -> None:
        """Leave out what was said to be gone; a batch of nothing else is a heartbeat."""
        if batch.first < line.first_kept:
            frames = batch.frames[line.first_kept - batch.first :]
            batch = WireBatch(line.first_kept, frames, batch.sent_ns)
        super().batch(line, batch)


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


class _SharedState:
    """What all connections of a hostile gateway have in common."""

    harm: Defect = NoDefect(Random())


class HostileGateway(ConnectionFault):
    """A fault of the direction to the client. Each connection has a copy, of one and the same will.

    It may be put in force on an open connection: it finds its way at the next header.
    """

    def __init__(self, will: _SharedState | None = None) -> None:
        super().__init__(to=Direction.TO_CLIENT)
        self._will = will or _SharedState()
        self._buffer = FrameBuffer()
        self._header: BatchHeader | None = None
        self._frames: list[bytes] = []

    def __deepcopy__(self, _memo: dict[int, Any]) -> HostileGateway:
        return HostileGateway(self._will)

    @property
    def harm(self) -> Defect:
        """What is done at the moment, on all connections. May be set from any thread."""
        return self._will.harm

    @harm.setter
    def harm(self, harm: Defect) -> None:
        self._will.harm = harm

    def begin(self, flow: Flow) -> None:
        """A connection stands."""
        self._line = ClientConnection(flow)

    def take(self, flow: Flow, data: bytes, now_ns: int) -> None:
        """The real gateway has said something."""
        for frame in split(self._buffer.feed(data)):
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        if self._header:
            self._frames.append(frame)
        elif frame.startswith(HELLO):
            self.harm.answer(self._line, parse_hello_answer(frame))
        elif frame.startswith(BATCH):
            self._header = parse_batch_header(frame)
        else:  # before the answer to HELLO
            self._line.say(frame + b"*")
        if self._header and len(self._frames) == self._header.count:
            batch = WireBatch(self._header.first, tuple(self._frames), self._header.sent_ns)
            self._header = None
            self._frames.clear()
            self.harm.batch(self._line, batch)
