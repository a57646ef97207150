"""Framing: however the bytes are cut, the same messages come out, and a peer cannot fill memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.wire import framing
from lib.wire.framing import (
    MAX_MESSAGE_BYTES,
    RECEIVE_BYTES,
    FrameBuffer,
    MessageTooLongError,
    split,
)

# Delimiters are as frequent as all else: that is where the mistakes would be.
streams = st.lists(st.sampled_from([b"*", b"*", b"a", b"\x00", b"\xff", b"**", b"bc"])).map(
    b"".join
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut `data` at those places, empty pieces included."""
    places = sorted(place % (len(data) + 1) for place in at)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def messages_of(pieces: list[bytes]) -> list[bytes]:
    buffer = FrameBuffer()
    return [message for piece in pieces for message in split(buffer.feed(piece))]


@given(streams | st.binary(), st.lists(st.integers(0, 1000)))
def test_any_cut_of_any_bytes_gives_the_same_messages(data, at):
    assert messages_of(cut(data, at)) == data.split(b"*")[:-1]


@pytest.mark.parametrize("read_bytes", [7, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1])
def test_a_message_of_64_kib_is_taken(read_bytes):
    message = b"x" * MAX_MESSAGE_BYTES
    stream = message + b"*"
    pieces = [stream[at : at + read_bytes] for at in range(0, len(stream), read_bytes)]
    assert messages_of([*pieces, b"next*"]) == [message, b"next"]


@pytest.mark.parametrize("read_bytes", [7, MAX_MESSAGE_BYTES, 1024 * 1024])
@pytest.mark.parametrize("ending", [b"", b"*", b"*next*"])
def test_a_message_one_byte_longer_is_refused(read_bytes, ending):
    stream = b"first*" + b"x" * (MAX_MESSAGE_BYTES + 1) + ending
    with pytest.raises(MessageTooLongError, match="more than 65536 bytes without a delimiter"):
        messages_of([stream[at : at + read_bytes] for at in range(0, len(stream), read_bytes)])


@given(streams, st.lists(st.integers(0, 1000)))
def test_messages_before_one_that_is_too_long_are_given_out_however_they_are_cut(data, at):
    limit = 4
    *whole, tail = data.split(b"*")
    too_long = [i for i, message in enumerate([*whole, tail]) if len(message) > limit]
    buffer = FrameBuffer()
    got = []
    refused = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "MAX_MESSAGE_BYTES", limit)
        try:
            for piece in cut(data, [*at, *range(0, len(data), limit)]):  # no read is longer
                got += split(buffer.feed(piece))
        except MessageTooLongError:
            refused = True
    assert refused == bool(too_long)
    assert got == (whole[: too_long[0]] if too_long else whole)


def test_one_read_is_no_longer_than_a_message_as_the_promise_above_needs():
    assert RECEIVE_BYTES <= MAX_MESSAGE_BYTES


def test_a_message_that_trickles_in_takes_about_its_length_of_memory():
    pieces = [b"%c%c" % (65 + i % 26, 97 + i % 25) for i in range(1000)]
    tracemalloc.start()
    try:
        buffer = FrameBuffer()
        for i in range(MAX_MESSAGE_BYTES // 2):
            # A piece without another reference, as from a socket.
            assert buffer.feed(bytes(bytearray(pieces[i % 1000]))) == b""
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * MAX_MESSAGE_BYTES
    assert len(buffer.feed(b"*")) == MAX_MESSAGE_BYTES + 1
