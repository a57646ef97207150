"""Ticks and sentiments as they stand on the wire: `AAPL,172.53*` and `64*`.

Pure. A tick inside is a symbol index (position in the settings' `symbols`) and a fixed-point
price; a codec knows the symbols, so that the rest of the stack deals in arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.framing import split
from lib.prices import format_price, parse_price

MAX_SENTIMENT = 100


class DecodedTicks(NamedTuple):
    """What a run of plain frames held. All three arrays are of one length; order is kept."""

    offsets: NDArray[np.int64]
    """Which frame of the run a tick came from, from 0: its distance from the first sequence."""
    symbols: NDArray[np.int32]
    """Symbol indices."""
    prices: NDArray[np.int64]
    """Fixed-point prices."""
    frames: int
    """How many frames the run had in all."""
    malformed: list[int]
    """Offsets of the frames that are no tick."""
    unknown: list[int]
    """Offsets of the frames whose symbol the stack does not trade."""


class TickCodec:
    """Encodes and decodes the ticks of one set of symbols."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._encoded = [symbol.encode() + b"," for symbol in symbols]
        self._index = {symbol.encode(): index for index, symbol in enumerate(symbols)}

    def encode(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> list[bytes]:
        """One plain frame a tick, delimiters included."""
        encoded = self._encoded
        return [
            b"%b%b*" % (encoded[symbol], format_price(price).encode())
            for symbol, price in zip(symbols.tolist(), prices.tolist(), strict=True)
        ]

    def decode(self, frames: bytes) -> DecodedTicks:
        """Read whole plain frames. One that cannot be read is told by its offset, never raised."""
        index = self._index
        offsets: list[int] = []
        symbols: list[int] = []
        prices: list[int] = []
        malformed: list[int] = []
        unknown: list[int] = []
        messages = split(frames)
        for offset, message in enumerate(messages):
            symbol, _, text = message.partition(b",")
            try:
                price = parse_price(text)
            except ValueError:
                malformed.append(offset)
                continue
            if symbol in index:
                offsets.append(offset)
                symbols.append(index[symbol])
                prices.append(price)
            else:
                (unknown if _is_symbol(symbol) else malformed).append(offset)
        return DecodedTicks(
            np.array(offsets, np.int64),
            np.array(symbols, np.int32),
            np.array(prices, np.int64),
            len(messages),
            malformed,
            unknown,
        )


def _is_symbol(text: bytes) -> bool:
    try:
        symbol = text.decode()
    except UnicodeDecodeError:
        return False
    return symbol != "" and symbol.isprintable()


def encode_sentiment(sentiment: int) -> bytes:
    """One plain frame of the news stream, delimiter included."""
    return b"%d*" % sentiment


def parse_sentiment(frame: bytes) -> int:
    """Read a frame of the news stream. Raises ValueError unless it is a whole number 0 to 100."""
    if not frame.isdigit() or len(frame) > 3 or int(frame) > MAX_SENTIMENT:
        raise ValueError(f"a sentiment is a whole number from 0 to {MAX_SENTIMENT}")
    return int(frame)
