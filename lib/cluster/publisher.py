"""What is published next of one stream of the local gateway, and what of it is in the cluster's.

Frames of the gateway are kept until a message with them is known to be in the stream. So a message
that was lost is sent again under the same numbers, and after a restart of the gateway nothing is
asked for that is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from lib.clock import SECOND_NS
from lib.cluster.broker import Message
from lib.cluster.stream_writer import Standing, StreamWriter
from lib.cluster.streams import (
    MAX_MESSAGE_BYTES,
    MAX_TICK_AGE_S,
    NEXT,
    TAPE,
    TapePosition,
    position_of,
)
from lib.streams.stream_client import Frames
from lib.wire.framing import MESSAGE_DELIMITER
from lib.wire.stream_messages import encode_batch_header

MAX_KEPT_BYTES: Final = 1024 * 1024
"""The most bytes of frames that are kept; then the gateway waits."""
ANEW_NS: Final = MAX_TICK_AGE_S * SECOND_NS // 5
"""After how long without frames a message without any says how far the tape is. Otherwise the
stream would forget it, and a successor would begin another tape."""


class _Piece(NamedTuple):
    """Frames of one tape, not yet in the stream."""

    tape: str
    frames: Frames
    came_ns: int


class Publisher:
    """Publishes one stream, while its writer has the stream. Pure.

    Attributes:
        position: how far the tape is in the stream, None before a claim.

    """

    def __init__(self, writer: StreamWriter, linger_ns: int) -> None:
        self.position: TapePosition | None = None
        self._writer = writer
        self._linger_ns = linger_ns
        self._kept: deque[_Piece] = deque()
        self._kept_bytes = 0
        self._append_ns: int | None = None
        """When a message was appended last; of a new writer, when it has begun."""
        self._appended: TapePosition | None = None
        """How far the tape is with the message that is on its way."""

    @property
    def is_full(self) -> bool:
        """Whether the gateway has to wait."""
        return self._kept_bytes >= MAX_KEPT_BYTES

    @property
    def newest(self) -> int | None:
        """The sequence of the last frame that was taken or is in the stream; None if unknown."""
        if self._kept:
            last = self._kept[-1].frames
            return last.first + last.count - 1
        return self.position.next_sequence - 1 if self.position else None

    def keep(self, tape: str, batches: list[Frames], now_ns: int) -> None:
        """Take frames of the gateway, to be published."""
        for batch in batches:
            for piece in _cut(batch):
                self._kept.append(_Piece(tape, piece, now_ns))
                self._kept_bytes += len(piece.frames)

    def next_deadline_ns(self) -> int | None:
        """When what is kept has lingered; None if nothing can be published now."""
        if not self._kept or self._writer.standing is not Standing.WRITER:
            return None
        return self._kept[0].came_ns + self._linger_ns

    def look(self, now_ns: int, headers: Mapping[str, str]) -> None:
        """Note what is in the stream by now; append what is due, with these headers as well."""
        writer = self._writer
        if writer.standing is Standing.RESOLVED:
            self._take_found(writer.resolved())
        if writer.standing is not Standing.WRITER:
            return
        if self._appended:
            self._is_in_stream(self._appended)
            self._appended = None
        if not self._kept:
            self._keep_position(now_ns, headers)
            return
        pieces = self._next_message()
        is_whole = len(pieces) < len(self._kept) or self.is_full
        if is_whole or now_ns >= self._kept[0].came_ns + self._linger_ns:
            self._append(pieces, now_ns, headers)

    def _next_message(self) -> list[_Piece]:
        """Return what goes into the next message: frames of one tape, without a gap."""
        pieces: list[_Piece] = []
        size = 0
        for piece in self._kept:
            if pieces:
                last = pieces[-1]
                goes_on = last.frames.first + last.frames.count == piece.frames.first
                if piece.tape != last.tape or not goes_on:
                    break
            size += len(piece.frames.frames)
            if pieces and size > MAX_MESSAGE_BYTES:
                break
            pieces.append(piece)
        return pieces

    def _keep_position(self, now_ns: int, headers: Mapping[str, str]) -> None:
        if self._append_ns is None:
            self._append_ns = now_ns
        if self.position and now_ns - self._append_ns >= ANEW_NS:
            header = encode_batch_header(self.position.next_sequence, 0, now_ns)
            self._append_message(self.position, header, now_ns, headers)

    def _append(self, pieces: list[_Piece], now_ns: int, headers: Mapping[str, str]) -> None:
        first, last = pieces[0].frames, pieces[-1].frames
        position = TapePosition(pieces[0].tape, last.first + last.count)
        count = position.next_sequence - first.first
        data = encode_batch_header(first.first, count, first.sent_ns)
        data += b"".join(piece.frames.frames for piece in pieces)
        self._append_message(position, data, now_ns, headers)

    def _append_message(
        self, position: TapePosition, data: bytes, now_ns: int, headers: Mapping[str, str]
    ) -> None:
        self._writer.append({**headers, **headers_of(position)}, data)
        self._appended = position
        self._append_ns = now_ns

    def _take_found(self, found: list[Message]) -> None:
        """Go on behind what is in the stream."""
        self._appended = None
        for message in found:
            if position := position_of(message.headers):
                self._is_in_stream(position)

    def _is_in_stream(self, position: TapePosition) -> None:
        """Forget the frames up to this position."""
        self.position = position
        while self._kept:
            piece = self._kept[0]
            rest = _behind(piece, position)
            if rest is piece:
                return
            self._kept.popleft()
            self._kept_bytes -= len(piece.frames.frames)
            if rest:
                self._kept.appendleft(rest)
                self._kept_bytes += len(rest.frames.frames)
                return


def headers_of(position: TapePosition) -> Mapping[str, str]:
    """Return the headers by which a message says how far its tape is published with it."""
    return {TAPE: position.tape, NEXT: str(position.next_sequence)}


def _cut(batch: Frames) -> list[Frames]:
    """Cut a batch into pieces that fit into a message."""
    if len(batch.frames) <= MAX_MESSAGE_BYTES:
        return [batch]
    pieces, first, begin = [], batch.first, 0
    while begin < len(batch.frames):
        end = batch.frames.rfind(MESSAGE_DELIMITER, begin, begin + MAX_MESSAGE_BYTES) + 1
        end = end or batch.frames.index(MESSAGE_DELIMITER, begin) + 1  # one that is longer
        frames = batch.frames[begin:end]
        count = frames.count(MESSAGE_DELIMITER)
        pieces.append(Frames(first, count, frames, batch.sent_ns))
        first, begin = first + count, end
    return pieces


def _behind(piece: _Piece, position: TapePosition) -> _Piece | None:
    """Return what of a piece is not in the stream, None if all of it is."""
    frames = piece.frames
    known = position.next_sequence - frames.first
    if piece.tape != position.tape or known <= 0:
        return piece
    if known >= frames.count:
        return None
    rest = frames.frames.split(MESSAGE_DELIMITER, known)[-1]
    return piece._replace(
        frames=Frames(position.next_sequence, frames.count - known, rest, frames.sent_ns)
    )
