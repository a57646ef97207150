"""The default of the news: random sentiments."""

from __future__ import annotations

from typing import Final

import numpy as np

from lib.tapes.random_numbers import SENTIMENT_STREAM, philox
from lib.tapes.tape import check_span, digest

HIGHEST_SENTIMENT: Final = 100


class RandomSentiments:
    """Endless `Sentiments`, evenly drawn: they depend on the seed (any int) and position only."""

    length: Final = None

    def __init__(self, seed: int) -> None:
        self.identity: Final = f"random-{digest(repr(seed).encode())}"
        self._seed = seed

    def read(self, first: int, count: int) -> list[int]:
        """See `Sentiments.read`. It always returns `count` of them."""
        check_span(first, count)
        # The generator makes four words for each value of its counter.
        group, skip = divmod(first - 1, 4)
        generator = philox(self._seed, SENTIMENT_STREAM, [group, 0, 0, 0])
        words = generator.random_raw(skip + count)[skip:]
        sentiments: list[int] = (words % np.uint64(HIGHEST_SENTIMENT + 1)).tolist()
        return sentiments
