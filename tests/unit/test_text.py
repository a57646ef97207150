"""Text from elsewhere."""

from __future__ import annotations

import pytest

from lib.text import printable, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, and Zürich €", "plain, and Zürich €"),
        ("two\nlines\r", r"two\nlines\r"),
        ("a\ttab \x1b[31mred\x00", r"a\ttab \x1b[31mred\x00"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_control_characters_are_shown_and_not_sent(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("12345", "12345"), ("123456", "12345…"), ("\n\n", r"\n\n"), ("\n\n\n", r"\n\n\…"), ("", "")],
)
def test_a_long_text_is_cut_to_what_is_shown_of_it(text, shown):
    assert shortened(text, 5) == shown
