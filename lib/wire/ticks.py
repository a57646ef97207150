"""What a tick is to those who handle many: a row of numbers, in an array or plain. Pure."""

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

Its position counts the ticks of the book, its sequence those of its tape; the price is in units of
10⁻⁸, `sent_ns` on the monotonic clock; `symbol` is an index, `epoch` says which tape it is of."""

PLAIN_TAPE: Final = ""
"""The tape of a stream whose server does not number its ticks: each price book numbers them anew.
"""

PlainTick: TypeAlias = tuple[int, int, int, int, int, int]
"""The same six numbers in the same order. An array costs more than it saves for a few ticks."""

POSITION, SEQUENCE, PRICE, SENT_NS, SYMBOL, EPOCH = range(6)
"""Where each number is in a plain tick."""

NO_TICK: Final[PlainTick] = (0, 0, 0, 0, 0, 0)
"""What comes before the first one."""

Ticks: TypeAlias = NDArray[np.void] | list[PlainTick]
"""Of `TICK`; or, if they are few, plain ones."""
