"""Names and numbers in messages for people: complete, but bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lib.text import shortened

MAX_LISTED: Final = 12
"""How many names a message lists; the rest is counted."""
MAX_NAME_CHARACTERS: Final = 60
"""How much of a name or a cell a message shows."""


def listed(names: Iterable[str]) -> str:
    """Return `AAPL, MSFT and 37 more`."""
    return _joined([quoted(name) for name in names])


def counted(counts: Mapping[str, int]) -> str:
    """Return `AAPL (60), MSFT (12) and 37 more`, the most frequent first."""
    by_count = sorted(counts.items(), key=lambda item: -item[1])
    return _joined([f"{quoted(name)} ({count:,})" for name, count in by_count])


def quoted(name: str) -> str:
    """Return a name of a file on one line, its beginning if it is long."""
    return shortened(" ".join(name.split()), MAX_NAME_CHARACTERS)


def plural(count: int, noun: str) -> str:
    """Return `1 row`, `2 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent(part: int, whole: int) -> str:
    """Return the share as `0.3 %`, never as `0 %`, nor as `100 %` if it is not all."""
    share = 100 * part / whole
    if 0 < share < 0.01:
        return "less than 0.01 %"
    if 99 < share < 100:
        return "over 99 %"
    return f"{share:.2g} %" if part < whole else "100 %"


def _joined(names: list[str]) -> str:
    more = len(names) - MAX_LISTED
    if more <= 1:  # naming one more is as short as counting it
        return ", ".join(names)
    return f"{', '.join(names[:MAX_LISTED])} and {more:,} more"
