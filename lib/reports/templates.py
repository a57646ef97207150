"""Pages from templates: the words are in `report/*.md.j2`, the figures come from recordings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lib.reports import units
from lib.settings import PROJECT_ROOT

TEMPLATES: Final = PROJECT_ROOT / "report"
SUFFIX: Final = ".j2"
NOTHING: Final = "-"
"""Stands for a figure that there is not."""
FORMATS: Final = (
    units.bare, units.digits, units.megabytes, units.millions, units.ms, units.percent,
    units.time_of, units.times, units.us, units.whole,
)  # fmt: skip


def render(page: str, **figures: Any) -> str:
    """Return the page made of its template and these figures. Raises jinja2.TemplateError.

    A name that is not among the figures is an error, not an empty cell.
    """
    return _environment().get_template(f"{page}{SUFFIX}").render(figures)


def cell(text: object) -> str:
    """Escape what would end a cell of a table; GitHub also unescapes it inside of backticks."""
    return str(text).replace("|", "\\|")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {shown.__name__: _or_nothing(shown) for shown in FORMATS}
    environment.filters |= {"listed": units.listed, "cell": cell}
    return environment


def _or_nothing(shown: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: NOTHING if value is None else shown(value)
