"""One end of a client's session between a strategy host and an order host. Pure.

What is sent goes in plain messages, which may be lost: so each has a number, and what does not come
in order and complete ends the session. Nothing is sent again here. The client logs on again and
sends its unanswered orders again, as after any lost connection.

What is sent and not yet handed on at the other end is bounded, so that a client, or an order
manager, that does not read stops the other one from writing, as by TCP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from lib.cluster.broker import Message
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.streams import number_in
from lib.cluster.writer_watch import WORD_NS

MAX_UNTAKEN_BYTES: Final = 128 * 1024
"""The most that is sent and not handed on yet, in each direction."""
MESSAGE_BYTES: Final = 256
"""What a message counts beside its data, so that many small ones are bounded, too."""

NUMBER: Final = "Tw-Number"
"""The header with a message's number, from 1 on; of a word without data, that of the next one."""
TAKEN: Final = "Tw-Taken"
"""The header with the number of the last message that was handed on."""
END: Final = "Tw-End"
"""The header of the last word of a session: why it ends."""

TO: Final = "Tw-To"
"""The header with the order host that a message is for."""

ORDERS: Final = "tw.orders"
"""The beginning of the subjects of what clients send."""
_DOT: Final = "="
"""A dot of a client_id, in a subject: a client_id has none of these."""

LOST: Final = "messages between the hosts were lost"
SILENT: Final = "the other host is silent"


class SessionName(NamedTuple):
    """Whose session it is. The brokers let a strategy host use its own subjects only."""

    client_id: str
    host: str
    """The strategy host."""
    name: str

    @property
    def orders(self) -> str:
        """The subject of what the client sends."""
        return ".".join((ORDERS, self.client_id.replace(".", _DOT), self.host, self.name))

    @property
    def reports(self) -> str:
        """The subject of what the client is sent."""
        return f"{reports_of(self.host)}.{self.name}"


def reports_of(host: str) -> str:
    """Return the beginning of the subjects of what the clients of a strategy host are sent."""
    return f"tw.reports.{host}"


def session_of(orders: str) -> SessionName | None:
    """Return the session of a subject of orders; None if it is none."""
    words = orders.removeprefix(f"{ORDERS}.").split(".")
    if len(words) != 3 or not all(words):
        return None
    return SessionName(words[0].replace(_DOT, "."), words[1], words[2])


class RelaySession:
    """One end of one session.

    Attributes:
        ended: why the session is over, "" while it lasts.
        received: the number of the last message that has come.

    """

    def __init__(self, publish: Callable[[Mapping[str, str], bytes], None], now_ns: int) -> None:
        """`publish` sends a message to the other end."""
        self.ended = ""
        self.received = 0
        self._publish = publish
        self._sent = 0
        self._untaken: deque[int] = deque()
        """The sizes of the messages that were sent and not handed on."""
        self._untaken_bytes = 0
        self._taken = 0
        self._unsaid_bytes = 0
        """What has come since the other end was last told what was handed on."""
        self._heard_ns = now_ns
        self._said_ns = now_ns

    @property
    def has_room(self) -> bool:
        """Whether more may be sent."""
        return self._untaken_bytes < MAX_UNTAKEN_BYTES

    def send(self, data: bytes, now_ns: int) -> None:
        """Send data, which is not empty, if there is room."""
        self._sent += 1
        self._untaken.append(len(data) + MESSAGE_BYTES)
        self._untaken_bytes += self._untaken[-1]
        self._say(self._sent, data, now_ns)

    def repeat(self, data: bytes, now_ns: int) -> None:
        """Send the last message again, of which this was the data: it may not have come."""
        self._say(self._sent, data, now_ns)

    def take(self, message: Message, now_ns: int) -> bytes:
        """Take a message of the other end. Returns its data, if it is the next one."""
        if reason := message.headers.get(END, ""):
            self.ended = self.ended or reason
        number = number_in(message.headers, NUMBER)
        if self.ended or number <= self.received:  # a repetition, or no message of a session
            return b""
        if number > self.received + 1:
            self.end(LOST, now_ns)
            return b""
        self._heard_ns = now_ns
        self._note_taken(number_in(message.headers, TAKEN))
        if message.data:
            self.received = number
            self._unsaid_bytes += len(message.data) + MESSAGE_BYTES
        return message.data

    def handed_on(self, now_ns: int) -> None:
        """What has come was handed on: the other end may send more."""
        self._taken = self.received
        if self._unsaid_bytes > MAX_UNTAKEN_BYTES // 2:
            self._say(self._sent + 1, b"", now_ns)

    def look(self, now_ns: int) -> None:
        """Give a word if nothing was sent for a while; end the session if nothing has come."""
        if self.ended:
            return
        if now_ns - self._heard_ns > SILENCE_NS:
            self.end(SILENT, now_ns)
        elif now_ns - self._said_ns >= WORD_NS:
            self._say(self._sent + 1, b"", now_ns)

    def end(self, reason: str, now_ns: int) -> None:
        """End the session at both ends."""
        if not self.ended:
            self.ended = reason
            self._say(self._sent + 1, b"", now_ns, {END: reason})

    def _note_taken(self, taken: int) -> None:
        while self._untaken and self._sent - len(self._untaken) < taken:
            self._untaken_bytes -= self._untaken.popleft()

    def _say(
        self, number: int, data: bytes, now_ns: int, further: Mapping[str, str] | None = None
    ) -> None:
        self._said_ns = now_ns
        self._unsaid_bytes = 0
        self._publish({NUMBER: str(number), TAKEN: str(self._taken), **(further or {})}, data)
