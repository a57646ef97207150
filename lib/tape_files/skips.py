"""The rows of a file that are not played, by reason, with the place of the first of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.tape_files.lines import place_of
from lib.tape_files.listing import percent, plural
from lib.tape_files.table import Table

MAX_REASONS: Final = 20
"""How many reasons are kept; they come from a fixed set, times the columns of a wide file."""
CUT: Final = "the file ends within a line, which may be cut off"
_OTHER_REASONS: Final = "other reasons"


@dataclass
class Skips:
    """Counts by reason. `first` is the place and the content of the first such row."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many rows (of a wide file: cells) are skipped."""
        return sum(self.counts.values())

    def add(self, reason: str, rows: NDArray[np.int64], table: Table, path: str) -> None:
        """Count rows (from 0) of a table that are skipped; `path` is what is played."""
        if not len(rows):
            return
        if reason not in self.counts and len(self.counts) >= MAX_REASONS:
            reason = _OTHER_REASONS
        self.counts[reason] = self.counts.get(reason, 0) + len(rows)
        if reason not in self.first:
            place = place_of(table.text, int(rows[0]))
            is_of_several = path not in ("", table.title)
            self.first[reason] = f"{table.title}, {place}" if is_of_several else place

    def warnings(self, of: int, noun: str) -> list[str]:
        """Return one line for each reason; `of` is how many rows or cells there are."""
        return [
            f"skipped: {plural(count, noun)} of {of:,} ({percent(count, of)}): {reason}; the "
            f"first is {self.first[reason]}"
            for reason, count in self.counts.items()
        ]
