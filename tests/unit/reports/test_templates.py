"""A page has its figures, and a figure that is missing is an error."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from lib.reports import templates
from lib.reports.templates import render


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Return a function that renders a template made of this text."""
    monkeypatch.setattr(templates, "TEMPLATES", tmp_path)

    def make(template: str, **figures: object) -> str:
        (tmp_path / "page.md.j2").write_text(template)
        return render("page.md", **figures)

    return make


def test_a_figure_is_formatted_and_none_is_a_dash(page):
    assert page("{{ a | whole }} {{ b | whole }}\n", a=1234.0, b=None) == "1,234 -\n"


def test_a_name_without_a_figure_is_an_error(page):
    with pytest.raises(UndefinedError, match="gone"):
        page("{{ gone }}")


def test_text_is_not_escaped_but_a_bar_does_not_end_its_cell(page):
    assert page("| {{ text }} | {{ text | cell }} |", text="<a|b>") == "| <a|b> | <a\\|b> |"
