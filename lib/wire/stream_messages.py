"""The control messages of the price and news streams: HELLO, its answer, and BATCH.

```
client → server   HELLO,1,NEXT[,TAPE]*         NEXT: first sequence still needed; 0: from now on
server → client   HELLO,1,TAPE,FIRST*
server → client   BATCH,FIRST,COUNT,SENT_NS*   then exactly COUNT plain frames; COUNT 0: heartbeat
```

Pure functions that parse and encode these messages. Frames are parsed without their delimiter and
encoded with it. An invalid message raises ProtocolError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

PROTOCOL_VERSION: Final = b"1"
HELLO: Final = b"HELLO,"
BATCH: Final = b"BATCH,"
NEXT_BATCH: Final = b"*BATCH,"
"""The bytes between one batch and the next: no symbol may be called BATCH."""

MAX_SYMBOL_BYTES: Final = 16
"""The longest symbol in a plain frame `SYMBOL,PRICE*`."""
FROM_NOW_ON: Final = 0
"""The NEXT of a client that wants no replay."""

_TAPE = re.compile(rb"[!-)+\-.-~]{1,63}")
"""A tape: printable ASCII without space, `*` and `,`, of at most what the price book can store."""
_SURE_NUMBERS = re.compile(rb"BATCH(?:,[0-9]{1,18}){3}")
"""A header whose numbers are so short that each, and the sum of two, is below 2**63."""
_MAX_NUMBER: Final = 2**63 - 1


class ProtocolError(Exception):
    """A peer broke the protocol: log the reason and close the connection."""


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """A client's HELLO: the next sequence it needs, and of which tape."""

    next_sequence: int
    tape: str | None


@dataclass(frozen=True, slots=True)
class HelloAnswer:
    """The server's answer: the tape it plays, and the first sequence it will send."""

    tape: str
    first: int


class BatchHeader(Struct, frozen=True, gc=False):
    """The header of a batch: `count` frames follow, numbered from `first`.

    `sent_ns` is the time of sending, by the host's monotonic clock.
    """

    first: int
    count: int
    sent_ns: int


def encode_hello_request(next_sequence: int, tape: str | None) -> bytes:
    """Encode a client's HELLO. `tape` is the tape that `next_sequence` belongs to."""
    if tape:
        return b"HELLO,1,%d,%b*" % (next_sequence, tape.encode())
    return b"HELLO,1,%d*" % next_sequence


def encode_hello_answer(tape: str, first: int) -> bytes:
    """Encode the server's answer to HELLO."""
    return b"HELLO,1,%b,%d*" % (tape.encode(), first)


def encode_batch_header(first: int, count: int, sent_ns: int) -> bytes:
    """Encode the header of `count` plain frames; a count of 0 is a heartbeat."""
    return b"BATCH,%d,%d,%d*" % (first, count, sent_ns)


def parse_hello_request(frame: bytes) -> HelloRequest:
    """Read a client's HELLO. Raises ProtocolError."""
    fields = frame.split(b",")
    if len(fields) not in (3, 4) or fields[0] != b"HELLO" or fields[1] != PROTOCOL_VERSION:
        raise ProtocolError(f"expected HELLO,1,NEXT[,TAPE], got {excerpt(frame)}")
    tape = _tape(fields[3]) if len(fields) == 4 else None
    return HelloRequest(_number(fields[2], "NEXT"), tape)


def parse_hello_answer(frame: bytes) -> HelloAnswer:
    """Read a server's answer. Raises ProtocolError."""
    fields = frame.split(b",")
    if len(fields) != 4 or fields[0] != b"HELLO" or fields[1] != PROTOCOL_VERSION:
        raise ProtocolError(f"expected HELLO,1,TAPE,FIRST, got {excerpt(frame)}")
    first = _number(fields[3], "FIRST")
    if first < 1:
        raise ProtocolError("FIRST must be at least 1, got 0")
    return HelloAnswer(_tape(fields[2]), first)


def parse_batch_header(frame: bytes) -> BatchHeader:
    """Read a batch's header. Raises ProtocolError."""
    fields = frame.split(b",")
    if len(fields) != 4 or fields[0] != b"BATCH":
        raise ProtocolError(f"expected BATCH,FIRST,COUNT,SENT_NS, got {excerpt(frame)}")
    if _SURE_NUMBERS.fullmatch(frame):  # the usual case, in half the time
        return BatchHeader(int(fields[1]), int(fields[2]), int(fields[3]))
    header = BatchHeader(
        _number(fields[1], "FIRST"), _number(fields[2], "COUNT"), _number(fields[3], "SENT_NS")
    )
    if header.first + header.count > _MAX_NUMBER:
        raise ProtocolError(f"sequence numbers past 63 bits in {excerpt(frame)}")
    return header


def is_tape(text: str) -> bool:
    """Return whether a text can name a tape."""
    return text.isascii() and bool(_TAPE.fullmatch(text.encode()))


def excerpt(data: bytes) -> str:
    """Return the beginning of what a peer sent, safe to log."""
    return repr(data[:40])[1:] + ("…" if len(data) > 40 else "")


def _number(text: bytes, name: str) -> int:
    # isdigit() on bytes accepts only ASCII; the length keeps int() cheap on hostile input.
    if not text.isdigit() or len(text) > 19 or int(text) > _MAX_NUMBER:
        raise ProtocolError(f"{name} must be a whole number of 63 bits, got {excerpt(text)}")
    return int(text)


def _tape(text: bytes) -> str:
    if not _TAPE.fullmatch(text):
        raise ProtocolError(f"TAPE must be 1 to 63 printable characters, got {excerpt(text)}")
    return text.decode("ascii")
