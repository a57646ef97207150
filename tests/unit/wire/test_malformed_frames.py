"""What the log says of a malformed frame: what was wrong, and what would be right."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.text import MAX_SHOWN_BYTES
from lib.wire.malformed_frames import (
    MAX_EXPLAINED_BYTES,
    malformed_sentiment,
    malformed_tick,
    sentiment_fault,
    tick_fault,
)
from lib.wire.tick_codec import MALFORMED, TickCodec, parse_sentiment

MAX_REASON: Final = 200

CODEC = TickCodec(["AAPL"])

TICKS = {
    "AAPL,172.530000000001": "12 decimals, at most 8",
    "": "an empty frame",
    "AAPL": "no comma: a tick is SYMBOL,PRICE",
    "64": "a sentiment on the price port?",
    ",1.00": "no symbol",
    "AAPL,": "no price after the comma",
    "AAPL,-1.00": "a negative price",
    "AAPL,+1.00": "a sign",
    "AAPL,0.00": "above 0",
    "AAPL,9000000000.00000001": "above the highest price, 9,000,000,000",
    "AAPL," + "9" * 5000: "5,005 bytes: a tick has at most 64",
    "7203,1x": "a price is digits",
    "AAPL,00000000001.5": "11 digits before the point, at most 10",
    "AAPL,NaN": "NaN is no price",
    "AAPL,1e3": "an exponent",
    "AAPL,172,53": "a decimal comma: 172.53?",
    "AAPL,1.002,53": "a decimal comma: 1002.53?",
    "AAPL,1,002.53": "thousands separators: 1002.53?",
    "AAPL,1'002": "thousands separators: 1002?",
    "AAPL,1,002": "1002, or 1.002?",
    "2025-11-03,AAPL,1.00": "3 fields",
    "AAPL,.5": "0.5?",
    "AAPL,1.": "no digit after the point",
    "AAPL,$1.00": "a price is digits",
    "AAPL,.": "a price is digits",
    "172.53,AAPL": "in each other's place?",
    "AAPL, 1.00": "a space beside the price",
    "AAPL ,1.00 ": "a space around it",
    "\nAAPL,1.00": "a line break beside the `*`",
    "AAPL,1.00\r\nMSFT,2.00": "a feed of lines?",
    "\x07,1.00": "cannot be printed",
    '{"symbol": "AAPL", "price": 1}': "JSON?",
    "HELLO,1,tape,1": "a HELLO out of place",
    "\xff\xfe,1.00": "not UTF-8",
}

SENTIMENTS = {
    "0.73": "got '0.73': on another scale",
    "-0.5": "on another scale",
    "101": "a whole number from 0 to 100, got '101'",
    "55.0": "55?",
    "bullish": "got 'bullish'",
    "AAPL,172.53": "a tick on the news port?",
    "\n64": "a line break beside the `*`",
    " 64": "a space around it",
    "": "an empty frame",
    "\xff": "not UTF-8",
    "9" * 5000: "5,000 bytes: a sentiment is a whole number from 0 to 100",
}


@pytest.mark.parametrize(("text", "fault"), TICKS.items(), ids=lambda text: repr(text[:30]))
def test_a_malformed_tick_says_what_would_be_right(text, fault):
    frame = text.encode("latin-1")
    assert CODEC.read(frame)[0] == MALFORMED
    assert fault in malformed_tick(17, frame)["reason"]


@pytest.mark.parametrize(("text", "fault"), SENTIMENTS.items(), ids=lambda text: repr(text[:30]))
def test_a_malformed_sentiment_says_what_would_be_right(text, fault):
    frame = text.encode("latin-1")
    with pytest.raises(ValueError, match="a sentiment is"):
        parse_sentiment(frame)
    assert fault in malformed_sentiment(4, frame)["reason"]


MANY: Final = 64 * 1024
PIECES: Final = ["1", "0", ".", ",", "-", "1e", "1,", "1,000", "1.000", "'", "\n1", "é", "9e9"]
HOSTILE: Final = [
    frame.encode()
    for piece in PIECES
    for frame in (
        piece * MANY,
        f"{piece * MANY}x",
        f"AAPL,{piece * MANY}",
        f"AAPL,-{piece * MANY}x",
        f"AAPL,.{piece * MANY}",
        f"HELLO,{piece * MANY}",
    )
]
"""Frames on which a regular expression may backtrack."""


def test_no_frame_costs_more_than_its_length_and_every_reason_is_short():
    begin = time.process_time()
    for frame in HOSTILE:
        for reason in (tick_fault(frame), sentiment_fault(frame)):
            assert reason.isprintable()
            assert len(reason) < MAX_REASON
    # A backtracking match takes a minute for one of these frames; a millisecond is its due.
    assert time.process_time() - begin < len(HOSTILE) * 0.05


numbers = st.text(alphabet="0123456789.,-+eE' xA\n{", max_size=3 * MAX_EXPLAINED_BYTES)


@given(
    st.binary(max_size=2 * MAX_SHOWN_BYTES) | numbers.map(str.encode),
    st.sampled_from([b"", b"AAPL,"]),
)
def test_whatever_comes_is_named_briefly_and_fit_for_a_terminal(frame, symbol):
    for example in (malformed_tick(1, symbol + frame), malformed_sentiment(1, symbol + frame)):
        assert example["reason"].isprintable()
        assert example["text"].isprintable()
        assert len(example["text"]) <= 10 * MAX_SHOWN_BYTES
        assert len(example["reason"]) < MAX_REASON
