"""Reports in Markdown: tables, and the section of a file that a program writes.

Pure: text in, text out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class MarksMissingError(ValueError):
    """A text does not say where a section goes (one line for people)."""


def replace_section(text: str, name: str, body: str) -> str:
    """Put `body` between the two marks of a section; what is outside of them stays as it is.

    The marks are the lines that begin with `<!-- NAME: begin` and `<!-- NAME: end`; they stay.
    Raises MarksMissingError if they are not there, once each, in this order.
    """
    lines = text.splitlines(keepends=True)
    marks = [
        [i for i, line in enumerate(lines) if line.startswith(f"<!-- {name}: {which}")]
        for which in ("begin", "end")
    ]
    if [len(found) for found in marks] != [1, 1] or marks[0] > marks[1]:
        raise MarksMissingError(
            f"one line `<!-- {name}: begin -->` and one `<!-- {name}: end -->` after it must say "
            "where the section goes"
        )
    begin, end = marks[0][0], marks[1][0]
    return "".join([*lines[: begin + 1], "\n", body.strip("\n"), "\n\n", *lines[end:]])


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], *, right_from: int) -> str:
    """Return a table; columns from `right_from` on are aligned to the right.

    A row that is shorter than the heading is filled up with empty cells.
    """
    rules = ["---" if n < right_from else "---:" for n in range(len(heading))]
    lines = [heading, rules, *([*row, *[""] * (len(heading) - len(row))] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in c)} |" for c in lines)
