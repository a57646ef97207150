"""Tapes of sentiments, which the gateway plays as news: random, or from a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from lib.tapes.csv_file import MAX_TAPE_ROWS, NUMBER, Skipped, abridged, cell_text, read_rows
from lib.tapes.random_numbers import SENTIMENT_STREAM, philox
from lib.tapes.tape import TapeError, check_span, digest

HIGHEST_SENTIMENT: Final = 100
SENTIMENT_COLUMN: Final = "sentiment"
_SENTIMENT: Final = re.compile(r"[0-9]{1,3}")


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


class CsvSentiments:
    """`Sentiments` from a file, in file order. Made by `load_sentiments`."""

    def __init__(self, values: bytes, skipped: Skipped) -> None:
        self.identity: Final = f"csv-{digest(values)}"
        self.length: Final = len(values)
        self.skipped: Final = skipped
        self._values = values

    def read(self, first: int, count: int) -> list[int]:
        """See `Sentiments.read`."""
        check_span(first, count)
        return list(self._values[first - 1 : first - 1 + count])


def load_sentiments(path: Path) -> CsvSentiments:
    """Read a file of sentiments: UTF-8, one integer from 0 to 100 a row.

    The first row may be a header, which is a row whose first cell is no number. A header with
    several columns may name one `sentiment`, in any case; otherwise the first is taken. A row
    without a sentiment is skipped: `.skipped` says how many and which. Raises TapeError if the file
    cannot be read or has no usable row.
    """
    skipped = Skipped()
    column = 0
    values = bytearray()
    for number, (line, cells) in enumerate(read_rows(path, skipped)):
        if number == 0 and not NUMBER.fullmatch(cell_text(cells, 0)):
            names = [name.strip().lower() for name in cells]
            column = names.index(SENTIMENT_COLUMN) if SENTIMENT_COLUMN in names else 0
            continue
        text = cell_text(cells, column)
        if _SENTIMENT.fullmatch(text) and int(text) <= HIGHEST_SENTIMENT:
            values.append(int(text))
        else:
            found = abridged(repr(text)) if text else "missing"
            skipped.add_row(
                line, f"the sentiment is {found}, not an integer from 0 to {HIGHEST_SENTIMENT}"
            )
        if len(values) > MAX_TAPE_ROWS:
            raise TapeError(f"{path}: more than {MAX_TAPE_ROWS} sentiments; play it in parts")
    if not values:
        raise TapeError(
            f"{path}: no usable row: looked for one integer from 0 to {HIGHEST_SENTIMENT} a row, "
            f"found {skipped}"
        )
    return CsvSentiments(bytes(values), skipped)
