"""The client's side of a price or news stream, without a socket.

Bytes and times go in; events come out: `Joined`, `WentPlain`, `Frames`, `Undelimited`. One client
lives as long as its daemon and goes through many connections: the next sequence that it needs, and
whether a server ever answered HELLO, outlive each of them. `TRANSITIONS` has all its states.

Frames are passed on as they come, even if their batch is not complete: memory is bounded by one
read from the socket, whatever count a server puts into a batch header.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from lib.clock import MILLISECOND_NS, SECOND_NS
from lib.wire.framing import MESSAGE_DELIMITER, FrameBuffer
from lib.wire.span import Span
from lib.wire.stream_messages import (
    BATCH,
    FROM_NOW_ON,
    HELLO,
    NEXT_BATCH,
    BatchHeader,
    ProtocolError,
    encode_hello_request,
    parse_batch_header,
    parse_hello_answer,
)
from lib.wire.undelimited import MANY_BYTES, Undelimited, undelimited

PLAIN_AFTER_NS: Final = 1 * SECOND_NS
"""Plain frames for this long without an answer to HELLO: the server speaks only plain frames."""
SILENCE_LIMIT_NS: Final = 2500 * MILLISECOND_NS
"""A numbered stream that is silent for this long is dead: it has a heartbeat every second."""
FIRST_FRAME_LIMIT_NS: Final = 10 * SECOND_NS
"""How long to wait for the first frame before connecting again. A server that speaks only plain
frames may be silent, but so is a connection that leads nowhere: before the first frame they look
the same. A feed that is slow to begin must not be cut off each time before it does, so the limit
doubles with each such connection, up to `LONGEST_WAIT_NS`, until a frame comes."""
UNDELIMITED_AFTER_NS: Final = 3 * SECOND_NS
"""Bytes for this long, and not one frame since connecting: logged, however few they are."""
NEXT_CALL_NS: Final = 3 * SECOND_NS
"""How long to wait before connecting again to a server that sent bytes and not one frame. It may
never send one, and the log would have twenty lines a second about it."""
LONGEST_WAIT_NS: Final = 300 * SECOND_NS
"""How long to wait for a further frame from a server that has sent too few plain frames to know
whether it speaks only those: our own gateway may send some before its answer, and then be cut off.
A plain feed that is slower still is not served."""

_PEER: Final = "feed"


@dataclass(frozen=True)
class Joined:
    """The server answered HELLO; frames from `first` on will follow."""

    tape: str
    first: int
    new_tape: bool
    """The client had another tape, or none: sequences start again at 1."""
    missed: Span | None
    """The sequences that this client still needed and the server no longer has."""


@dataclass(frozen=True)
class WentPlain:
    """The server speaks only plain frames. The client numbers them from `first` on."""

    first: int


class Frames(Struct, frozen=True, gc=False):
    """Whole plain frames with consecutive sequence numbers from `first` on."""

    first: int
    count: int
    frames: bytes
    """The frames, with their delimiters."""
    sent_ns: int


Event = Joined | WentPlain | Frames | Undelimited


def sent_times_ns(batches: list[Frames], offsets: NDArray[np.int64]) -> NDArray[np.int64] | int:
    """Return when each frame was sent; one number if all were sent together.

    `offsets` say which: the distance of each frame from the first one of all batches.
    """
    if len(batches) == 1:
        return batches[0].sent_ns
    of_all = np.repeat([batch.sent_ns for batch in batches], [batch.count for batch in batches])
    return of_all[offsets]


class ClientState(Enum):
    """Where a client is, in its connection and in what it knows of its server."""

    NEVER_ANSWERED = auto()
    """Not connected. No server has ever answered HELLO: it may speak only plain frames."""
    SILENT = auto()
    """Connected to a server that may be plain, HELLO sent; no frame has come."""
    UNDECIDED = auto()
    """Frames have come, but no answer: the server may be plain or slow."""
    PLAIN = auto()
    """The server speaks only plain frames; the client numbers them."""
    ANSWERED_BEFORE = auto()
    """Not connected. A server has answered HELLO once: only a numbered stream is accepted."""
    REJOINING = auto()
    """Connected, HELLO sent. Plain frames are skipped until the answer comes."""
    NUMBERED = auto()
    """The server has answered; batches follow."""


class ClientInput(Enum):
    """What moves a client from one state to another."""

    CONNECTED = auto()
    DISCONNECTED = auto()
    FRAME = auto()
    """The first whole frame of a connection to a server that never answered."""
    NO_ANSWER = auto()
    """Plain frames have come for PLAIN_AFTER_NS, and no answer to HELLO."""
    ANSWER = auto()
    """The answer to HELLO."""


TRANSITIONS: Final[dict[ClientState, dict[ClientInput, ClientState]]] = {
    ClientState.NEVER_ANSWERED: {
        ClientInput.CONNECTED: ClientState.SILENT,
        ClientInput.DISCONNECTED: ClientState.NEVER_ANSWERED,
    },
    ClientState.SILENT: {
        ClientInput.FRAME: ClientState.UNDECIDED,
        ClientInput.DISCONNECTED: ClientState.NEVER_ANSWERED,
    },
    ClientState.UNDECIDED: {
        ClientInput.ANSWER: ClientState.NUMBERED,
        ClientInput.NO_ANSWER: ClientState.PLAIN,
        ClientInput.DISCONNECTED: ClientState.NEVER_ANSWERED,
    },
    ClientState.PLAIN: {
        ClientInput.ANSWER: ClientState.ANSWERED_BEFORE,  # too late: this connection is given up
        ClientInput.DISCONNECTED: ClientState.NEVER_ANSWERED,
    },
    ClientState.ANSWERED_BEFORE: {
        ClientInput.CONNECTED: ClientState.REJOINING,
        ClientInput.DISCONNECTED: ClientState.ANSWERED_BEFORE,
    },
    ClientState.REJOINING: {
        ClientInput.ANSWER: ClientState.NUMBERED,
        ClientInput.DISCONNECTED: ClientState.ANSWERED_BEFORE,
    },
    ClientState.NUMBERED: {
        ClientInput.DISCONNECTED: ClientState.ANSWERED_BEFORE,
    },
}
"""What leads where; any other input is a mistake in this module. The rules: docs/protocol.md."""

_NUMBERED: Final = ClientState.NUMBERED
"""For the way of a tick: before Python 3.12, to look up a member of an Enum takes 80 ns."""
_DELIVERING: Final = (ClientState.NUMBERED, ClientState.PLAIN)
_AWAITING_ANSWER: Final = (ClientState.UNDECIDED, ClientState.REJOINING)


class StreamClient:
    """The protocol's state over all connections of one client. Not shared between threads."""

    def __init__(
        self, *, tape: str | None = None, next_sequence: int = FROM_NOW_ON, may_be_plain: bool
    ) -> None:
        """Make a client that has `tape` and still needs its ticks from `next_sequence` on.

        Without a tape, `next_sequence` is the number of the next plain frame, and a tape is needed
        from its beginning. With FROM_NOW_ON the client follows whatever is played, now and after
        each reconnection.
        `may_be_plain`: no server has answered HELLO yet, so the server may speak only plain frames.
        """
        self.tape = tape
        self.next_sequence = next_sequence
        self.heard_ns: int | None = None
        """When the last frame or heartbeat of the stream came, after its beginning."""
        self._state = ClientState.NEVER_ANSWERED if may_be_plain else ClientState.ANSWERED_BEFORE
        self._follows = next_sequence == FROM_NOW_ON
        self._first_frame_limit_ns = FIRST_FRAME_LIMIT_NS
        self._first_frame_due_ns: int | None = None
        """When to stop waiting for a first frame; stays when the connection is lost before it."""
        self._undelimited_due_ns: int | None = None
        self._reset_connection(0)

    @property
    def joined(self) -> bool:
        """Whether this connection delivers frames."""
        return self._state in _DELIVERING

    @property
    def is_strange(self) -> bool:
        """Whether no server has ever answered, and not one frame has come since connecting."""
        return self._state is ClientState.SILENT

    def keep_all(self) -> None:
        """Need every frame from the next one on, also those that come while there is no connection.

        For a client that began with FROM_NOW_ON and has joined.
        """
        self._follows = False

    def connected(self, now_ns: int) -> bytes:
        """A new connection is open. Returns what to send first."""
        self._move(ClientInput.DISCONNECTED)  # if it was not reported that the old one is closed
        self._move(ClientInput.CONNECTED)
        self._reset_connection(now_ns)
        if self._first_frame_due_ns is not None and now_ns >= self._first_frame_due_ns:
            self._first_frame_limit_ns = min(2 * self._first_frame_limit_ns, LONGEST_WAIT_NS)
        self._first_frame_due_ns = now_ns + self._first_frame_limit_ns
        if self._follows:
            return encode_hello_request(FROM_NOW_ON, None)
        # The numbers that a client gave to plain frames itself belong to no tape.
        needed = 1 if self.tape is None else self.next_sequence
        return encode_hello_request(needed, self.tape)

    def disconnected(self) -> Undelimited | None:
        """The connection is closed. Returns what to log of a strange server that sent bytes.

        It should not be called again before NEXT_CALL_NS.
        """
        is_strange, sent = self.is_strange, self._buffer.unfinished
        self._move(ClientInput.DISCONNECTED)
        self._reset_connection(0)
        return undelimited(sent, _PEER) if is_strange and sent else None

    def receive(self, data: bytes, now_ns: int) -> Iterator[Event]:
        """Take bytes that came. Handle Joined and WentPlain before taking the next event.

        Undelimited comes at most once a connection, for the log.

        Raises ProtocolError or MessageTooLongError: close the connection. Events before the
        error have been given out and stand.
        """
        messages = self._buffer.feed(data)
        if not messages:
            yield from self._look_at_undelimited(now_ns)
            return
        self._last_frame_ns = now_ns
        position = 0
        if self._state is not _NUMBERED:
            if self._state is ClientState.SILENT:
                self._move(ClientInput.FRAME)
                self._first_frame_due_ns = None
                self._first_frame_limit_ns = FIRST_FRAME_LIMIT_NS
            if self._state in _AWAITING_ANSWER:
                position = yield from self._look_for_answer(messages, now_ns)
        if self._state is _NUMBERED:
            yield from self._numbered(messages, position)
        elif self._state is ClientState.PLAIN:
            yield from self._plain(messages, now_ns)
        if self.joined:
            self.heard_ns = now_ns

    def next_deadline_ns(self) -> int | None:
        """When silence ends the connection or is to be logged; None if never."""
        match self._state:
            case ClientState.NUMBERED:
                return self._last_frame_ns + SILENCE_LIMIT_NS
            case ClientState.REJOINING:
                return self._asked_ns + SILENCE_LIMIT_NS
            case ClientState.UNDECIDED:
                return self._last_frame_ns + LONGEST_WAIT_NS
            case ClientState.SILENT:
                assert self._first_frame_due_ns is not None
                if self._undelimited_due_ns is None:
                    return self._first_frame_due_ns
                return min(self._undelimited_due_ns, self._first_frame_due_ns)
            case _:
                return None

    def undelimited_at(self, now_ns: int) -> Undelimited | None:
        """Return what to log of bytes without a delimiter, if the deadline for that has passed."""
        due_ns = self._undelimited_due_ns
        if self._state is not ClientState.SILENT or due_ns is None or now_ns < due_ns:
            return None
        return self._undelimited()

    def silence_reason(self) -> str:
        """Return why a deadline that has passed ends the connection."""
        if self._state is ClientState.NUMBERED:
            return f"no frame or heartbeat for {SILENCE_LIMIT_NS / SECOND_NS} s"
        reason = self._no_answer_reason()
        if self._buffer.unfinished:
            reason += f"; {undelimited(self._buffer.unfinished, _PEER).reason}"
        return reason

    def _no_answer_reason(self) -> str:
        if self._state is ClientState.SILENT:
            return f"not a single frame within {self._first_frame_limit_ns / SECOND_NS} s"
        if self._state is ClientState.UNDECIDED:
            return f"no answer to HELLO, and no further frame for {LONGEST_WAIT_NS / SECOND_NS} s"
        reason = f"no answer to HELLO for {SILENCE_LIMIT_NS / SECOND_NS} s"
        if self._first_plain_ns is None:
            return reason
        return (
            f"{reason}, only plain frames: a stream that was numbered waits for a numbered "
            "one; for a feed of plain frames begin a new run"
        )

    def _look_at_undelimited(self, now_ns: int) -> Iterator[Undelimited]:
        """Report many bytes without a delimiter; note when to report few."""
        if self._undelimited_logged:
            return
        if len(self._buffer.unfinished) >= MANY_BYTES:
            yield self._undelimited()
        elif self._buffer.unfinished and self.is_strange and self._undelimited_due_ns is None:
            self._undelimited_due_ns = now_ns + UNDELIMITED_AFTER_NS

    def _undelimited(self) -> Undelimited:
        self._undelimited_logged = True
        self._undelimited_due_ns = None
        return undelimited(self._buffer.unfinished, _PEER)

    def _move(self, what: ClientInput) -> None:
        """Go where the table of transitions leads."""
        following = TRANSITIONS[self._state].get(what)
        assert following, f"{what} cannot come in {self._state}"
        self._state = following

    def _reset_connection(self, asked_ns: int) -> None:
        """Forget what belonged to the connection before."""
        self._buffer = FrameBuffer()
        self._asked_ns = self._last_frame_ns = asked_ns
        self._first_plain_ns: int | None = None
        self._undelimited_logged = False
        self._undelimited_due_ns = None
        self._batch = BatchHeader(first=0, count=0, sent_ns=0)
        self._remaining = 0  # frames of the batch that are still to come
        self._expected = 0  # the next sequence by the server's count

    def _look_for_answer(self, messages: bytes, now_ns: int) -> Generator[Event, None, int]:
        """Skip plain frames up to the answer. Returns where in `messages` to go on."""
        begin = _find_frame(messages, HELLO)
        skipped = messages if begin < 0 else messages[:begin]
        if _find_frame(skipped, BATCH) >= 0:
            raise ProtocolError("a batch came before the answer to HELLO")
        if begin < 0:
            yield from self._wait_for_answer(now_ns)
            return 0
        end = messages.index(MESSAGE_DELIMITER, begin)
        answer = parse_hello_answer(messages[begin:end])
        self._move(ClientInput.ANSWER)
        new_tape = answer.tape != self.tape
        if self._follows:
            needed = answer.first
        elif new_tape:
            needed = 1
        else:
            needed = self.next_sequence
        self._expected = answer.first
        self.tape = answer.tape
        self.next_sequence = max(needed, answer.first)
        missed = Span(needed, answer.first - 1) if answer.first > needed else None
        yield Joined(answer.tape, answer.first, new_tape, missed)
        return end + 1

    def _wait_for_answer(self, now_ns: int) -> Iterator[Event]:
        if self._first_plain_ns is None:
            self._first_plain_ns = now_ns
        if self._state is ClientState.UNDECIDED and now_ns - self._first_plain_ns >= PLAIN_AFTER_NS:
            self._move(ClientInput.NO_ANSWER)
            self.next_sequence = max(self.next_sequence, 1)
            yield WentPlain(self.next_sequence)

    def _plain(self, messages: bytes, now_ns: int) -> Iterator[Event]:
        if _find_frame(messages, HELLO) >= 0:
            self._move(ClientInput.ANSWER)
            raise ProtocolError("the answer to HELLO came late")
        yield self._frames(messages, messages.count(MESSAGE_DELIMITER), now_ns)

    def _numbered(self, messages: bytes, position: int) -> Iterator[Event]:
        while position < len(messages):
            if self._remaining == 0:
                position = self._begin_batch(messages, position)
                continue
            if messages.startswith(BATCH, position):
                raise ProtocolError(
                    f"a batch of {self._batch.count} frames ended {self._remaining} early"
                )
            end = messages.find(NEXT_BATCH, position) + 1 or len(messages)
            frames = messages[position:end]
            count = frames.count(MESSAGE_DELIMITER)
            if count > self._remaining:
                raise ProtocolError(
                    f"{count - self._remaining} frames too many after a batch of "
                    f"{self._batch.count}"
                )
            self._remaining -= count
            position = end
            known = self.next_sequence - self._expected
            self._expected += count
            if known > 0:
                frames = _without_the_first(known, frames)
                count -= known
            if count > 0:
                yield self._frames(frames, count, self._batch.sent_ns)

    def _begin_batch(self, messages: bytes, position: int) -> int:
        """Read a batch's header. Returns where its frames begin."""
        end = messages.index(MESSAGE_DELIMITER, position)
        self._batch = parse_batch_header(messages[position:end])
        if self._batch.first != self._expected:
            raise ProtocolError(f"expected sequence {self._expected}, got {self._batch.first}")
        self._remaining = self._batch.count
        return end + 1

    def _frames(self, frames: bytes, count: int, sent_ns: int) -> Frames:
        first = self.next_sequence
        self.next_sequence += count
        return Frames(first, count, frames, sent_ns)


def _without_the_first(count: int, frames: bytes) -> bytes:
    """Leave out frames that the client has: a server may begin before the requested sequence."""
    return frames.split(MESSAGE_DELIMITER, count)[-1]


def _find_frame(messages: bytes, beginning: bytes) -> int:
    """Return where the first frame with this `beginning` begins, -1 if there is none."""
    if messages.startswith(beginning):
        return 0
    return messages.find(MESSAGE_DELIMITER + beginning) + 1 or -1
