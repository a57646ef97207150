"""Numbers that follow each other: what was missed is named by the first and the last one."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """Positions of a price book, or sequences of a tape, from `first` to `last`."""

    first: int
    last: int
