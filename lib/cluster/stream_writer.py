"""The one writer of a stream: claims it, appends to it, and finds out what became of that.

Whoever appends says which sequence is the stream's last one, and the brokers refuse the message if
it is another. A claim is a message whose epoch is above that of the message before it. So from a
claim on the former writer is refused, whether it knows of the claim or not: it need not be dead,
and no clock has to be believed.

One message at a time. With two on the way, the first expecting 5 and the second 6, a claim could
become the sixth: the first one would be refused, and the second, of the former writer, accepted.

A message whose fate is unknown may be in the stream, or get there later. So what follows it is
decided by reading what is there (`resolved`). If it gets there later still, the next message is
refused, because both expect the same; then it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from lib.clock import SECOND_NS
from lib.cluster.acknowledgements import AcknowledgementTimes
from lib.cluster.broker import (
    CLAIMANT,
    EPOCH,
    HOST,
    MAX_MESSAGES_READ,
    Answer,
    Appended,
    Broker,
    Failed,
    Looked,
    Message,
    Read,
)
from lib.process.log_events import StreamNotWritten
from lib.process.log_once import LogOnce

ASK_AGAIN_NS: Final = SECOND_NS // 4
"""The pause before the brokers are asked again."""
NO_HEADERS: Final[Mapping[str, str]] = {}


class Standing(Enum):
    """What a stream's writer is."""

    STANDBY = auto()
    """It has not claimed the stream, or its claim has not got there."""
    APPENDING = auto()
    """A message or a claim is on its way."""
    WRITER = auto()
    """It can append."""
    RESOLVING = auto()
    """It reads what became of its message."""
    RESOLVED = auto()
    """`resolved` has what was read."""
    OVERTAKEN = auto()
    """Another one has claimed the stream: this writer is at its end."""
    BEHIND = auto()
    """The stream has lost messages that were acknowledged: all its brokers were gone."""


class StreamWriter:
    """The writer of one stream, in one process. Pure: asks the brokers, and is told their answers.

    Attributes:
        epoch: that of its claim.
        last: the sequence up to which the stream is known.
        acknowledgements: how long the latest messages took.
        failure: why it is not known whether the last message that failed is in the stream.

    """

    def __init__(self, broker: Broker, stream: str, host: str, claimant: str) -> None:
        """`claimant` is unique for each process."""
        self.standing = Standing.STANDBY
        self.epoch = 0
        self.last = 0
        self.acknowledgements = AcknowledgementTimes()
        self.failure = ""
        self._broker = broker
        self._stream = stream
        self._host = host
        self._claimant = claimant
        self._is_claimed = False
        self._question: int | None = None
        self._ask_ns = 0
        self._end: int | None = None
        """The sequence up to which a resolution reads, None until it is known."""
        self._found: list[Message] = []
        self._problem = LogOnce()

    def claim(
        self, last_sequence: int, last_epoch: int, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        """Claim the stream behind its last message, which is of that epoch. For a standby."""
        self.last = last_sequence
        self.epoch = last_epoch + 1
        self._is_claimed = False
        self.append({**headers, CLAIMANT: self._claimant}, b"")

    def append(self, headers: Mapping[str, str], data: bytes) -> None:
        """Append a message. For a writer."""
        headers = {EPOCH: str(self.epoch), HOST: self._host, **headers}
        self._question = self._broker.append(self._stream, headers, data, self.last)
        self.standing = Standing.APPENDING

    def take(self, answer: Answer) -> bool:
        """Take an answer of the brokers. Returns whether the question was this writer's."""
        if answer.question != self._question:
            return False
        self._question = None
        if self.standing is Standing.RESOLVING:
            self._take_reading(answer)
        elif isinstance(answer, Appended):
            self.last = answer.sequence
            self.acknowledgements.add(answer.took_ns)
            self._is_claimed = True
            self.standing = Standing.WRITER
            self._problem.over()
        else:
            self._note_failure(answer)
            self.standing = Standing.RESOLVING
            self._end = None
            self._ask_ns = 0
        return True

    def _note_failure(self, answer: Answer) -> None:
        self.failure = "another message came before it"
        if isinstance(answer, Failed):
            self.failure = answer.reason
            event = StreamNotWritten(stream=self._stream, reason=answer.reason)
            self._problem.log_first(event)

    def look(self, now_ns: int) -> None:
        """Ask what there is to ask. To be called in each pass."""
        if self.standing is Standing.RESOLVING and not self._question and now_ns >= self._ask_ns:
            self._ask_ns = now_ns + ASK_AGAIN_NS
            if self._end is None:
                self._question = self._broker.look(self._stream)
            else:
                self._question = self._broker.read(self._stream, self.last + 1, MAX_MESSAGES_READ)

    def resolved(self) -> list[Message]:
        """Return what is in the stream behind the last message that was known, when RESOLVED.

        What was appended is there, or it is not in the stream. Then this is the writer, or a
        standby if its claim is not there.
        """
        found, self._found = self._found, []
        self.standing = Standing.WRITER if self._is_claimed else Standing.STANDBY
        return found

    def _take_reading(self, answer: Answer) -> None:
        if isinstance(answer, Looked) and answer.state.has_leader:
            self._end = answer.state.last
            if self._end < self.last or answer.state.first > self.last + 1:
                self.standing = Standing.BEHIND
        elif isinstance(answer, Read) and answer.messages:
            self._take_found(answer.messages)
        else:  # it is asked again, also for the end: what was there may be no longer kept
            self._end = None
            return
        self._ask_ns = 0
        if self.standing is Standing.RESOLVING and self._end is not None and self.last >= self._end:
            self.standing = Standing.RESOLVED

    def _take_found(self, messages: list[Message]) -> None:
        for message in messages:
            if message.epoch == self.epoch and message.headers.get(CLAIMANT) == self._claimant:
                self._is_claimed = True
            elif message.epoch > self.epoch or (message.epoch == self.epoch and message.is_claim):
                self.standing = Standing.OVERTAKEN if self._is_claimed else Standing.STANDBY
                self._found.clear()
                return
            self.last = message.sequence
            self._found.append(message)
