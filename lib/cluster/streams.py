"""The streams of a cluster: their names, their shape, and what their messages say.

A stream has one subject, to which its writer appends. What is in the stream is sent on to a live
subject, as a plain message, to whoever follows it; the writer's words go there directly. So many
hosts get the ticks without a consumer each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from lib.wire.stream_messages import BatchHeader, ProtocolError, is_tape, parse_batch_header

PRICE: Final = "TW_PRICE"
NEWS: Final = "TW_NEWS"
LEDGER: Final = "TW_LEDGER"

REPLICAS: Final = 3
MAX_TICK_AGE_S: Final = 300
"""How long ticks and news are kept: a host that was away for longer has missed some."""
MAX_TICK_BYTES: Final = 128 * 1024 * 1024
"""The most memory of a stream of ticks or news, on each broker."""
MAX_NEWS_BYTES: Final = 1024 * 1024
MAX_MESSAGE_BYTES: Final = 64 * 1024
"""The most bytes of frames in a message."""

TAPE: Final = "Tw-Tape"
"""The header of a message of ticks or news with the tape they are of."""
NEXT: Final = "Tw-Next"
"""The header of a message of ticks or news with the sequence of the next tick or sentiment."""
CONTENTS: Final = "Tw-Contents"
"""The header of a message of ticks with what the tape is made of: the identities, as JSON."""
LAST: Final = "Tw-Last"
"""The header of a writer's word with the last sequence of its stream."""
CLOCK: Final = "Tw-Clock"
"""The header with what to add to a monotonic time of the writer's host for the wall clock's."""

WALL: Final = "Tw-Wall"
"""The header of an order with the wall clock of its host, ns since 1970."""

MAX_NUMBER: Final = 2**63 - 1
"""The largest number in a header."""
MAX_DIGITS: Final = len(str(MAX_NUMBER))


def live_subject(stream: str) -> str:
    """Return the subject on which a stream's messages, and its writer's words, are sent on."""
    return f"tw.live.{stream.removeprefix('TW_').lower()}"


def subject_of(stream: str) -> str:
    """Return the subject to which the messages of a stream are appended."""
    return f"tw.{stream.removeprefix('TW_').lower()}"


def configuration(stream: str, replicas: int) -> dict[str, Any]:
    """Return the configuration of a stream, as JetStream has it."""
    subject = subject_of(stream)
    is_kept = stream == LEDGER
    return {
        "name": stream,
        "subjects": [subject],
        "retention": "limits",
        "discard": "old",
        "storage": "file" if is_kept else "memory",
        "num_replicas": replicas,
        "max_age": 0 if is_kept else MAX_TICK_AGE_S * 1_000_000_000,
        "max_bytes": -1 if is_kept else {PRICE: MAX_TICK_BYTES, NEWS: MAX_NEWS_BYTES}[stream],
        "republish": {"src": subject, "dest": live_subject(stream)},
        "deny_delete": is_kept,
        "deny_purge": is_kept,
    }


def difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return what is other in the configuration of a stream than it must be; "" if nothing is."""
    other = [key for key in wanted if found.get(key) != wanted[key]]
    return ", ".join(f"{key} is {found.get(key)!r} and not {wanted[key]!r}" for key in other)


class TapePosition(NamedTuple):
    """How far a tape is published."""

    tape: str
    next_sequence: int


def position_of(headers: Mapping[str, str]) -> TapePosition | None:
    """Return how far the tape is published with a message; None if it does not say."""
    tape, next_sequence = headers.get(TAPE, ""), number_in(headers, NEXT)
    return TapePosition(tape, next_sequence) if is_tape(tape) and next_sequence else None


def number_in(headers: Mapping[str, str], name: str) -> int:
    """Return the number in a header, 0 if there is none, or none of 63 bits."""
    text = headers.get(name, "")
    # int() refuses more than 4,300 digits, and a sum of such numbers fits nowhere.
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        return 0
    number = int(text)
    return number if number <= MAX_NUMBER else 0


def split_batch(data: bytes) -> tuple[BatchHeader, bytes]:
    """Return the header and the frames of a message. Raises ProtocolError if they do not add up."""
    header, delimiter, frames = data.partition(b"*")
    batch = parse_batch_header(header)
    if not delimiter or frames.count(b"*") != batch.count or (frames and frames[-1:] != b"*"):
        raise ProtocolError(f"a batch of {batch.count} frames has {frames.count(b'*')}")
    return batch, frames
