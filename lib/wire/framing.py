"""Framing: every TCP message ends in `*`.

TCP splits and joins messages, so a receiver keeps the unfinished tail of what has arrived.
`FrameBuffer` does that and nothing else. Each byte is searched once, however it arrives: a message
that trickles in byte by byte costs linear time, and a peer that never sends a delimiter costs at
most `MAX_MESSAGE_BYTES` of memory.
"""

from __future__ import annotations

from lib.text import shown
from lib.wire.undelimited import guess_at

MESSAGE_DELIMITER = b"*"
MAX_MESSAGE_BYTES = 64 * 1024
"""The longest message, without its delimiter."""

RECEIVE_BYTES = 64 * 1024
"""How much one read from a socket asks for. A message that arrives complete in one read cannot be
longer, so only a message that began in an earlier read has to be measured."""


class MessageTooLongError(Exception):
    """A peer sent more than `MAX_MESSAGE_BYTES` without a delimiter: disconnect it."""

    def __init__(self, data: bytes) -> None:
        """`data` is the beginning of what the peer sent."""
        super().__init__(
            f"more than {MAX_MESSAGE_BYTES} bytes without a delimiter, "
            f"which begin '{shown(data)}': {guess_at(data)}"
        )


class FrameBuffer:
    """Turns received bytes into complete messages. One a connection; for one thread."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        # Not a list of pieces: pieces of two bytes would take twenty times their length in memory.
        self._tail = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take what arrived; return all messages that are complete now, delimiters included.

        Returns b"" if no message is complete. The messages are returned in one piece for the
        vectorised decoders; `split` makes single messages of them.

        Raises MessageTooLongError, after which the connection must be closed.
        """
        if not self._tail and data.endswith(MESSAGE_DELIMITER) and len(data) <= MAX_MESSAGE_BYTES:
            return data  # whole messages and nothing else, as a quiet stream brings them
        end = data.rfind(MESSAGE_DELIMITER) + 1
        if end == 0:
            self._keep(data)
            return b""
        first_bytes = len(self._tail) + data.find(MESSAGE_DELIMITER)
        if first_bytes > MAX_MESSAGE_BYTES or (
            len(data) > MAX_MESSAGE_BYTES and max(map(len, split(data[:end]))) > MAX_MESSAGE_BYTES
        ):
            raise MessageTooLongError(bytes(self._tail) + data)
        whole = bytes(self._tail) + data[:end]
        self._tail.clear()
        self._keep(data[end:])
        return whole

    @property
    def unfinished(self) -> bytearray:
        """What arrived since the last delimiter. The caller must not change it."""
        return self._tail

    def _keep(self, tail: bytes) -> None:
        if len(self._tail) + len(tail) > MAX_MESSAGE_BYTES:
            raise MessageTooLongError(bytes(self._tail) + tail)
        self._tail += tail


def split(messages: bytes) -> list[bytes]:
    """Split what `FrameBuffer.feed` returned into single messages, without delimiters."""
    return messages.split(MESSAGE_DELIMITER)[:-1]
