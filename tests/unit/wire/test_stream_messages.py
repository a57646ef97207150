"""The words of the streams: written as the protocol says, read strictly, refused in one line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.wire.stream_messages import (
    BatchHeader,
    HelloAnswer,
    HelloRequest,
    ProtocolError,
    encode_batch_header,
    encode_hello_answer,
    encode_hello_request,
    excerpt,
    parse_batch_header,
    parse_hello_answer,
    parse_hello_request,
)

LARGEST = 2**63 - 1

numbers = st.integers(0, LARGEST)
tapes = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",*"),
    min_size=1,
    max_size=63,
)


def test_the_words_stand_on_the_wire_as_the_protocol_says():
    assert encode_hello_request(0, None) == b"HELLO,1,0*"
    assert encode_hello_request(17, "tape-7") == b"HELLO,1,17,tape-7*"
    assert encode_hello_answer("tape-7", 17) == b"HELLO,1,tape-7,17*"
    assert encode_batch_header(17, 3, 123456789) == b"BATCH,17,3,123456789*"


@given(numbers, st.none() | tapes, st.integers(1, 2**62), st.integers(0, 2**62 - 1))
def test_each_message_reads_back_as_it_was_written(number, tape, first, count):
    for written, parse, message in (
        (encode_hello_request(number, tape), parse_hello_request, HelloRequest(number, tape)),
        (
            encode_hello_answer(tape or "t", first),
            parse_hello_answer,
            HelloAnswer(tape or "t", first),
        ),
        (
            encode_batch_header(first, count, number),
            parse_batch_header,
            BatchHeader(first, count, number),
        ),
    ):
        assert parse(written.removesuffix(b"*")) == message


bad_numbers = [
    *[b"", b"-1", b"+1", b" 1", b"1 ", b"1_0", b"1.0", b"1e3", b"0x1", b"x", b"\xff"],
    *["\N{ARABIC-INDIC DIGIT ONE}".encode(), b"9223372036854775808", b"9" * 5000],
]
bad_tapes = [b"", b"a b", b"a\n", b"\x7f", b"\xc3\xa9", b"\0", b"x" * 64]


REFUSED = {
    parse_hello_request: [
        *[b"", b"HELLO", b"HELLO,1", b"HELLO,2,0", b"hello,1,0", b"HELLO,1,0,t,", b"HELLO ,1,0"],
        *[b"GET / HTTP/1.1\r\n", b"BATCH,1,0,0", b"AAPL,172.53", b"\xff" * 300],
        *[b"HELLO,1," + number for number in bad_numbers],
        *[b"HELLO,1,0," + tape for tape in bad_tapes],
    ],
    parse_hello_answer: [
        *[b"", b"HELLO", b"HELLO,1,1", b"HELLO,2,t,1", b"HELLO,1,t,0", b"HELLO,1,t,1,"],
        b"HELL,1,t,1",
        *[b"HELLO,1,t," + number for number in bad_numbers],
        *[b"HELLO,1,%b,1" % tape for tape in bad_tapes],
    ],
    parse_batch_header: [
        *[b"", b"BATCH", b"BATCH,1,1", b"BATCH,1,1,1,", b"batch,1,1,1", b"AAPL,1"],
        *[b"BATCH,%b,1,1" % number for number in bad_numbers],
        *[b"BATCH,1,%b,1" % number for number in bad_numbers],
        *[b"BATCH,1,1," + number for number in bad_numbers],
        b"BATCH,%d,1,1" % LARGEST,
    ],
}


@pytest.mark.parametrize(
    ("parse", "frame"), [(parse, frame) for parse in REFUSED for frame in REFUSED[parse]]
)
def test_what_is_no_such_message_is_refused_in_one_line(parse, frame):
    with pytest.raises(ProtocolError) as refusal:
        parse(frame)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 250


@given(st.binary())
def test_any_bytes_are_read_or_refused(frame):
    for parse in (parse_hello_request, parse_hello_answer, parse_batch_header):
        for beginning in (b"", b"HELLO,1,", b"HELLO,1,t,", b"BATCH,1,"):
            with contextlib.suppress(ProtocolError):
                assert parse(beginning + frame) is not None


@given(st.binary())
def test_an_excerpt_is_short_and_safe_to_log(data):
    text = excerpt(data)
    assert text.isascii() or text[:-1].isascii()
    assert text.isprintable()
    assert len(text) <= 4 * 40 + 3
    assert text.endswith("…") == (len(data) > 40)
