"""Ticks and sentiments on the wire: `AAPL,172.53*` and `64*`.

Pure. Inside the stack a tick is a symbol index (its position in the settings' `symbols`) and a
fixed-point price; the codec knows the symbols, so that the rest of the stack works on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.prices import parse_price
from lib.wire.symbol_table import SymbolTable
from lib.wire.tick_arrays import FrameWriter, read_frames

MAX_SENTIMENT: Final = 100

MALFORMED: Final = -1
"""The symbol index of a frame that is no tick."""
UNKNOWN: Final = -2
"""The symbol index of a tick whose symbol is not configured."""


class DecodedTicks(NamedTuple):
    """The ticks of a run of plain frames, in order. The three arrays have the same length."""

    offsets: NDArray[np.int64]
    """The frame of each tick, from 0: its distance from the first sequence of the run."""
    symbols: NDArray[np.int32]
    """Symbol indices."""
    prices: NDArray[np.int64]
    """Fixed-point prices."""
    malformed: dict[int, bytes]
    """The frames that are no tick, without their delimiters, by offset."""
    unknown: dict[int, bytes]
    """The frames whose symbol is not configured, without their delimiters, by offset."""


class TickCodec:
    """Encodes and decodes the ticks of one set of symbols.

    There are two ways to decode: one tick at a time, and many as arrays (`lib.wire.tick_arrays`),
    with the same results. Encoding is always of many: the gateway encodes its tape ahead.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self._index = {symbol.encode(): index for index, symbol in enumerate(symbols)}

    @cached_property
    def _writer(self) -> FrameWriter:
        return FrameWriter(list(self._index))

    @cached_property
    def _table(self) -> SymbolTable:
        return SymbolTable(list(self._index))

    def encode(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> bytes:
        """Encode each tick as a plain frame, delimiters included.

        `symbols` are indices, `prices` fixed-point, above 0 and at most `MAX_PRICE`.
        """
        return self._writer.write(symbols, prices)

    def read(self, message: bytes) -> tuple[int, int]:
        """Decode one frame without its delimiter into the index of its symbol and its price.

        The index is MALFORMED or UNKNOWN for a frame that is no tick; nothing is raised.
        """
        symbol, _, text = message.partition(b",")
        try:
            price = parse_price(text)
        except ValueError:
            return MALFORMED, 0
        index = self._index.get(symbol)
        if index is None:
            return UNKNOWN if _is_symbol(symbol) else MALFORMED, 0
        return index, price

    def decode(self, frames: bytes) -> DecodedTicks:
        """Decode a run of at least one frame, delimiters included, with the results of `read`.

        Works on arrays, which takes 40 µs for one frame and 40 ns a frame for thousands; frames
        that do not fit them (no decimals, nine digits, garbage) are decoded one by one.
        """
        begins, ends, symbols, prices, is_read = read_frames(frames, self._table)
        count = len(ends)
        if is_read.all():
            return DecodedTicks(np.arange(count), symbols, prices, {}, {})
        odd: dict[int, dict[int, bytes]] = {MALFORMED: {}, UNKNOWN: {}}
        (unread,) = np.nonzero(~is_read)
        for offset, begin, end in zip(
            unread.tolist(), begins[unread].tolist(), ends[unread].tolist(), strict=True
        ):
            frame = frames[begin:end]
            symbol, price = self.read(frame)
            if symbol < 0:
                odd[symbol][offset] = frame
            else:
                symbols[offset], prices[offset], is_read[offset] = symbol, price, True
        offsets = np.flatnonzero(is_read)
        return DecodedTicks(
            offsets, symbols[offsets], prices[offsets], odd[MALFORMED], odd[UNKNOWN]
        )


def _is_symbol(text: bytes) -> bool:
    if text.isalnum():  # ASCII, the usual case, in a quarter of the time
        return True
    try:
        symbol = text.decode()
    except UnicodeDecodeError:
        return False
    return symbol != "" and symbol.isprintable()


def encode_sentiment(sentiment: int) -> bytes:
    """Encode a sentiment as a plain frame, delimiter included."""
    return b"%d*" % sentiment


def parse_sentiment(frame: bytes) -> int:
    """Read a frame of the news stream. Raises ValueError unless it is a whole number 0 to 100."""
    if not frame.isdigit() or len(frame) > 3 or int(frame) > MAX_SENTIMENT:
        raise ValueError(f"a sentiment is a whole number from 0 to {MAX_SENTIMENT}")
    return int(frame)
