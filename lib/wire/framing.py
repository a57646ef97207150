"""Framing: every TCP message ends in `*`.

TCP splits and joins as it likes, so a receiver keeps the unfinished tail of what it has got.
`FrameBuffer` does that and nothing else. Each byte is searched once, however it arrives: a
message that trickles in byte by byte costs linear time, and a peer that never sends a delimiter
costs at most `MAX_MESSAGE_BYTES` of memory.
"""

from __future__ import annotations

from lib.text import shown
from lib.wire.undelimited import guess_at

MESSAGE_DELIMITER = b"*"
MAX_MESSAGE_BYTES = 64 * 1024
"""The longest message, without its delimiter."""

RECEIVE_BYTES = 64 * 1024
"""What one read from a socket asks for. A message that lies whole inside one read cannot be
longer than this, so only the message that began in an earlier read needs measuring."""


class MessageTooLongError(Exception):
    """A peer sent more than `MAX_MESSAGE_BYTES` without a delimiter: disconnect it."""

    def __init__(self, data: bytes) -> None:
        """`data` is how they begin."""
        super().__init__(
            f"more than {MAX_MESSAGE_BYTES} bytes without a delimiter, "
            f"which begin '{shown(data)}': {guess_at(data)}"
        )


class FrameBuffer:
    """Turns received bytes into whole messages. One a connection; not shared between threads."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        # Not a list of pieces: of two bytes each, they would take twenty times their length.
        self._tail = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take what arrived; return all messages that are complete now, delimiters included.

        Returns b"" where no message is complete yet. The bytes come as one piece because the
        fast decoders want them so; `split` makes single messages of them.

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
        """What has come since the last delimiter. Not the caller's to change."""
        return self._tail

    def _keep(self, tail: bytes) -> None:
        if len(self._tail) + len(tail) > MAX_MESSAGE_BYTES:
            raise MessageTooLongError(bytes(self._tail) + tail)
        self._tail += tail


def split(messages: bytes) -> list[bytes]:
    """Make single messages, without delimiters, of what `FrameBuffer.feed` returned."""
    return messages.split(MESSAGE_DELIMITER)[:-1]
