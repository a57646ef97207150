"""The tick codec: what is written reads back, and no bytes from outside can do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.prices import MAX_PRICE, PRICE_SCALE, format_price, parse_price
from lib.wire.tick_codec import (
    MALFORMED,
    UNKNOWN,
    DecodedTicks,
    TickCodec,
    encode_sentiment,
    parse_sentiment,
)

SYMBOLS = ("AAPL", "BRK.B", "ÖMV", "X", "EIGHT-80", "NINE-CHAR", "SIXTEEN-SIXTEENS")

prices = st.integers(1, MAX_PRICE) | st.builds(
    lambda number, unit: min(number * unit, MAX_PRICE),
    st.integers(1, 10**6),
    st.sampled_from([1, 10**3, 10**6, 10**8, 10**11]),
)
"""Also short ones: of few digits, few decimals, none."""
ticks = st.lists(st.tuples(st.integers(0, len(SYMBOLS) - 1), prices), min_size=1)
oddities = st.sampled_from(
    [*SYMBOLS, "NVDA", "SEVENTEEN-80SIXTEENS", ",", ".", "*", "172.53", "1", "-", "nan", "\n", "\0"]
)
whole_frames = st.builds(
    "{},{}*".format,
    oddities | st.sampled_from(SYMBOLS),
    oddities
    | prices.map(format_price)
    | st.from_regex(r"[0-9]{0,11}\.?[0-9]{0,10}", fullmatch=True),
)
frames = st.builds(
    lambda text, end: text + b"*" + end,
    st.binary() | st.lists(oddities | whole_frames).map(lambda parts: "".join(parts).encode()),
    st.just(b"") | st.binary().filter(lambda end: b"*" not in end),
)


def encoded(pairs: list[tuple[int, int]]) -> bytes:
    symbols, prices = np.array(pairs, np.int64).T
    return TickCodec(SYMBOLS).encode(symbols.astype(np.int32), prices)


def decode(data: bytes) -> DecodedTicks:
    """Decode, and make sure that reading frame by frame gives the same."""
    decoded = TickCodec(SYMBOLS).decode(data)
    one_by_one = [TickCodec(SYMBOLS).read(message) for message in data.split(b"*")[:-1]]
    together = dict.fromkeys(decoded.malformed, (MALFORMED, 0))
    together |= dict.fromkeys(decoded.unknown, (UNKNOWN, 0))
    ticks = zip(decoded.symbols.tolist(), decoded.prices.tolist(), strict=True)
    together |= dict(zip(decoded.offsets.tolist(), ticks, strict=True))
    assert [together[offset] for offset in range(len(one_by_one))] == one_by_one
    assert decoded.offsets.dtype == decoded.prices.dtype == np.int64
    assert decoded.symbols.dtype == np.int32
    return decoded


def test_a_tick_stands_on_the_wire_as_symbol_and_price():
    assert encoded([(0, 17_253_000_000), (1, 32_520_000_000), (0, 1)]) == (
        b"AAPL,172.53*BRK.B,325.20*AAPL,0.00000001*"
    )


@given(ticks)
def test_arrays_write_what_a_tick_at_a_time_would(pairs):
    one_by_one = [f"{SYMBOLS[symbol]},{format_price(price)}*" for symbol, price in pairs]
    assert encoded(pairs) == "".join(one_by_one).encode()


@given(ticks)
def test_ticks_read_back_as_they_were_written(pairs):
    decoded = decode(encoded(pairs))
    assert list(zip(decoded.symbols.tolist(), decoded.prices.tolist(), strict=True)) == pairs
    assert decoded.offsets.tolist() == list(range(len(pairs)))
    assert decoded.malformed == decoded.unknown == {}


@given(frames)
def test_any_bytes_are_classified_frame_by_frame(data):
    decoded = decode(data)
    messages = data.split(b"*")[:-1]
    offsets = [*decoded.offsets.tolist(), *decoded.malformed, *decoded.unknown]
    assert sorted(offsets) == list(range(len(messages)))
    for kind in (decoded.offsets.tolist(), list(decoded.malformed), list(decoded.unknown)):
        assert kind == sorted(kind)
    for offset, symbol, price in zip(
        decoded.offsets, decoded.symbols.tolist(), decoded.prices.tolist(), strict=True
    ):
        name, _, text = messages[offset].partition(b",")
        assert (SYMBOLS[symbol].encode(), price) == (name, parse_price(text))
    for offset in decoded.unknown:
        name, _, text = messages[offset].partition(b",")
        assert name.decode() not in SYMBOLS
        assert parse_price(text) > 0


@pytest.mark.parametrize(
    "frame",
    [
        *[b"", b",", b"AAPL", b"AAPL,", b",172.53", b"AAPL,-1", b"AAPL,nan", b"AAPL,inf"],
        *[b"AAPL,1e999", b"AAPL,0", b"AAPL,0.000000001", b"AAPL,9000000000.1", b"AAPL,1,2"],
        *[b"AAPL, 1", b"AAPL,1\n", b"NVDA,-1", b"\nAAPL,1", b"\x1b[2J,1", b"\xff,1", b"AAPL;1"],
        *[b"AAPL," + b"1" * 5000, b"HELLO,1,tape,5", b"NVDA,1,2"],
        *[b"AAPL\0,1.0", b"\0AAPL,1.0", b"\0EIGHT-80,1.0", b"AA\0PL,1.0"],
    ],
)
def test_a_frame_that_is_no_tick_is_malformed_and_the_rest_stands(frame):
    decoded = decode(b"AAPL,1*%b*X,2.0*" % frame)
    assert decoded.malformed == {1: frame}
    assert decoded.unknown == {}
    assert decoded.offsets.tolist() == [0, 2]
    assert decoded.symbols.tolist() == [0, 3]
    assert decoded.prices.tolist() == [PRICE_SCALE, 2 * PRICE_SCALE]


@pytest.mark.parametrize(
    "symbol", ["NVDA", "aapl", "AAPL ", "Ä", "A" * 17, "AAPLAAPL", "123456789EIGHT-80", "INE-CHAR"]
)
def test_a_symbol_that_is_not_traded_is_unknown_and_the_rest_stands(symbol):
    decoded = decode(f"AAPL,1*{symbol},1*X,2*".encode())
    assert decoded.unknown == {1: f"{symbol},1".encode()}
    assert decoded.malformed == {}
    assert decoded.offsets.tolist() == [0, 2]


@pytest.mark.parametrize("sentiment", [0, 1, 50, 99, 100])
def test_a_sentiment_reads_back_as_it_was_written(sentiment):
    assert encode_sentiment(sentiment) == b"%d*" % sentiment
    assert parse_sentiment(encode_sentiment(sentiment).removesuffix(b"*")) == sentiment


@pytest.mark.parametrize(
    "frame",
    [
        *[b"", b"101", b"-1", b"+5", b"5.0", b" 5", b"5\n", b"1_0", b"x", b"\xff", b"1" * 5000],
        "\N{ARABIC-INDIC DIGIT FIVE}".encode(),
    ],
)
def test_what_is_no_sentiment_is_refused(frame):
    with pytest.raises(ValueError, match="a sentiment is a whole number from 0 to 100"):
        parse_sentiment(frame)
