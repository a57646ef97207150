"""The plot of a tape: the price of each symbol along it. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib import pyplot

from lib.prices import PRICE_SCALE
from lib.reports.plotting import DOTS, GRID, WIDTH_INCHES, house_style, save
from lib.tapes.chart import NO_PRICE, Course

COURSE_INCHES: Final = 2.2
"""The height of the plot of one symbol."""


def draw_courses(file: Path, courses: Mapping[str, Course], ticks: int) -> None:
    """Draw the courses of these symbols along a tape of so many ticks, below each other.

    Each stretch of the tape is drawn from its lowest to its highest price. The suffix of the file
    says what kind of picture it is. Raises OSError.
    """
    with house_style():
        figure, axes = pyplot.subplots(
            len(courses),
            figsize=(WIDTH_INCHES, COURSE_INCHES * len(courses)),
            sharex=True,
            squeeze=False,
            layout="constrained",
        )
        for axis, (name, course) in zip(axes[:, 0], courses.items(), strict=True):
            position = np.linspace(1, ticks, len(course.high))
            low, high = (
                np.where(course.high != NO_PRICE, of / PRICE_SCALE, np.nan) for of in course
            )
            axis.fill_between(position, low, high, color=DOTS, alpha=0.3, linewidth=0)
            axis.plot(position, (low + high) / 2, color=DOTS, linewidth=1)
            axis.set_title(name, loc="left")
            axis.grid(color=GRID)
        axes[-1, 0].set_xlabel("tick of the tape")
        save(figure, file)
