"""What a daemon of a cluster asks of the brokers, and what it hears of them.

A question returns its number at once. It is answered by exactly one event, within ANSWER_LIMIT_NS:
by `Failed` if the brokers do not answer. What was asked may have been done all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from lib.clock import SECOND_NS
from lib.cluster.streams import number_in

ANSWER_LIMIT_NS: Final = 2 * SECOND_NS
"""How long an answer is waited for. While a stream elects a leader, 4 to 9 s, there is none."""
MAX_MESSAGES_READ: Final = 64
"""The most messages that one question reads."""

EPOCH: Final = "Tw-Epoch"
"""The header of every message with the epoch of its writer."""
HOST: Final = "Tw-Host"
"""The header of every message with the name of its writer's host."""
CLAIMANT: Final = "Tw-Claimant"
"""The header of a claim, by which a writer recognises its own. It is unique for each process."""


class Message(NamedTuple):
    """A message of a stream. `sequence` counts from 1, without a gap."""

    sequence: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def epoch(self) -> int:
        """The epoch of its writer, 0 of a message that no writer of ours has written."""
        return number_in(self.headers, EPOCH)

    @property
    def is_claim(self) -> bool:
        """Whether it begins an epoch, and is nothing else."""
        return CLAIMANT in self.headers


class StreamState(NamedTuple):
    """What is in a stream: messages `first` to `last`, none if `first` is above `last`."""

    first: int
    last: int
    has_leader: bool


class Appended(NamedTuple):
    """The message is in the stream, on a majority of the brokers."""

    question: int
    sequence: int
    took_ns: int = 0
    """From the question to the answer."""


class Refused(NamedTuple):
    """The message is not in the stream: the last one was another than expected."""

    question: int


class Failed(NamedTuple):
    """Whether it was done is unknown."""

    question: int
    reason: str


class Looked(NamedTuple):
    """The state of a stream."""

    question: int
    state: StreamState


class Read(NamedTuple):
    """Messages in order, without a gap; from a later one on if the first ones are gone."""

    question: int
    messages: list[Message]


class Replied(NamedTuple):
    """What a service has answered."""

    question: int
    content: Mapping[str, Any]


Answer = Appended | Refused | Failed | Looked | Read | Replied


class Connected(NamedTuple):
    """There is a connection to a broker, from now on or again."""

    peer: str


class Disconnected(NamedTuple):
    """There is none, or something is wrong with it."""

    reason: str


class Delivered(NamedTuple):
    """A message has come to a subject that is followed.

    Its sequence is that of its stream, 0 for one that was sent to the subject itself.
    """

    subject: str
    message: Message


Event = Answer | Connected | Disconnected | Delivered


class Broker(Protocol):
    """The brokers, as one daemon sees them."""

    def append(
        self, stream: str, headers: Mapping[str, str], data: bytes, expected_last: int
    ) -> int:
        """Append a message, if `expected_last` is the stream's last sequence: Appended, Refused."""

    def look(self, stream: str) -> int:
        """Ask for the state of a stream: Looked."""

    def read(self, stream: str, first: int, most: int) -> int:
        """Read at most `most` messages from `first` on, or from the first that is kept: Read."""

    def publish(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        """Send a plain message. It may be lost, and is without a connection."""

    def follow(self, subject: str) -> None:
        """Have what is sent to a subject delivered from now on, by a new subscription.

        Without a connection nothing happens: follow again when it is `Connected`.
        """

    def close(self) -> None:
        """Leave the brokers."""
