"""The latest price of every symbol, as any process may read it.

Each symbol has two latest records, of which the writer overwrites the older one: so one of them is
always complete, wherever the writer is or was killed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.price_book.records import record_check
from lib.price_book.segment import CHECK, POSITION, PUBLISHED, RECORD_WORDS, Segment
from lib.price_book.segment_files import PriceBookError

_LATEST_ATTEMPTS: Final = 100
"""How often both records of a symbol may change during a read. Once is rare."""


class LatestRecords:
    """The latest records of a segment. For any process, at any time; takes no lock."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._words = segment.words
        self._latest_word = segment.latest_word

    def record(self, index: int) -> list[int] | None:
        """Return the words of the newest record of a symbol, by index; None if it has none.

        Raises PriceBookError if both of its records are damaged.
        """
        words = self._words
        first = self._latest_word + 2 * RECORD_WORDS * index
        second = first + RECORD_WORDS
        for _ in range(_LATEST_ATTEMPTS):
            is_damaged = False
            # The order matters. The newer record counts unless the writer is storing it at this
            # moment; then the other one, read after that moment, is the latest.
            for at in (first, second) if words[first] > words[second] else (second, first):
                record = words[at : at + RECORD_WORDS].tolist()
                position, sequence, price, sent_ns, symbol_epoch, check = record
                if 0 < position <= words[PUBLISHED]:
                    if check == record_check(position, sequence, price, sent_ns, symbol_epoch):
                        return record
                    is_damaged = True
            # Both are too new if the writer published between the two loads: try again.
            if position == 0 and not is_damaged:
                return None
        raise PriceBookError(
            f"price book {self._segment.name}: both latest records of "
            f"{self._segment.layout.symbols[index]} are damaged"
        )

    def newest_sequence(self, epoch: int) -> int:
        """Return the number of the newest tick of the newest epoch, 0 if it has none yet."""
        # The newest tick of all is the latest of its symbol.
        latest = self._segment.latest.copy()
        counting = self.counting_positions(latest)
        newest = int(np.argmax(counting))
        _position, sequence, _price, _sent_ns, symbol_epoch, _check = latest[newest].tolist()
        return sequence if counting[newest] and symbol_epoch >> 32 == epoch else 0

    def counting_positions(self, records: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the positions of the records, 0 for those that are torn or not published."""
        position, check = records[:, POSITION], records[:, CHECK]
        counts = (check == record_check(*records[:, :CHECK].T)) & (
            position <= self._words[PUBLISHED]
        )
        return np.where(counts, position, np.uint64(0))
