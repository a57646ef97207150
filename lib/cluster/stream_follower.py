"""All messages of a stream, in order, whatever is lost on the way.

The brokers deliver each message once, and promise nothing: plain delivery drops what a slow client
does not take, and a subscription can go dead without a word. So a message counts by its sequence.
What is missing is read from the stream, a bounded piece at a time; that something is missing shows
in the next message, or in the word that a writer gives while it has nothing to write.
"""

from __future__ import annotations

from typing import Final

from lib.clock import SECOND_NS
from lib.cluster.broker import MAX_MESSAGES_READ, Answer, Broker, Looked, Message, Read

MAX_HELD: Final = 256
"""The most messages that wait for an earlier one. Further ones are read later."""
SILENCE_NS: Final = 5 * SECOND_NS // 2
"""Silence after which a subscription counts as dead, as on a numbered stream."""
READ_AGAIN_NS: Final = SECOND_NS // 4
"""The pause after a reading that has failed, or found nothing."""


class StreamFollower:
    """Follows one stream. Pure; it asks the broker, and is told what comes.

    Attributes:
        next_sequence: the sequence of the next message to give.
        has_lost: whether the stream has lost what was given, as that of brokers that lost it all.

    """

    def __init__(self, broker: Broker, stream: str, next_sequence: int, now_ns: int) -> None:
        self.next_sequence = next_sequence
        self._broker = broker
        self._stream = stream
        self._held: dict[int, Message] = {}
        self._known = next_sequence - 1
        """The highest sequence that the stream is known to have."""
        self.has_lost = False
        self._is_doubted = False
        """Whether the stream seems to be shorter than it was."""
        self._given = 0
        """The last message that had been given when the stream was looked at."""
        self._most = MAX_MESSAGES_READ
        """How many messages a reading asks for: fewer after one that has failed, on a slow line."""
        self._question: int | None = None
        self._read_ns = now_ns
        self._heard_ns = now_ns
        self.skipped = 0
        """How many messages the stream had no longer when they were read."""

    def delivered(self, message: Message, now_ns: int) -> list[Message]:
        """Take a message that was delivered. Returns those that are next, in order."""
        self._heard_ns = now_ns
        self._known = max(self._known, message.sequence)
        if message.sequence >= self.next_sequence and len(self._held) < MAX_HELD:
            self._held[message.sequence] = message
        return self._in_order()

    def word(self, last: int, now_ns: int) -> None:
        """Take the word of the writer: `last` is the stream's last sequence."""
        self._heard_ns = now_ns
        self._known = max(self._known, last)
        if 0 < last < self.next_sequence - 1:  # or it was overtaken by a message
            self.doubt()

    def doubt(self) -> None:
        """Look whether the stream still has what was given."""
        self._is_doubted = True

    def is_silent(self, now_ns: int) -> bool:
        """Whether nothing has come for too long: subscribe anew."""
        return now_ns - self._heard_ns > SILENCE_NS

    def look(self, now_ns: int) -> None:
        """Ask for what is missing, or whether it is still there. To be called in each pass."""
        if self._question is not None or now_ns < self._read_ns:
            return
        if self._is_doubted:
            self._is_doubted = False
            self._given = self.next_sequence - 1
            self._question = self._broker.look(self._stream)
            return
        if self._known < self.next_sequence:
            return
        missing = min(self._held, default=self._known + 1) - self.next_sequence
        most = min(missing, self._most)
        self._question = self._broker.read(self._stream, self.next_sequence, most)

    def take(self, answer: Answer, now_ns: int) -> list[Message] | None:
        """Take an answer of the brokers; None if the question was another's.

        Returns the messages that are next, in order.
        """
        if answer.question != self._question:
            return None
        self._question = None
        if isinstance(answer, Looked):
            self.has_lost = answer.state.has_leader and answer.state.last < self._given
            return []
        if not isinstance(answer, Read) or not answer.messages:
            self._read_ns = now_ns + READ_AGAIN_NS
            self._most = max(1, self._most // 2)
            return []
        self._most = min(2 * self._most, MAX_MESSAGES_READ)
        first = min([answer.messages[0].sequence, *self._held])
        if first > self.next_sequence:  # those before it are no longer kept
            self.skipped += first - self.next_sequence
            self.next_sequence = first
        for message in answer.messages:
            if message.sequence >= self.next_sequence:  # some may have been delivered meanwhile
                self._held[message.sequence] = message
        return self._in_order()

    def _in_order(self) -> list[Message]:
        messages = []
        while message := self._held.pop(self.next_sequence, None):
            messages.append(message)
            self.next_sequence += 1
        return messages
