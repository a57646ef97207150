"""The common style of all plots of the report. Needs matplotlib, which the stack does not.

The same figures give the same bytes, so that a plot changes in the repository only when its figures
do: no date, no random ids, and text as outlines, which also looks the same everywhere. The
background is white because a page may be dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

WIDTH_INCHES: Final = 9.0
ROW_INCHES: Final = 0.34
"""The height of one row of a plot with rows."""
DOTS: Final = "#2a6fb0"
GOAL: Final = "#c0392b"
MEDIAN: Final = "#111111"
GRID: Final = "#dddddd"
SPREAD: Final = 0.22
"""How far from the middle of its row a dot or a word may be moved, so as not to cover another one.
"""

LONG: Final = 1_000
"""The smallest number with thousands separators."""

_STYLE: Final[Any] = {
    "svg.hashsalt": "tradewire",  # else ids are random
    "svg.fonttype": "path",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.axisbelow": True,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Give plots made in the block the style of the report."""
    with pyplot.rc_context(_STYLE):
        yield


def height_in_row(row: int, number: int) -> float:
    """Return the height of the `number`th dot of a row: neighbours differ, deterministically."""
    return row + SPREAD * ((number * 3) % 5 - 2) / 2


def plain_ticks(axis: Axis, subs: tuple[float, ...] = (1, 3)) -> None:
    """Put plain numbers on a logarithmic axis, at `subs` of each power of ten."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_plain))


def _plain(value: float, _: int | None) -> str:
    return f"{value:,.0f}" if value >= LONG else f"{value:g}"


def save(figure: Figure, file: Path) -> None:
    """Write the figure to a file, and close it."""
    metadata: dict[str, Any] = {"Date": None}
    figure.savefig(file, format=file.suffix.removeprefix("."), facecolor="white", metadata=metadata)
    pyplot.close(figure)
