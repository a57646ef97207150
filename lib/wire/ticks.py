"""The types of decoded ticks: records of a structured array, or plain tuples. Pure."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

TICK: Final = np.dtype(
    {
        "names": ["position", "sequence", "price", "sent_ns", "symbol", "epoch"],
        "formats": ["i8", "i8", "i8", "i8", "i4", "i4"],
        "offsets": [0, 8, 16, 24, 32, 36],
        "itemsize": 48,
    }
)
"""A tick in a structured array: a record of the price book without its check value.

`position` counts the ticks of the book, `sequence` those of the tape; `price` is in units of 10⁻⁸,
`sent_ns` on the monotonic clock; `symbol` is an index, `epoch` identifies the tape."""

PLAIN_TAPE: Final = ""
"""The tape of a stream whose server does not number its ticks; each price book numbers them itself.
"""

PlainTick: TypeAlias = tuple[int, int, int, int, int, int]
"""A tick as a tuple, with the fields of `TICK` in their order: for few ticks cheaper than an array.
"""

POSITION, SEQUENCE, PRICE, SENT_NS, SYMBOL, EPOCH = range(6)
"""Where each number is in a plain tick."""

NO_TICK: Final[PlainTick] = (0, 0, 0, 0, 0, 0)
"""The placeholder before the first tick."""

Ticks: TypeAlias = NDArray[np.void] | list[PlainTick]
"""Many ticks as an array of `TICK`, few as plain tuples."""
