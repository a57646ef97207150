"""Generated Markdown goes between its marks, and a cell cannot break its table."""

from __future__ import annotations

import pytest

from lib.reports.markdown import MarkdownError, replace_section, table

MARKED = (
    "# Title\n\nbefore\n<!-- numbers: begin (generated) -->\nold\n<!-- numbers: end -->\nafter\n"
)


def test_a_section_is_replaced_between_its_marks_and_nowhere_else():
    assert replace_section(MARKED, "numbers", "new") == MARKED.replace("old", "\nnew\n")


def test_replacing_a_section_twice_changes_nothing_more():
    once = replace_section(MARKED, "numbers", "new\n")

    assert replace_section(once, "numbers", "new\n") == once


@pytest.mark.parametrize("text", ["", MARKED.replace("end", "fin"), MARKED + MARKED])
def test_a_report_without_its_two_marks_is_refused(text: str):
    with pytest.raises(MarkdownError, match="<!-- numbers: begin -->"):
        replace_section(text, "numbers", "new")


def test_a_table_has_a_rule_and_a_short_row_is_filled_up():
    made = table(["what", "n", "ms"], [["a", "1", "2.5"], ["b"]], right_from=1)

    assert made.splitlines() == [
        "| what | n | ms |",
        "| --- | ---: | ---: |",
        "| a | 1 | 2.5 |",
        "| b |  |  |",
    ]


def test_a_bar_in_a_cell_does_not_end_it():
    assert table(["what"], [["a|b"]], right_from=1).endswith("\n| a&#124;b |")
