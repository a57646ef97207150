"""Many ticks between text and numbers at once, as arrays: 15 ns a tick to write, 40 to read.

Pure. `lib.wire.tick_codec` decides when it is worth it; its scalar way, a tick at a time, gives the
same results. Nothing here loops over ticks:

- *Encoding.* Every tick becomes a row of four-byte words, looked up in tables: the symbol and its
  comma, up to four digits of the price, its point and decimals, the star. What a word does not fill
  is NUL, and all NULs are deleted in one pass over the bytes.
- *Decoding.* Of all bytes below "0" (`*`, `,`, `.`, `-` …) the last three of a frame delimit its
  symbol and the two halves of its price. Eight bytes at any offset are one load, since a view of
  words may begin at every byte; the bytes that are not part of the text are shifted out, and eight
  digits become a number in three multiplications (as in simdjson).

Frames of any other form are left to the scalar way: `read_frames` marks what it has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.prices import PRICE_SCALE
from lib.wire.stream_messages import MAX_SYMBOL_BYTES
from lib.wire.symbol_table import NOT_FOUND, WORD_BYTES, SymbolTable

_Word = np.dtype("<u8")
_Half = np.dtype("<u4")
_HALF_BYTES: Final = 4
_WORD_BITS: Final = 64

_GROUP: Final = 10**4
"""Four digits are one table look-up."""
_UPPER_UNITS: Final = (_GROUP**2, _GROUP)
"""The units of the digit groups of a price's whole part, except the lowest group."""


def _texts(template: str, count: int) -> NDArray[np.uint32]:
    """Return the half words of `count` texts, the numbers from 0 on written by the template."""
    texts = [template.format(number).encode() for number in range(count)]
    return np.array(texts, f"S{_HALF_BYTES}").view(_Half)


class _Tables:
    """Texts of numbers, each a half word. Built at the first encoding: it takes 8 ms."""

    def __init__(self) -> None:
        self.leading = _texts("{}", _GROUP)
        self.padded = _texts("{:04}", _GROUP)
        self.cents = _texts(".{:02}", 100)
        self.cents_at_end = _texts(".{:02}*", 100)
        self.thousandths = _texts("{:03}", 1000)
        bare = [f"{number:03}".rstrip("0").encode() for number in range(1000)]
        self.bare = np.array(bare, f"S{_HALF_BYTES}").view(_Half)
        self.bare_at_end = np.array([text + b"*" for text in bare], f"S{_HALF_BYTES}").view(_Half)


class FrameWriter:
    """Encodes the ticks of one set of symbols."""

    def __init__(self, symbols: Sequence[bytes]) -> None:
        texts = [symbol + b"," for symbol in symbols]
        halves = -(-max(map(len, texts)) // _HALF_BYTES)
        table = np.array(texts, f"S{halves * _HALF_BYTES}")
        self._symbols = table.view(_Half).reshape(len(symbols), halves)
        self._tables = _Tables()

    def write(self, symbols: NDArray[np.int32], prices: NDArray[np.int64]) -> bytes:
        """Encode each tick as a plain frame, delimiters included."""
        whole = prices // PRICE_SCALE
        columns = [*self._whole(whole), *self._decimals(prices - whole * PRICE_SCALE)]
        symbol_halves = self._symbols.shape[1]
        rows = np.empty((len(prices), symbol_halves + len(columns)), _Half)
        rows[:, :symbol_halves] = self._symbols.take(symbols, axis=0)
        for number, column in enumerate(columns, symbol_halves):
            rows[:, number] = column
        return rows.tobytes().translate(None, b"\0")

    def _whole(self, whole: NDArray[np.int64]) -> list[NDArray[np.uint32]]:
        """Return the digits before the point, in as many columns as the highest price needs."""
        tables, columns = self._tables, []
        highest = int(whole.max())
        for unit in _UPPER_UNITS:
            if highest >= unit:
                digits = whole // unit % _GROUP
                text = np.where(
                    whole >= unit * _GROUP, tables.padded[digits], tables.leading[digits]
                )
                columns.append(np.where(whole >= unit, text, np.uint32(0)))
        if highest < _GROUP:
            return [tables.leading[whole]]
        digits = whole % _GROUP
        columns.append(np.where(whole >= _GROUP, tables.padded[digits], tables.leading[digits]))
        return columns

    def _decimals(self, fraction: NDArray[np.int64]) -> list[NDArray[np.uint32]]:
        """Return point, decimals and star: two decimals, more where a price has more."""
        tables = self._tables
        cents = fraction // 10**6
        rest = fraction - cents * 10**6
        if not rest.any():
            return [tables.cents_at_end[cents]]
        upper = rest // 1000
        lower = rest - upper * 1000
        middle = np.where(lower, tables.thousandths[upper], tables.bare[upper])
        return [tables.cents[cents], middle, tables.bare_at_end[lower]]


class ReadFrames(NamedTuple):
    """What `read_frames` decoded. The arrays have the same length: one element a frame.

    Where `is_read` is false, symbol and price are undefined.
    """

    begins: NDArray[np.int64]
    """Where each frame begins, in bytes."""
    ends: NDArray[np.int64]
    """Where its delimiter is."""
    symbols: NDArray[np.int32]
    prices: NDArray[np.int64]
    is_read: NDArray[np.bool_]


_COMMA, _POINT, _STAR, _ZERO = (np.uint8(ord(character)) for character in ",.*0")
_STARS_BEFORE: Final = 2
_BEFORE: Final = b"0" * (WORD_BYTES - _STARS_BEFORE) + b"*" * _STARS_BEFORE
_BEHIND: Final = b"0" * WORD_BYTES
"""`_BEFORE` and `_BEHIND` pad the frames, so that the words before the first and after the last can
be loaded, and so that the first frame has three marks up to its star as well."""
_ZEROS: Final = np.uint64(int.from_bytes(_BEHIND, "little"))
_ABOVE_NINE: Final = np.uint64(0x7676767676767676)
"""Added to a word, it sets the highest bit of each byte above 9."""
_HIGHEST_BITS: Final = np.uint64(0x8080808080808080)
_PAIRS: Final = np.uint64(0x000000FF000000FF)


def read_frames(frames: bytes, table: SymbolTable) -> ReadFrames:
    """Read all frames of the form `SYMBOL,WHOLE.DECIMALS*` with up to eight digits in each half.

    `frames` must contain a delimiter; bytes after the last one are ignored.
    """
    padded = b"".join((_BEFORE, frames, _BEHIND))
    data = np.frombuffer(padded, np.uint8)
    words = np.ndarray(len(padded) - WORD_BYTES + 1, _Word, padded, strides=(1,))
    (marks,) = np.nonzero(data < _ZERO)
    kinds = data[marks]
    (last,) = np.nonzero(kinds == _STAR)
    begins = marks[last[_STARS_BEFORE - 1 : -1]] + 1
    last = last[_STARS_BEFORE:]
    commas, points, stars = marks[last - 2], marks[last - 1], marks[last]
    is_read = (kinds[last - 1] == _POINT) & (kinds[last - 2] == _COMMA)

    symbols = _find_symbols(words, begins, commas, table)
    is_read &= symbols != NOT_FOUND
    if b"\0" in frames:  # the table would treat it as padding of a symbol
        is_read[np.searchsorted(stars, np.flatnonzero(data[: stars[-1]] == 0))] = False
    digits = np.empty((2, len(stars)), np.uint64)
    whole, decimals = digits
    np.bitwise_xor(words[points - WORD_BYTES], _ZEROS, out=whole)
    np.bitwise_xor(words[points + 1], _ZEROS, out=decimals)
    # The first byte of a text is the lowest of its word: bytes before the digits are shifted out
    # below, bytes after them above. (In NumPy, a shift by more bits than a word has, or by a
    # negative number, gives 0.)
    outside = _bits_outside(points - commas - 1)
    whole >>= outside
    whole <<= outside
    is_read &= outside < _WORD_BITS
    outside = _bits_outside(stars - points - 1)
    decimals <<= outside
    decimals >>= outside
    is_read &= outside < _WORD_BITS
    is_above_nine = (digits + _ABOVE_NINE | digits) & _HIGHEST_BITS
    is_read &= (is_above_nine[0] | is_above_nine[1]) == 0
    numbers = _eight_digits(digits).view(np.int64)
    prices = numbers[0] * PRICE_SCALE + numbers[1]
    is_read &= prices > 0
    return ReadFrames(begins - WORD_BYTES, stars - WORD_BYTES, symbols, prices, is_read)


def _bits_outside(length: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return how many bits of a word a text of `length` bytes leaves unused.

    64 or more for a text that is empty or longer than a word.
    """
    return (_WORD_BITS - (length << 3)).view(np.uint64)


def _find_symbols(
    words: NDArray[np.uint64],
    begins: NDArray[np.int64],
    commas: NDArray[np.int64],
    table: SymbolTable,
) -> NDArray[np.int32]:
    lengths = commas - begins
    # The bytes before the symbol are shifted out; none if the symbol is longer than a word.
    outside = _WORD_BITS - (np.minimum(lengths, WORD_BYTES) << 3)
    tails = words[commas - WORD_BYTES] >> outside.view(np.uint64)
    if lengths.max() <= WORD_BYTES:
        return table.find(tails, None)
    above = _bits_outside(lengths - WORD_BYTES)
    heads = words[begins] << above >> above
    found = table.find(tails, heads)
    return np.where(lengths <= MAX_SYMBOL_BYTES, found, np.int32(NOT_FOUND))


def _eight_digits(digits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Convert each word of eight digits (bytes 0 to 9, the first digit lowest) to a number."""
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    upper = (pairs & _PAIRS) * np.uint64(100 + (10**6 << 32))
    lower = (pairs >> np.uint64(16) & _PAIRS) * np.uint64(1 + (10**4 << 32))
    return upper + lower >> np.uint64(32)
