"""Generated Markdown: tables, and marked sections of a file that are replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class MarkdownError(Exception):
    """The file has no such section. The text is one human-readable line."""


def replace_section(text: str, name: str, body: str) -> str:
    """Put `body` between the two marks of a section. Raises MarkdownError if they are missing.

    The marks are the lines that begin with `<!-- NAME: begin` and `<!-- NAME: end`; they stay.
    """
    lines = text.splitlines(keepends=True)
    marks = [
        [i for i, line in enumerate(lines) if line.startswith(f"<!-- {name}: {which}")]
        for which in ("begin", "end")
    ]
    if [len(found) for found in marks] != [1, 1] or marks[0] > marks[1]:
        raise MarkdownError(
            f"one line `<!-- {name}: begin -->` and one `<!-- {name}: end -->` after it must say "
            "where the section goes"
        )
    begin, end = marks[0][0], marks[1][0]
    return "".join([*lines[: begin + 1], "\n", body.strip("\n"), "\n\n", *lines[end:]])


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], *, right_from: int) -> str:
    """Return a table in Markdown; columns from `right_from` on are aligned to the right."""
    rules = ["---" if n < right_from else "---:" for n in range(len(heading))]
    lines = [heading, rules, *([*row, *[""] * (len(heading) - len(row))] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in c)} |" for c in lines)
