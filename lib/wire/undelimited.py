"""Bytes of a peer that hold no delimiter: what may be the matter with it. Pure.

A user's feed or client that ends its messages in a line break, or speaks HTTP, sends
for ever and is never understood: without a delimiter there is no message that could be wrong.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from lib.text import shown
from lib.wire.stream_messages import HELLO

MANY_BYTES: Final = 4096
"""Without a delimiter on a price or news stream: a hundred times its longest message."""
_LOOKED_AT_BYTES: Final = 256
"""At either end, so that a peer that sends byte by byte costs no more than it sends."""
_LONGEST_HELLO: Final = 128
_LONGEST_ORDER: Final = 1024
"""An object without a delimiter that is longer is not looked at to its end."""

_STRING: Final = re.compile(
    rb"\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)", re.DOTALL
)
"""To its end or that of the data: if it had to be closed, each quote in it would be tried anew."""
_BRACE: Final = re.compile(rb"[{}]")

_HTTP: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) |HTTP/")
_TLS: Final = b"\x16\x03"
_SSH: Final = b"SSH-"


class Undelimited(NamedTuple):
    """Bytes without a delimiter, for the log."""

    text: str
    """How they begin."""
    reason: str


def undelimited(data: bytes | bytearray, peer: str) -> Undelimited:
    """Say what may be the matter with a `peer` ("feed", "client") that has sent these bytes."""
    guess = guess_at(data, lines=f"a {peer} of lines?")
    text = shown(bytes(data[:_LOOKED_AT_BYTES]))
    return Undelimited(text, f"{len(data):,} bytes and no `*`: {guess}")


def guess_at(data: bytes | bytearray, lines: str = "lines?") -> str:
    """Say in a word or two what these bytes are; `lines` if they are lines."""
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
    """Return whether what a client of a stream has sent so far can be no HELLO, whatever follows.

    Blank lines mean nothing: Enter was pressed in nc.
    """
    beginning = bytes(data[:_LONGEST_HELLO])
    if not beginning.strip():
        return False
    begins_so = beginning.startswith(HELLO[: len(beginning)])
    return not begins_so or len(data) > _LONGEST_HELLO or b"\n" in beginning


def cannot_become_order(data: bytearray, *, has_ended: bool) -> bool:
    """Return whether a client that sends orders has forgotten the delimiter, or sends none.

    A whole JSON object and a line break at the end of the data are taken for an order without its
    delimiter, and so is a whole object before the end of the connection. Half a message, which TCP
    may have cut anywhere, is nothing to speak of.
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
