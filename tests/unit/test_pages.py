"""The pages, and the docstrings of packages.

The README is short and names every room, every relative link leads somewhere, and every room says
what is in it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.helpers import PROJECT_ROOT

MAX_README_LINES = 150
EXAMPLES = {"lib/my_signals.py"}
"""Files that a page shows how to write."""
README = PROJECT_ROOT / "README.md"
GENERATED = [PROJECT_ROOT / "performance_report.md", *(PROJECT_ROOT / "report").glob("*.md")]
WRITTEN = sorted(
    {*PROJECT_ROOT.glob("*.md"), *(PROJECT_ROOT / "docs").glob("*.md")} - {GENERATED[0]}
)
"""Not generated from a recording, which names files as they were."""
PAGES = [*WRITTEN, *GENERATED]
PACKAGES = sorted(
    file.parent
    for room in ("lib", "daemons", "chaos", "bench", "report", "video")
    for file in (PROJECT_ROOT / room).rglob("__init__.py")
)
DOCSTRING_LINES = range(3, 9)
ROOMS = [package for package in PACKAGES if package.parent != PROJECT_ROOT]

CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *$", re.MULTILINE)
SOURCE = re.compile(r"(?<![\w/.])(?:bench|chaos|daemons|etc|lib|tests)/[\w./-]*\w")
ELSEWHERE = re.compile(r"[a-z]+:")
"""Begins a link that is not relative."""


def text_of(page: Path) -> str:
    """A page without its code blocks, in which nothing is a heading or a link."""
    return CODE_BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in HEADING.findall(text_of(page)):
        words = LINK.sub(lambda link: link[0].partition("](")[0], heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(CODE.sub("", text_of(page))):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_relative_link_of_a_page_leads_to_a_file_and_a_heading(page: Path):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_source_file_that_a_page_names_exists(page: Path):
    named = SOURCE.findall(page.read_text())
    assert {name for name in named if not (PROJECT_ROOT / name).exists()} <= EXAMPLES


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


def test_the_table_of_rooms_names_every_package_of_lib():
    rooms = README.read_text().partition("## Rooms\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `lib/(\w+)/` \|", rooms, re.MULTILINE))
    assert named == {path.parent.name for path in (PROJECT_ROOT / "lib").glob("*/__init__.py")}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_the_docstring_of_a_package_is_short_and_names_each_module_of_a_room(package: Path):
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert len(docstring.splitlines()) in DOCSTRING_LINES
    if package in ROOMS:
        modules = {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
        assert modules - set(re.findall(r"`(\w+)`", docstring)) == set()


def test_every_module_that_make_runs_does_something_when_it_is_run():
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    modules = set(re.findall(r"-m ((?:bench|chaos|lib|report|tests|video)[\w.]*)", makefile))
    assert {"bench", "chaos.standard_set", "report"} <= modules
    for module in modules:
        path = PROJECT_ROOT / module.replace(".", "/")
        source = path.with_suffix(".py")
        runs = source.exists() and 'if __name__ == "__main__":' in source.read_text()
        assert runs or (path / "__main__.py").exists(), f"python -m {module} does nothing"


def test_every_experiment_has_a_row_on_its_page():
    page = (PROJECT_ROOT / "docs" / "chaos.md").read_text()
    experiments = {
        path.name
        for path in (PROJECT_ROOT / "chaos").glob("*.py")
        if "sys.path.insert" in path.read_text()
    }
    assert {name for name in experiments if name not in page} == set()
