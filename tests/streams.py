"""Streams whose frames contain their own sequence."""

from __future__ import annotations

from lib.streams.publication import CHUNK_FRAMES, EncodedTape, Stream

TAPE_LENGTH = 10 * CHUNK_FRAMES + 3


def frame(sequence: int) -> bytes:
    return b"S%d,%d*" % (sequence % 3, sequence)


def frames(first: int, count: int) -> bytes:
    return b"".join(map(frame, range(first, first + count)))


class Tape:
    """Encodes frames that contain their own sequence, and counts how often it is asked."""

    def __init__(self, length: int = 2**62) -> None:
        self.length = length
        self.asked = 0

    def encode(self, first: int, count: int) -> bytes:
        self.asked += 1
        return frames(first, max(0, min(count, self.length + 1 - first)))


def stream(next_sequence: int = 1) -> Stream:
    """A stream of which the frames before `next_sequence` are published."""
    return Stream("tape-7", EncodedTape(Tape().encode), next_sequence)
