"""What the tables of a tape have had so far, whatever is read of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lib.tape_files.listing import percent, plural
from lib.tape_files.table import Table
from lib.tape_files.tally import TickTally
from lib.tapes.recipe import TickRecipe

MAX_REASONS: Final = 20
"""How many reasons are kept; they come from a fixed set, times the columns of a wide file."""
CUT: Final = "the file ends within a line, which may be cut off"
_OTHER_REASONS: Final = "other reasons"


@dataclass(kw_only=True)
class Reading:
    """Rows, and what is said of them. Of a wide file, a cell counts as a row."""

    path: str
    """Of the recipe: a file or a pattern; "" for a query."""
    rows: int = 0
    recognised: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """How many rows are not played, by reason."""
    first_skipped: dict[str, str] = field(default_factory=dict)
    """By reason: the place and the content of the first such row."""

    def skip(self, reason: str, rows: NDArray[np.int64], table: Table) -> None:
        """Count rows (from 0) of a table that are not played."""
        if not len(rows):
            return
        if reason not in self.skipped and len(self.skipped) >= MAX_REASONS:
            reason = _OTHER_REASONS
        self.skipped[reason] = self.skipped.get(reason, 0) + len(rows)
        if reason not in self.first_skipped:
            place = table.place_of(int(rows[0]))
            is_of_several = self.path not in ("", table.title)
            self.first_skipped[reason] = f"{table.title}, {place}" if is_of_several else place

    def skip_warnings(self, noun: str) -> list[str]:
        """Return one line for each reason; `noun` is what is counted."""
        return [
            f"skipped: {plural(count, noun)} of {self.rows:,} ({percent(count, self.rows)}): "
            f"{reason}; the first is {self.first_skipped[reason]}"
            for reason, count in self.skipped.items()
        ]


@dataclass(kw_only=True)
class TickReading(Reading):
    """Of ticks."""

    recipe: TickRecipe
    tally: TickTally
    is_wide: bool = False
    other_symbols: dict[str, int] = field(default_factory=dict)
    unplayed: list[str] = field(default_factory=list)
    """Why tables have nothing to play: a message for each."""
    of_one_symbol: list[str] = field(default_factory=list)
    """The titles of the tables that do not say the symbol: the settings do."""

    @classmethod
    def of(cls, recipe: TickRecipe) -> TickReading:
        """Return the reading before the first table."""
        return cls(path=recipe.path, recipe=recipe, tally=TickTally(len(recipe.symbols)))

    def with_unplayed(self, why: str) -> TickReading:
        """Return the reading with a table that has nothing to play."""
        return replace(self, unplayed=[*self.unplayed, why])
