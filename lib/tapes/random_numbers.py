"""Random numbers by position: those of one place are made without those before it.

They come from a counter-based generator (Philox). They depend on a seed, a stream (what they are
for) and an index only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

# Streams of one seed never meet. Those below START_STREAM are the waves of a random walk, one for
# each length.
START_STREAM: Final = 32
"""Where the symbols of a random walk start."""
STEP_STREAM: Final = 33
"""The steps of a random walk from tick to tick."""
SENTIMENT_STREAM: Final = 34
"""Random sentiments."""


def random_words(seed: int, stream: int, index: int, count: int) -> NDArray[np.uint64]:
    """Return 64-bit random numbers that depend on seed, stream and index only."""
    return philox(seed, stream, [0, index, 0, 0]).random_raw(count)


def philox(seed: int, stream: int, counter: list[int]) -> Philox:
    """Return the generator of a stream, at a value of its counter."""
    # The raw generator: NumPy promises never to change its numbers, unlike those of `Generator`.
    key = np.array([seed % 2**64, stream], dtype=np.uint64)
    return Philox(key=key, counter=np.array(counter, dtype=np.uint64))
