"""Diagnoses a peer that sends bytes without a delimiter. Pure.

A user's feed or client that ends its messages in a line break, or speaks HTTP, would never get an
error: without a delimiter there is no message that could be malformed.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from lib.text import shown
from lib.wire.stream_messages import HELLO

MANY_BYTES: Final = 4096
"""How many bytes without a delimiter are too many on a price or news stream: far more than its
longest message."""
_LOOKED_AT_BYTES: Final = 256
"""How many bytes are looked at, so that a peer that sends byte by byte costs little."""
_LONGEST_HELLO: Final = 128
"""How much of a possible HELLO is looked at."""
_LONGEST_ORDER: Final = 1024
"""How much of a possible order without a delimiter is looked at."""

_STRING: Final = re.compile(
    rb"\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)", re.DOTALL
)
"""A string up to its end or that of the data: if it had to be closed, the expression would try each
quote in it again."""
_BRACE: Final = re.compile(rb"[{}]")

_HTTP: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) |HTTP/")
_TLS: Final = b"\x16\x03"
_SSH: Final = b"SSH-"


class Undelimited(NamedTuple):
    """What is logged of bytes without a delimiter."""

    text: str
    """The beginning of the bytes."""
    reason: str


def undelimited(data: bytes | bytearray, peer: str) -> Undelimited:
    """Return what a `peer` ("feed", "client") that sent these bytes may be doing wrong."""
    guess = guess_at(data, lines=f"a {peer} of lines?")
    text = shown(bytes(data[:_LOOKED_AT_BYTES]))
    return Undelimited(text, f"{len(data):,} bytes and no `*`: {guess}")


def guess_at(data: bytes | bytearray, lines: str = "lines?") -> str:
    """Return in a word or two what these bytes may be; `lines` if they are lines."""
    beginning = bytes(data[:_LOOKED_AT_BYTES])
    if _HTTP.match(beginning):
        return "HTTP?"
    if beginning.startswith(_TLS):
        return "TLS?"
    if beginning.startswith(_SSH):
        return "SSH?"
    if b"\n" in beginning or b"\r" in beginning:
        return lines
    return "every message ends in `*`"


def cannot_become_hello(data: bytearray) -> bool:
    """Return whether what a client of a stream has sent so far cannot become a HELLO.

    Blank lines are ignored: they are what nc sends for Enter.
    """
    beginning = bytes(data[:_LONGEST_HELLO])
    if not beginning.strip():
        return False
    begins_so = beginning.startswith(HELLO[: len(beginning)])
    return not begins_so or len(data) > _LONGEST_HELLO or b"\n" in beginning


def cannot_become_order(data: bytearray, *, has_ended: bool) -> bool:
    """Return whether a client forgot the delimiter of an order, or sends something else.

    A complete JSON object followed by a line break, or by the end of the connection, counts as an
    order without its delimiter. Half a message does not: TCP may have split it anywhere.
    """
    beginning = bytes(data[:_LONGEST_ORDER]).lstrip()
    if not beginning:
        return False
    if not beginning.startswith(b"{"):
        return True
    return (has_ended or data.endswith(b"\n")) and _has_whole_object(beginning)


def _has_whole_object(beginning: bytes) -> bool:
    """Whether the first brace is closed. Braces in strings do not count."""
    depth = 0
    for brace in _BRACE.findall(_STRING.sub(b"", beginning)):
        depth += 1 if brace == b"{" else -1
        if depth == 0:
            return True
    return False
